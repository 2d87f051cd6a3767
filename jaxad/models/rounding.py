"""Numbers on grids, with gradients, and the bits that they have.

Values are rounded in the forward pass and gradients go straight through the rounding alone, so that
range, widths and weights all have the gradients of what is left (Bengio et al., arXiv:1308.3432;
widths that are learnt: HGQ, Sun et al., arXiv:2405.00645).
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

MODES = ("RND", "RND_CONV")
"""Roundings of activations: halves up, which logic of adders has too, or to even."""


def power_of_two(f: Array) -> Array:
    """2^f of whole numbers f, exactly (`exp2` is not), with the gradient ln 2 2^f."""
    exact = jnp.ldexp(1.0, lax.stop_gradient(f).astype(jnp.int32))
    return exact * (1 + np.float32(np.log(2)) * (f - lax.stop_gradient(f)))


def whole(f: Array) -> Array:
    """The nearest whole number, with the gradient of f itself."""
    return f + lax.stop_gradient(jnp.round(f) - f)


def quantised(
    x: Array,
    fraction: Array,
    low: Array | float = -np.inf,
    high: Array | float = np.inf,
    rounding: str = "RND",
) -> Array:
    """The nearest multiples of 2^-fraction, of x within [low, high], which are such multiples.

    As the range is cut before the rounding, gradients of x are 1 in the range and 0 outside, and
    that of the fraction is ln 2 (x - y), 0 outside as well.

    Args:
        x: (...) float32.
        fraction: whole numbers, which broadcast to x.
        rounding: one of `MODES`.

    Examples:
        >>> quantised(jnp.array([0.3, 0.375, 9.0]), jnp.array(2.0), -2.0, 1.75).tolist()
        [0.25, 0.5, 1.75]
    """
    low, high = lax.stop_gradient(low), lax.stop_gradient(high)
    scale = power_of_two(fraction)
    scaled = jnp.where(x > high, high, jnp.where(x < low, low, x)) * scale
    rounded = jnp.round(scaled) if rounding == "RND_CONV" else jnp.floor(scaled + 0.5)
    return (scaled + lax.stop_gradient(rounded - scaled)) / scale


def symmetric(x: Array, fraction: Array, bits: int) -> Array:
    """`quantised` to so many bits, the sign among them, by SAT_SYM: as far down as up."""
    high = (2.0 ** (bits - 1) - 1) / power_of_two(fraction)
    return quantised(x, fraction, -high, high)


def magnitude_bits(values: Array, fraction: Array) -> Array:
    """max(0, i + f), the bits of the largest of the values that share an f, shaped as `fraction`.

    i is that of the values as they are, so that the gradient of f is 1, and 0 where all are zero:
    what has no bits costs nothing.

    Args:
        values: (...), multiples of 2^-fraction.
        fraction: f, of as many axes, 1 long where it is shared.
    """
    shared = tuple(a for a in range(values.ndim) if fraction.shape[a] < values.shape[a])
    counts = lax.stop_gradient(jnp.abs(values) * power_of_two(fraction))
    largest = jnp.max(counts, axis=shared, keepdims=True)
    bits = jnp.frexp(largest)[1].astype(jnp.float32)
    return jnp.where(largest > 0, lax.stop_gradient(bits - fraction) + fraction, 0.0)


def fractions_shape(shape: Sequence[int], granularity: str) -> tuple[int, ...]:
    """Shape of the fractions of an array (..., channels)."""
    shared = {"layer": (1,) * len(shape), "channel": (1,) * (len(shape) - 1) + (shape[-1],)}
    return shared.get(granularity, tuple(shape))


def integer_bits(largest: np.ndarray, bits: int = 24) -> np.ndarray:
    """i, without a sign, of the smallest type with so many bits that `largest` rounds to; 0 of 0.

    Examples:
        >>> integer_bits(np.array([0.0, 0.9, 1.0, 3.97]), bits=6).tolist()
        [0, 0, 1, 3]
    """
    mantissa, exponent = np.frexp(np.asarray(largest, np.float64))
    return np.where(mantissa >= 1 - 0.5 ** (bits + 1), exponent + 1, exponent)


def set_bits(counts: np.ndarray) -> np.ndarray:
    """Bits from the most to the least significant one that is set; 0 of 0.

    Examples:
        >>> set_bits(np.array([0, 1, 6, -5, 64])).tolist()
        [0, 1, 2, 3, 1]
    """
    size = np.abs(counts.astype(np.int64))
    lowest = np.where(size, size & -size, 1)
    return np.frexp((size // lowest).astype(np.float64))[1]
