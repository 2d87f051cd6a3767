"""Gathers and scatters of a traced scorer in the operators of ONNX."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from jaxad.export.jaxpr import computed
from jaxad.export.onnx.graph import Graph, Operand, Values, refusal
from jaxad.export.onnx.operations import joined, taken

MOVED = {
    **dict.fromkeys(("rev", "gather", "dynamic_slice"), (0,)),
    **{"scatter": (0, 2), "dynamic_update_slice": (0, 1), "pad": (0, 1)},
}
"""What only moves numbers, and the operands that it moves."""


def rearranged(graph: Graph, equation: Any, operands: list[Operand]) -> Values:
    """What moves numbers to constant places: one Gather, found by moving their counts."""
    name = equation.primitive.name
    moved = MOVED[name]
    if any(isinstance(o, Values) for k, o in enumerate(operands) if k not in moved):
        raise refusal(f"{name} with indices that depend on the event")
    shapes = [equation.invars[k].aval.shape for k in moved]
    shape = equation.outvars[0].aval.shape
    if not all(isinstance(size, int) for sizes in (shape, *shapes) for size in sizes):
        raise refusal(f"{name} of events of any length")
    starts = np.cumsum([0, *map(prod, shapes)])
    if starts[-1] > 2**24:  # the numbers that float32 counts
        raise refusal(f"{name} of {starts[-1]:,} numbers")
    counts = list(operands)
    for start, k, own in zip(starts, moved, shapes, strict=False):
        # In the operand's own kind: the function that a scatter applies is typed.
        kind = np.float32 if operands[k].dtype == np.float32 else np.int32
        counts[k] = (start + np.arange(prod(own))).reshape(own).astype(kind)
    # What lies outside, and is to be filled, must not be taken for a place.
    params = equation.params | ({"fill_value": -1} if name == "gather" else {})
    (found,) = computed(equation.primitive, counts, params)
    places = found.astype(np.int64).ravel()
    if places.size and not 0 <= places.min() <= places.max() < starts[-1]:
        raise refusal("indices outside of an array")
    flat = [
        graph.reshaped(graph.full(operands[k], own), [prod(own)])
        for k, own in zip(moved, shapes, strict=True)
    ]
    source = joined(graph, 0, flat, [values.shape for values in flat])
    taken_from = graph.node("Gather", graph.laid(source, [0]), graph.constant(places), axis=1)
    return graph.reshaped(graph.wrapped(taken_from, places.shape, source.dtype), shape)


def gathered(graph: Graph, equation: Any, operand: Operand, index: Operand) -> Values:
    """Elements, rows or slices of an array at places along one axis."""
    how, shape = equation.params["dimension_numbers"], equation.invars[0].aval.shape
    sizes = equation.params["slice_sizes"]
    if isinstance(index, Values):
        rest = [k for k in range(len(shape)) if k not in how.operand_batching_dims]
        rest = [k for k in rest if k not in how.start_index_map]
        whole = all(sizes[k] == shape[k] for k in rest)
        if len(how.start_index_map) != 1 or how.collapsed_slice_dims != how.start_index_map:
            whole = False
        if not whole:
            raise refusal("a gather of parts of several axes")
        return _picked(graph, equation, operand, index, rest)
    starts = [0] * len(shape)
    if index.ndim == 1 and not how.operand_batching_dims:
        for axis, start in zip(how.start_index_map, index.tolist(), strict=True):
            starts[axis] = start
        axes = list(zip(shape, sizes, starts, strict=True))
        if all(n == size or 0 <= k <= n - size for n, size, k in axes):
            stops = [start + size for _, size, start in axes]
            part = taken(graph, operand, starts, stops, [1] * len(shape))
            return graph.reshaped(part, equation.outvars[0].aval.shape)
    return rearranged(graph, equation, [operand, index])


def _picked(
    graph: Graph, equation: Any, operand: Operand, index: Values, rest: Sequence[int]
) -> Values:
    """Elements along one axis at places that depend on the event; `rest`: the axes taken whole.

    A place outside gives NaN or the nearest element, as the mode of the gather says.
    """
    how, shape = equation.params["dimension_numbers"], equation.invars[0].aval.shape
    (axis,), batch = how.start_index_map, list(how.operand_batching_dims)
    order, places = _places(graph, index, how.start_indices_batching_dims)
    nearest, inside = _bounded(graph, places, shape[axis])
    found_shape = (*places.shape, *(shape[k] for k in rest))
    dtype = equation.outvars[0].aval.dtype
    if isinstance(operand, Values) or batch:
        source = graph.transposed(graph.full(operand, shape), [*batch, axis, *rest])
        whole = graph.cast(nearest, np.int64)
        name = graph.node(
            "GatherND",
            graph.explicit(source),
            graph.laid(
                Values(whole.name, (*places.shape, 1), (*whole.held, 1), whole.dtype),
                range(len(places.shape) + 1),
            ),
            batch_dims=1 + len(batch),
        )
    else:
        table = graph.constant(np.ascontiguousarray(operand.transpose(axis, *rest)))
        name = graph.node("Gather", table, graph.explicit(nearest), axis=0)
    found = graph.wrapped(name, found_shape, dtype)
    if equation.params["mode"] == GatherScatterMode.FILL_OR_DROP:
        if dtype != np.float32:
            raise refusal(f"a gather of {dtype} that fills")
        given = equation.params["fill_value"]
        held = (*inside.held, *(1 for _ in rest))
        spread = Values(inside.name, found_shape, held, inside.dtype)
        fill = np.array(np.nan if given is None else given, np.float32)
        names, held = graph.together([spread, found, fill], found_shape)
        found = Values(graph.node("Where", *names), found_shape, held, dtype)
    picked, whole_axes = iter(order), iter(range(len(places.shape), len(found_shape)))
    ranks = range(len(found_shape))
    return graph.transposed(
        found, [next(whole_axes) if k in how.offset_dims else next(picked) for k in ranks]
    )


def _places(graph: Graph, index: Values, batch: Sequence[int]) -> tuple[list[int], Values]:
    """Indices (..., 1) as (batch, others), and where each of their axes went."""
    shape = index.shape[:-1]
    axes = [*batch, *(k for k in range(len(shape)) if k not in batch)]
    flat = graph.transposed(graph.reshaped(index, shape), axes)
    return [axes.index(k) for k in range(len(shape))], flat


def _bounded(graph: Graph, places: Values, size: Any) -> tuple[Values, Values]:
    """Places moved into an axis of this size, int32, and whether they were there before."""
    if isinstance(size, int):
        last = graph.number(size - 1, np.int32)
    else:
        one = graph.number(1, np.int64)
        last = graph.node("Cast", graph.node("Sub", graph.size(size), one), to=6)
    whole = graph.full(graph.cast(places, np.int32))
    moved = graph.node("Max", whole.name, graph.number(0, np.int32))
    moved = graph.node("Min", moved, last)
    inside = graph.node("Equal", whole.name, moved)
    return (
        Values(moved, whole.shape, whole.held, whole.dtype),
        Values(inside, whole.shape, whole.held, np.dtype(bool)),
    )


def scattered_sum(graph: Graph, equation: Any, operands: list[Operand]) -> Values:
    """Updates added to an array at places along one axis; those outside are dropped."""
    params, (operand, index, updates) = equation.params, operands
    how, shape = params["dimension_numbers"], equation.invars[0].aval.shape
    batch, axes = list(how.operand_batching_dims), how.scatter_dims_to_operand_dims
    if len(axes) != 1 or how.update_window_dims or len(batch) + 1 != len(shape):
        raise refusal("a scatter of rows")
    if params["mode"] == GatherScatterMode.CLIP or not isinstance(index, Values):
        raise refusal("a scatter to the nearest place, or to constant ones")
    (axis,), size = axes, shape[axes[0]]
    order, places = _places(graph, index, how.scatter_indices_batching_dims)
    nearest, inside = _bounded(graph, places, size)
    # What is outside is added to one more element, which is then cut off.
    where = graph.node("Where", inside.name, nearest.name, graph.number(size, np.int32))
    n_batch = len(batch)
    flat = [*places.shape[:n_batch], prod(places.shape[n_batch:])]
    target = graph.reshaped(Values(where, places.shape, places.shape, nearest.dtype), flat)
    given = graph.full(updates, equation.invars[2].aval.shape)
    given = graph.transposed(given, np.argsort(order).tolist())
    source = graph.explicit(graph.transposed(graph.full(operand, shape), [*batch, axis]))
    one_more = graph.integers([0] * (1 + n_batch) + [0] + [0] * (1 + n_batch) + [1])
    source = graph.node("Pad", source, one_more)
    name = graph.node(
        "ScatterElements",
        source,
        graph.explicit(target),
        graph.explicit(graph.reshaped(given, flat)),
        axis=1 + n_batch,
        reduction="add",
    )
    bounds = (graph.integers([k]) for k in (0, size, 1 + n_batch))
    kept = [*(shape[k] for k in batch), size]
    found = graph.wrapped(graph.node("Slice", name, *bounds), kept, given.dtype)
    return graph.transposed(found, np.argsort([*batch, axis]).tolist())
