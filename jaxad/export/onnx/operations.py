"""Reductions, slices, joins and forests of a traced scorer in the operators of ONNX."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from jaxad.export.onnx.graph import Graph, Operand, Values, refusal

REDUCED = {
    **{"reduce_sum": "ReduceSum", "reduce_prod": "ReduceProd"},
    **{"reduce_max": "ReduceMax", "reduce_min": "ReduceMin"},
    **{"reduce_or": "ReduceMax", "reduce_and": "ReduceMin"},
}
REDUCED_TYPES = {
    **{"reduce_sum": (np.float32, np.int32, np.uint32), "reduce_prod": (np.float32,)},
    **{"reduce_or": (bool,), "reduce_and": (bool,)},
}
WINDOWED = {"reduce_window_sum": "reduce_sum", "reduce_window_max": "reduce_max"}
CHOSEN = {"argmax": "ArgMax", "argmin": "ArgMin"}


def reduced(graph: Graph, name: str, params: dict, values: Values) -> Values:
    axes, dtype = params["axes"], values.dtype
    if dtype not in REDUCED_TYPES.get(name, (np.float32, np.int32, bool)):
        raise refusal(f"{name} of {dtype}")
    if any(values.held[k] != values.shape[k] for k in axes):
        values = graph.full(values)
    kept = [k for k in range(len(values.shape)) if k not in axes]
    shape, held = ([sizes[k] for k in kept] for sizes in (values.shape, values.held))
    places = [1 + values.axes.index(k) for k in axes if k in values.axes]
    whole = graph.cast(values, np.int32) if dtype.kind == "b" else values
    if name == "reduce_sum" and dtype != np.float32:
        # ONNX Runtime's sums of int32 stop at its ends instead of wrapping.
        whole = graph.cast(values, np.int64)
    found = whole.name
    if places:
        where = graph.integers(places)
        found = graph.node(REDUCED[name], whole.name, where, keepdims=0)
        if dtype == np.float32 and name in ("reduce_max", "reduce_min"):
            # 0, or NaN where there is one, which ONNX Runtime may miss.
            same = graph.node("Equal", whole.name, whole.name)
            nan = graph.node("Where", same, graph.number(0, dtype), whole.name)
            nan = graph.node("ReduceSum", nan, where, keepdims=0)
            found = graph.node("Add", found, nan)
    return graph.cast(Values(found, tuple(shape), tuple(held), whole.dtype), dtype)


def windowed(graph: Graph, name: str, params: dict, values: Values) -> Values:
    """A reduction of windows that neither overlap nor reach beyond the array."""
    sizes, strides = params["window_dimensions"], params["window_strides"]
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    if sizes != strides or dilated or any(low or high for low, high in params["padding"]):
        raise refusal("windows that overlap or are padded")
    counts = [n // size for n, size in zip(values.shape, sizes, strict=True)]
    stops = [count * size for count, size in zip(counts, sizes, strict=True)]
    whole = taken(graph, values, [0] * len(stops), stops, [1] * len(stops))
    split = [n for pair in zip(counts, sizes, strict=True) for n in pair]
    axes = range(1, len(split), 2)
    return reduced(graph, WINDOWED[name], {"axes": axes}, graph.reshaped(whole, split))


def chosen(graph: Graph, name: str, params: dict, values: Values) -> Values:
    """The place of the largest or smallest number; of the first NaN where there is one."""
    (axis,) = params["axes"]
    if values.dtype == np.uint32:
        raise refusal(f"{name} of {values.dtype}")
    shape = [size for k, size in enumerate(values.shape) if k != axis]
    whole = graph.cast(values, np.int32) if values.dtype == bool else values
    source = graph.explicit(whole)
    if whole.dtype == np.float32:
        bound, beyond = ("Min", np.inf) if name == "argmax" else ("Max", -np.inf)
        limit = np.copysign(np.finfo(np.float32).max, beyond)
        held = graph.node(bound, source, graph.number(limit, np.float32))
        same = graph.node("Equal", source, source)
        source = graph.node("Where", same, held, graph.number(beyond, np.float32))
    found = graph.node(CHOSEN[name], source, axis=int(axis) + 1, keepdims=0)
    return graph.cast(graph.wrapped(found, shape, np.int64), params["index_dtype"])


def top_k(graph: Graph, params: dict, values: Values) -> list[Values]:
    """The largest along the last axis, and their places."""
    shape = [*values.shape[:-1], params["k"]]
    source, count = graph.explicit(values), graph.integers([params["k"]])
    largest, places = graph.add("TopK", source, count, n_outputs=2, axis=-1)
    found = graph.cast(graph.wrapped(places, shape, np.int64), np.int32)
    return [graph.wrapped(largest, shape, values.dtype), found]


def cumulated(graph: Graph, params: dict, values: Values) -> Values:
    """Sums of all elements up to each one along an axis, or from it on: a triangular product."""
    if values.dtype != np.float32:
        raise refusal(f"cumsum of {values.dtype}")
    axis, n = params["axis"], values.shape[params["axis"]]
    ones = np.tri(n, dtype=np.float32)
    weights = ones if params["reverse"] else ones.T
    last = [*np.delete(np.arange(len(values.shape)), axis).tolist(), axis]
    source = graph.transposed(values, last)
    name = graph.node("MatMul", graph.explicit(source), graph.constant(weights))
    found = graph.wrapped(name, source.shape, values.dtype)
    return graph.transposed(found, np.argsort(last).tolist())


def broadcast(graph: Graph, params: dict, values: Values) -> Values:
    held = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], values.held, strict=True):
        held[axis] = size
    return Values(values.name, tuple(params["shape"]), tuple(held), values.dtype)


def taken(
    graph: Graph, values: Values, starts: Sequence, stops: Sequence, steps: Sequence
) -> Values:
    """Slices along every axis."""
    counts = [
        size if (start, stop, step) == (0, size, 1) else -(-(stop - start) // step)
        for size, start, stop, step in zip(values.shape, starts, stops, steps, strict=True)
    ]
    cut = [k for k in values.axes if counts[k] != values.shape[k]]
    held = [1 if values.held[k] == 1 else count for k, count in enumerate(counts)]
    name = values.name
    several = [k for k in cut if counts[k] != 1]
    if several:
        bounds = [[limits[k] for k in several] for limits in (starts, stops)]
        places = [1 + values.axes.index(k) for k in several]
        strides = [steps[k] for k in several]
        name = graph.node("Slice", name, *map(graph.integers, (*bounds, places, strides)))
    # From the last on, since each of these axes is gone then.
    for k in reversed([k for k in cut if counts[k] == 1]):
        index = graph.number(starts[k], np.int64)
        name = graph.node("Gather", name, index, axis=1 + values.axes.index(k))
    return Values(name, tuple(counts), tuple(held), values.dtype)


def split(graph: Graph, params: dict, values: Values) -> list[Values]:
    bounds = np.cumsum([0, *params["sizes"]]).tolist()
    rank, axis = len(values.shape), params["axis"]
    starts, stops = [0] * rank, list(values.shape)
    parts = []
    for start, stop in pairwise(bounds):
        starts[axis], stops[axis] = start, stop
        parts.append(taken(graph, values, starts, stops, [1] * rank))
    return parts


def joined(graph: Graph, axis: int, operands: list[Operand], shapes: Sequence) -> Values:
    """Concatenation along an axis; what has no elements is left out."""
    parts = [part for part in zip(operands, shapes, strict=True) if part[1][axis] != 0]
    whole, shapes = [graph.full(*part) for part in parts], [shape for _, shape in parts]
    if len(whole) == 1:
        return whole[0]
    shape = [*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :]]
    axes = [k for k, size in enumerate(shape) if size != 1 or k == axis]
    names = [graph.laid(values, axes) for values in whole]
    found = graph.node("Concat", *names, axis=1 + axes.index(axis))
    return Values(found, tuple(shape), tuple(shape), whole[0].dtype)


def stacked(graph: Graph, axis: int, operands: list[Operand], shapes: Sequence) -> Values:
    shape = [*shapes[0][:axis], 1, *shapes[0][axis:]]
    whole = [
        graph.reshaped(graph.full(operand, old), shape)
        for operand, old in zip(operands, shapes, strict=True)
    ]
    return joined(graph, axis, whole, [shape] * len(whole))


def is_frame(params: dict, operands: list[Operand]) -> bool:
    """Whether a pad puts constants around an array of the event, and none between its numbers."""
    array, value = operands
    between = any(interior for *_, interior in params["padding_config"])
    return isinstance(array, Values) and not isinstance(value, Values) and not between


def padded(graph: Graph, equation: Any, values: Values, value: np.ndarray) -> Values:
    """Constants around an array, or a frame cut off."""
    config, shape = equation.params["padding_config"], equation.outvars[0].aval.shape
    values = graph.full(values)
    moved = [k for k, (low, high, _) in enumerate(config) if low or high]
    axes = sorted({*values.axes, *moved})
    # Pads of every axis: where only some are named, ONNX Runtime transposes them wrongly.
    pads = [int(config[k][side]) if k >= 0 else 0 for side in (0, 1) for k in (-1, *axes)]
    source = graph.laid(values, axes)
    name = graph.node("Pad", source, graph.integers(pads), graph.constant(value))
    dims = [shape[k] for k in axes]
    found = graph.wrapped(name, dims, values.dtype)
    return Values(found.name, tuple(shape), tuple(shape), values.dtype)


def forest(
    graph: Graph,
    shape: Sequence,
    base: np.ndarray,
    depth: np.ndarray,
    feature: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    threshold: np.ndarray,
    value: np.ndarray,
    x: Values,
) -> Values:
    """`leaf_sums` of `jaxad.methods.stages.trees`: the operator of runtimes for ensembles of trees.

    Args:
        shape: of `x`, one row an event; the others are what that function reads, by name.
    """
    if len(shape) != 2 or shape[0] != 1 or left.ndim != 3:
        raise refusal("trees of several rows an event")
    inner = left != np.arange(left.shape[2])
    there = np.zeros(left.shape, bool)
    there[..., 0] = True
    member, tree, _ = np.nonzero(inner)
    for child in (left, right):
        there[member, tree, child[inner]] = True
    member, tree, node = np.nonzero(there)
    number = member * left.shape[1] + tree
    leaf = ~inner[there]
    columns = {
        "nodes_treeids": number,
        "nodes_nodeids": node,
        "nodes_featureids": feature[there],
        "nodes_values": threshold[there],
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ"),
        "nodes_truenodeids": np.where(leaf, 0, left[there]),
        "nodes_falsenodeids": np.where(leaf, 0, right[there]),
        "target_treeids": number[leaf],
        "target_nodeids": node[leaf],
        "target_ids": member[leaf],
        "target_weights": value[there][leaf],
        "base_values": base,
    }
    found = graph.node(
        "TreeEnsembleRegressor",
        graph.laid(graph.full(x), [1]),
        domain="ai.onnx.ml",
        n_targets=len(base),
        **{name: tuple(column.tolist()) for name, column in columns.items()},
    )
    return graph.wrapped(found, (len(base), 1), np.float32)
