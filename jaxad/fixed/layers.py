"""Layers on counts: what synthesised C++ computes, as pure functions of integer arrays.

Counts are batched over all leading axes. Every layer takes the types of what it is given and that
of its result, whose rounding and overflow are applied once, to the exact value, as an assignment in
C++ is. Layers that sum take an accumulator: None is exact, as hls4ml's own ("auto") is; a given
one is emulated. `lane` is one of `jaxad.fixed.lanes.LANES`; None chooses by the bounds.

All raise `UserError` for a lane that does not hold what the layer may compute, for traced weights
or types without a lane, for counts that are no integers, and, where they are not traced, for counts
out of the range of their type, which neither the lane nor C++ need hold.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.errors import UserError
from jaxad.fixed import accumulators, lanes
from jaxad.fixed.convert import converted
from jaxad.fixed.lanes import Bound, magnitude
from jaxad.fixed.types import FixedType

WHOLE = ("int32", "int64")  # lanes of what is no matrix product


def dense(
    x: Any,
    kernel: Any,
    bias: Any,
    x_type: FixedType,
    kernel_type: FixedType,
    bias_type: FixedType,
    result_type: FixedType,
    accum: FixedType | None = None,
    lane: str | None = None,
) -> jax.Array:
    """x @ kernel + bias.

    Args:
        x: counts (..., inputs).
        kernel: counts (inputs, outputs).
        bias: counts (outputs,).
        x_type, kernel_type, bias_type: their types.
        result_type: of the result.
        accum: type in which products and bias are summed one by one; None: exactly.
        lane: with `accum`, int32 or int64.

    Returns:
        Counts (..., outputs) of `result_type`.

    Examples:
        >>> inputs, weights = FixedType(8, 6), FixedType(4, 1)
        >>> dense(np.array([[3, 5]]), np.array([[1], [-2]]), np.array([4]), inputs, weights,
        ...       weights, FixedType(10, 6)).tolist()  # (3 - 10) / 32 + 4 / 8, in sixteenths
        [[4]]
    """
    types = (x_type, kernel_type, bias_type)
    lanes.require_counts(
        "dense", x=(x, x_type), kernel=(kernel, kernel_type), bias=(bias, bias_type)
    )
    found = accumulators.bound(kernel, bias, types, accum)
    among = WHOLE if accum else lanes.LANES
    lane = lanes.lane_of("dense", lane, found, (*types, result_type), among)
    with lanes.switched(lane):
        arrays = [lanes.counts(m, lane) for m in (x, kernel, bias)]
        if accum is None:
            total, fraction = accumulators.exact_sum(*arrays, types, lane)
        else:
            total, fraction = accumulators.emulated_sum(*arrays, types, accum), accum.fraction
        return lanes.narrowed(converted(total, fraction, result_type), result_type)


def conv(
    x: Any,
    kernel: Any,
    bias: Any,
    x_type: FixedType,
    kernel_type: FixedType,
    bias_type: FixedType,
    result_type: FixedType,
    stride: int | tuple[int, int] = 1,
    padding: str = "valid",
    accum: FixedType | None = None,
    lane: str | None = None,
) -> jax.Array:
    """A convolution of images: patches times kernel, in the order row, column, channel.

    Args:
        x: counts (..., height, width, channels); its type has one width for all.
        kernel: counts (rows, columns, channels, outputs); its type has one width for all, or one
            an output.
        bias: counts (outputs,).
        x_type, kernel_type, bias_type, result_type, accum, lane: as of `dense`.
        stride: of rows and columns.
        padding: "valid", or "same": zeros around, so that ceil(size / stride) remain.

    Returns:
        Counts (..., height', width', outputs) of `result_type`.
    """
    if padding not in ("valid", "same"):
        raise UserError(f'padding: expected "valid" or "same", found {padding!r}')
    rows, columns, channels, outputs = np.shape(kernel)
    places = [
        _places(size, width, step, padding)
        for size, width, step in zip(
            np.shape(x)[-3:-1], (rows, columns), np.broadcast_to(stride, 2).tolist(), strict=True
        )
    ]
    (before, after, first), (left, right, second) = places
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    numpy = jnp if isinstance(x, jax.Array) else np
    edges = [(0, 0)] * (x.ndim - 3)
    with lanes.switched("int64" if x.dtype == "int64" else "int32"):
        x = numpy.pad(x, [*edges, (before, after), (left, right), (0, 0)])
        patches = [
            x[..., first + i, :, :][..., second + j, :] for i in range(rows) for j in range(columns)
        ]
        x = numpy.concatenate(patches, -1)
    kernel = kernel.reshape(rows * columns * channels, outputs)
    return dense(x, kernel, bias, x_type, kernel_type, bias_type, result_type, accum, lane)


def _places(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int, np.ndarray]:
    """Zeros before and after an axis, and where on it the kernel starts."""
    same = padding == "same"
    if not same and size < kernel:
        raise UserError(f"conv: a kernel of {kernel} does not fit {size} pixels: pad, or use same")
    number = -(-size // stride) if same else (size - kernel) // stride + 1
    zeros = max((number - 1) * stride + kernel - size, 0) if same else 0
    return zeros // 2, zeros - zeros // 2, stride * np.arange(number)


def relu(x: Any, x_type: FixedType, result_type: FixedType, lane: str | None = None) -> jax.Array:
    """max(x, 0): counts of any shape to counts of `result_type`."""
    lanes.require_counts("relu", x=(x, x_type))
    found = Bound(0, magnitude(x_type)) if lanes.known(x_type) else None
    lane = lanes.lane_of("relu", lane, found, (x_type, result_type), WHOLE)
    with lanes.switched(lane):
        m = jnp.maximum(lanes.counts(x, lane), 0)
        return lanes.narrowed(converted(m, x_type.fraction, result_type), result_type)


def leaky_relu(
    x: Any,
    alpha: int,
    x_type: FixedType,
    alpha_type: FixedType,
    result_type: FixedType,
    lane: str | None = None,
) -> jax.Array:
    """x where it is positive, otherwise alpha x, in full width: counts of `result_type`.

    Args:
        x: counts of any shape.
        alpha: the slope, a count of `alpha_type`.
    """
    lanes.require_counts("leaky_relu", x=(x, x_type), alpha=(alpha, alpha_type))
    steps = accumulators.larger(alpha_type.fraction, 0)
    found = None
    if lanes.known(x_type, alpha_type):
        found = Bound(0, magnitude(x_type) * max(_magnitude(alpha_type, steps), 2**steps))
    lane = lanes.lane_of("leaky_relu", lane, found, (x_type, alpha_type, result_type), WHOLE)
    with lanes.switched(lane):
        m = lanes.counts(x, lane)
        slope = lanes.counts(alpha, lane) << jnp.asarray(steps - alpha_type.fraction, lane)
        m = jnp.where(m > 0, m << jnp.asarray(steps, lane), slope * m)
        return lanes.narrowed(converted(m, x_type.fraction + steps, result_type), result_type)


def subtract(
    a: Any,
    b: Any,
    a_type: FixedType,
    b_type: FixedType,
    result_type: FixedType,
    lane: str | None = None,
) -> jax.Array:
    """a - b, of shapes that broadcast, exactly, then as counts of `result_type`."""
    lanes.require_counts("subtract", a=(a, a_type), b=(b, b_type))
    fraction = accumulators.larger(a_type.fraction, b_type.fraction)
    found = None
    if lanes.known(a_type, b_type):
        found = Bound(0, _magnitude(a_type, fraction) + _magnitude(b_type, fraction))
    lane = lanes.lane_of("subtract", lane, found, (a_type, b_type, result_type), WHOLE)
    with lanes.switched(lane):
        a, b = (
            lanes.counts(m, lane) << jnp.asarray(fraction - t.fraction, lane)
            for m, t in ((a, a_type), (b, b_type))
        )
        return lanes.narrowed(converted(a - b, fraction, result_type), result_type)


def square_sum(
    x: Any,
    x_type: FixedType,
    square_type: FixedType,
    result_type: FixedType,
    lane: str | None = None,
) -> jax.Array:
    """The sum of squares of the last axis, as AXOL1TL's score (arXiv:2411.19506).

    Args:
        x: counts (..., inputs).
        x_type: their type.
        square_type: every square is converted to it; one width for all.
        result_type: that of the sum, converted to it after every square; one width for all.

    Returns:
        Counts (...,) of `result_type`.
    """
    lanes.require_counts("square_sum", x=(x, x_type))
    types, found = (x_type, square_type, result_type), None
    scale = accumulators.larger(square_type.fraction, result_type.fraction)
    if lanes.known(types):
        largest = _magnitude(x_type, accumulators.larger(x_type.fraction))
        found = Bound(
            0, max(largest**2, _magnitude(square_type, scale) + _magnitude(result_type, scale))
        )
    lane = lanes.lane_of("square_sum", lane, found, types, WHOLE)
    with lanes.switched(lane):
        m, fraction = accumulators.aligned(lanes.counts(x, lane), x_type)
        squares = converted(m * m, 2 * fraction, square_type)

        def add(total: jax.Array, square: jax.Array) -> tuple[jax.Array, None]:
            total = total << jnp.asarray(scale - result_type.fraction, lane)
            square = square << jnp.asarray(scale - square_type.fraction, lane)
            return converted(total + square, scale, result_type), None

        total = jnp.zeros(squares.shape[:-1], squares.dtype)
        total = jax.lax.scan(add, total, jnp.moveaxis(squares, -1, 0))[0]
        return lanes.narrowed(total, result_type)


def _magnitude(t: FixedType, fraction: int) -> int:
    """The largest |m| of a type with so many fractional bits, where its widths are known."""
    return int(np.max(lanes.magnitudes(t) * 2 ** (fraction - np.asarray(t.fraction, object))))
