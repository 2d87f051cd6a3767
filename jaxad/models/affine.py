"""Layers of weights: a matrix and a bias, perhaps a ReLU, of a dense layer or a convolution.

A convolution is the matrix of all its positions, whose entries share the weights of its kernel.
"""

from typing import Any, NamedTuple

import numpy as np

LEAST = 1e-11
"""Numbers of a random network that are as near are those of one weight."""


class Affine(NamedTuple):
    """ReLU(x matrix + bias), or without the ReLU.

    Attributes:
        kernel: (inputs, outputs), the matrix; or the weights that it shares, (rows, channels).
        bias: (outputs,), or (channels,), the same at every position.
        relu: whether it has a ReLU.
        rows: (inputs, outputs) int32, the row of the kernel that an entry of the matrix is, in the
            column outputs modulo channels, -1 where it is 0; None: the kernel is the matrix.
    """

    kernel: np.ndarray
    bias: np.ndarray
    relu: bool = True
    rows: np.ndarray | None = None


def matrix(kernel: Any, rows: Any = None) -> Any:
    """The matrix (inputs, outputs) of a kernel and its rows, see `Affine`.

    Examples:
        >>> matrix(np.array([[2.0], [3.0]]), np.array([[0, -1], [1, 0]])).tolist()
        [[2.0, 0.0], [3.0, 2.0]]
    """
    if rows is None:
        return kernel
    columns = np.arange(rows.shape[1]) % kernel.shape[1]
    return kernel[rows, columns] * (rows >= 0)


def repeated(bias: Any, outputs: int) -> Any:
    """The bias (outputs,) of a layer from that of its channels."""
    return bias if len(bias) == outputs else bias[np.arange(outputs) % len(bias)]


def output(layer: Affine, x: Any) -> Any:
    """What a layer gives (n, outputs) of x (n, inputs), in NumPy or JAX as it is given."""
    y = x @ matrix(layer.kernel, layer.rows)
    y = y + repeated(layer.bias, y.shape[-1])
    return y.clip(0) if layer.relu else y


def shared(kernel: np.ndarray, bias: np.ndarray, relu: bool, channels: int) -> Affine:
    """The layer of a matrix (3, inputs, outputs) and a bias (3, outputs), two drawn ones last."""
    (matrix, drawn, again), (values, pattern, _) = kernel, bias
    if np.ptp(pattern.reshape(-1, channels), axis=0).max() < LEAST:
        values = values[:channels]
    values = values.astype(np.float32)
    order = np.argsort(drawn, axis=None)
    steps = [np.abs(np.diff(a.ravel()[order], prepend=-np.inf)) > LEAST for a in (drawn, again)]
    groups = np.empty(drawn.size, int)
    groups[order] = np.cumsum(np.logical_or(*steps))
    groups = np.where(np.abs(drawn) < LEAST, 0, groups.reshape(drawn.shape))
    if channels == drawn.shape[1] and groups.all() and len(np.unique(groups)) == groups.size:
        return Affine(matrix.astype(np.float32), values, relu)
    rows, columns = np.full(drawn.shape, -1, np.int32), []
    for channel in range(channels):
        own = groups[:, channel::channels]
        there, first, inverse = np.unique(own, return_index=True, return_inverse=True)
        inverse = inverse.reshape(own.shape) - (there[0] == 0)
        rows[:, channel::channels] = inverse
        columns.append(matrix[:, channel::channels].ravel()[first[there > 0]])
    weights = np.zeros((max(1, *map(len, columns)), channels), np.float32)
    for channel, column in enumerate(columns):
        weights[: len(column), channel] = column
    return Affine(weights, values, relu, rows)
