"""Matrix products and convolutions of a traced scorer in the operators of ONNX."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from jaxad.export.onnx.graph import Graph, Operand, Values, refusal


def product(graph: Graph, equation: Any, lhs: Operand, rhs: Operand) -> Values:
    """dot_general; the weights, where one side is constant, are the second factor."""
    sums, batches = equation.params["dimension_numbers"]
    if {lhs.dtype.name, rhs.dtype.name} != {"float32"}:
        raise refusal("a matrix product of integers")
    sides = [
        (operand, list(batch), list(summed), variable.aval.shape)
        for operand, batch, summed, variable in zip(
            (lhs, rhs), batches, sums, equation.invars, strict=True
        )
    ]
    swapped = not isinstance(lhs, Values)
    if swapped:
        sides.reverse()
    (data, batch, summed, shape), (weights, other_batch, other_summed, _) = sides
    free = [[k for k in range(len(s[3])) if k not in (*s[1], *s[2])] for s in sides]
    outer, n_sum = [shape[k] for k in batch], prod(shape[k] for k in summed)
    left, right = ([s[3][k] for k in f] for s, f in zip(sides, free, strict=True))
    ordered = graph.transposed(graph.full(data), [*batch, *free[0], *summed])
    order = [*other_batch, *other_summed, *free[1]]
    if isinstance(weights, Values):
        other = graph.transposed(graph.full(weights), order)
        sizes = prod(outer), prod(left), n_sum, prod(right)
        found = _of_values(graph, ordered, other, sizes)
    else:
        matrix = weights.transpose(order).reshape(prod(outer), n_sum, prod(right))
        found = _of_weights(graph, ordered, np.ascontiguousarray(matrix), prod(left))
    found = graph.reshaped(found, [*outer, *left, *right])
    if not swapped:
        return found
    n, m, f = len(outer), len(left), len(right)
    return graph.transposed(found, [*range(n), *range(n + m, n + m + f), *range(n, n + m)])


def _of_values(graph: Graph, left: Values, right: Values, sizes: Sequence) -> Values:
    """(batch, m, k) (batch, k, f), both of the event."""
    batch, m, k, f = sizes
    first = graph.explicit(graph.reshaped(left, [batch, m, k]))
    second = graph.explicit(graph.reshaped(right, [batch, k, f]))
    return graph.wrapped(graph.node("MatMul", first, second), [batch, m, f], np.float32)


def _of_weights(graph: Graph, data: Values, matrix: np.ndarray, m: Any) -> Values:
    """(batch, m, k) of the event times weights (batch, k, f)."""
    batch, k, f = matrix.shape
    if batch == 1:
        source = graph.laid(graph.reshaped(data, [m, k]), [1] if m == 1 else [0, 1])
        name = graph.node("MatMul", source, graph.constant(matrix[0]))
        return graph.wrapped(name, [f] if m == 1 else [m, f], np.float32)
    weights = graph.constant(matrix)
    if not isinstance(m, int):
        source = graph.explicit(graph.reshaped(data, [batch, m, k]))
        return graph.wrapped(graph.node("MatMul", source, weights), [batch, m, f], np.float32)
    # The members of an ensemble first, so that each has one product for all events.
    if m == 1:
        source = graph.laid(graph.reshaped(data, [batch, k]), [0, 1])
        source = graph.node("Transpose", source, perm=(1, 0, 2))
        name = graph.node("Transpose", graph.node("MatMul", source, weights), perm=(1, 0, 2))
        return graph.wrapped(name, [batch, f], np.float32)
    source = graph.explicit(graph.reshaped(data, [batch, m, k]))
    source = graph.node("Transpose", source, perm=(1, 0, 2, 3))
    source = graph.node("Reshape", source, graph.integers([batch, -1, k]))
    name = graph.node("MatMul", source, weights)
    name = graph.node("Reshape", name, graph.integers([batch, -1, m, f]))
    name = graph.node("Transpose", name, perm=(1, 0, 2, 3))
    return graph.wrapped(name, [batch, m, f], np.float32)


def convolution(graph: Graph, equation: Any, data: Operand, kernel: Operand) -> Values:
    """conv_general_dilated with constant weights; strides of the input as a transposed one."""
    params, out = equation.params, equation.outvars[0].aval.shape
    if isinstance(kernel, Values) or params["batch_group_count"] != 1:
        raise refusal("a convolution with weights that depend on the event")
    dims, groups = params["dimension_numbers"], params["feature_group_count"]
    ordered = graph.transposed(graph.full(data), dims.lhs_spec)
    one_image = ordered.shape[0] == 1
    source = graph.laid(ordered, [1, 2, 3] if one_image else range(4))
    if not one_image:
        source = graph.node("Reshape", source, graph.integers([-1, *ordered.shape[1:]]))
    weights = kernel.transpose(dims.rhs_spec)
    pads = list(zip(*params["padding"], strict=True))
    dilation = params["lhs_dilation"]
    if set(dilation) == {1}:
        name = graph.node(
            "Conv",
            source,
            graph.constant(np.ascontiguousarray(weights)),
            strides=tuple(params["window_strides"]),
            pads=tuple(int(p) for side in pads for p in side),
            dilations=tuple(params["rhs_dilation"]),
            group=groups,
        )
    else:
        if groups != 1 or {*params["window_strides"], *params["rhs_dilation"]} != {1}:
            raise refusal("a transposed convolution with groups or strides")
        size = weights.shape[2:]
        flipped = np.flip(weights, (2, 3)).swapaxes(0, 1)
        name = graph.node(
            "ConvTranspose",
            source,
            graph.constant(np.ascontiguousarray(flipped)),
            strides=tuple(dilation),
            pads=tuple(int(n - 1 - p) for side in pads for n, p in zip(size, side, strict=True)),
        )
    shape = [out[k] for k in dims.out_spec]
    if not one_image:
        name = graph.node("Reshape", name, graph.integers([-1, *shape]))
    found = graph.wrapped(name, shape[1:] if one_image else shape, np.float32)
    found = graph.reshaped(found, shape)
    return graph.transposed(found, np.argsort(dims.out_spec).tolist())
