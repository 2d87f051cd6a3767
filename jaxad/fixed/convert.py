"""Conversion between fixed-point types: round first, then bound, as assignments of C++ do.

A count m with f fractional bits becomes one of a type with F: with d = f - F it is m << -d for
d <= 0. Otherwise q = floor(m / 2^d), h is the bit below it and r says whether any lower bit is set,
and q + 1 replaces q where the type's rounding says so. What is then out of range wraps around or
saturates. The rules are those of the headers of `ap_fixed`, for negative F too.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.errors import UserError
from jaxad.fixed import lanes
from jaxad.fixed.types import FixedType


def convert(m: Any, fraction: Any, to: FixedType, lane: str | None = None) -> jax.Array:
    """Counts of the type `to` that the values m 2^-fraction become.

    Exact as long as `m` and `to` fit the integers of the lane: a shift to the left never loses
    what saturates.

    Args:
        m: integers of any shape.
        fraction: fractional bits of `m`, an integer or an array that broadcasts against `m`.
        to: its widths may be traced, or arrays that broadcast against `m`.
        lane: int32 or int64 (of a lane of floats its integers); None: int64 if `m` are int64 or
            `to` is wider than 32 bits.

    Returns:
        Counts, int32, or int64 where `to` is wider or its widths are traced in a lane of 64 bits.

    Raises:
        UserError: `m` are no integers, or the lane does not hold them or `to`.

    Examples:
        >>> half_even = FixedType(8, 6, rounding="RND_CONV", overflow="SAT")
        >>> convert(np.array([-5, 2, 6, 9999]), 4, half_even).tolist()  # of sixteenths, to quarters
        [-1, 0, 2, 127]
    """
    lane = _integers(m, [to], lane)
    with lanes.switched(lane):
        return lanes.narrowed(converted(lanes.counts(m, lane), fraction, to), to)


def converted(m: jax.Array, fraction: Any, to: FixedType) -> jax.Array:
    """`convert` for int32 or int64 that exist, which the result is of."""
    shift = jnp.asarray(fraction - to.fraction, m.dtype)
    return overflowed(_rounded(m, jnp.maximum(shift, 0), to.rounding), to, jnp.maximum(-shift, 0))


def _rounded(m: jax.Array, down: jax.Array, rounding: str) -> jax.Array:
    """m 2^-down as an integer."""
    last = jnp.iinfo(m.dtype).bits - 1  # the sign, which all bits above equal
    q = m >> jnp.minimum(down, last)
    if rounding == "TRN":
        return q
    below = down - 1
    place = jnp.clip(below, 0, last)
    half = (down > 0) & ((m >> place) & 1 == 1)
    if rounding == "RND":
        return q + half
    rest = (down > 0) & jnp.where(below > last, m != 0, m & ((_one(m) << place) - 1) != 0)
    negative = m < 0
    up = {
        "RND_CONV": half & (rest | (q & 1 == 1)),
        "RND_ZERO": half & (rest | negative),
        "RND_INF": half & (rest | ~negative),
        "RND_MIN_INF": half & rest,
        "TRN_ZERO": negative & (half | rest),
    }
    return q + up[rounding]


def overflowed(m: jax.Array, to: FixedType, up: Any = 0) -> jax.Array:
    """m 2^up in the range of `to`, by its overflow."""
    bits = jnp.iinfo(m.dtype).bits
    width, up = jnp.asarray(to.width, m.dtype), jnp.asarray(up, m.dtype)
    shift = jnp.minimum(up, bits - 1)
    if to.overflow == "WRAP":
        m = jnp.where(up < bits, m << shift, 0)
        if not to.signed:
            return m & ~(-_one(m) << width)
        unused = bits - width
        return (m << unused) >> unused
    highest = ~(-_one(m) << (width - to.signed))
    lowest = -highest - (to.overflow == "SAT") if to.signed else jnp.zeros_like(highest)
    floor = (lowest >> shift) + (lowest & ~(-_one(m) << shift) != 0)
    inside = jnp.where(m < floor, lowest, m << shift)
    return jnp.where(m > highest >> shift, highest, inside)


def _one(m: jax.Array) -> jax.Array:
    return jnp.ones((), m.dtype)


def _integers(m: Any, types: list[FixedType], lane: str | None) -> str:
    """int32 or int64, as asked for or as `m` and the types need."""
    if lane is None and getattr(m, "dtype", None) in ("int64", "uint64", "uint32"):
        lane = "int64"
    asked = lanes.integers(lane) if lane else None
    return lanes.lane_of("conversion", asked, lanes.Bound(0, 0), types, ("int32", "int64"))


def from_float(x: Any, to: FixedType, lane: str | None = None) -> jax.Array:
    """Counts of the type `to` that floats become: their exact values, then its rules.

    Args:
        x: finite float32 or float64 of any shape; narrower floats are widened.
        to: as of `convert`.
        lane: int32 or int64; None: int64 if `x` is float64 or `to` is wider than 32 bits.

    Returns:
        Counts as of `convert`.

    Raises:
        UserError: known values are not finite, or the lane does not hold `to` or the 53 bits of
            float64.

    Examples:
        >>> from_float(np.array([0.3, -0.3, 31.97]), FixedType(8, 6, overflow="SAT")).tolist()
        [1, -2, 127]
    """
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    if x.dtype != "float64":
        x = x.astype("float32") if jnp.issubdtype(x.dtype, jnp.floating) else np.float64(x)
    wide = x.dtype == "float64"
    if lanes.known(x) and not np.isfinite(x).all():
        raise UserError("from_float: expected finite numbers, found NaN or infinity")
    if wide and lane is not None and lanes.integers(lane) == "int32":
        raise UserError("from_float: float64 needs the lane int64, found int32")
    lane = "int64" if wide else _integers(None, [to], lane)
    with lanes.switched(lane):
        dtype, stored, bias = ("int64", 52, 1075) if wide else ("int32", 23, 150)
        word = jax.lax.bitcast_convert_type(jnp.asarray(x, x.dtype), dtype)
        exponent = (word >> stored) & (2 * (bias - stored) + 1)
        size = (word & (2**stored - 1)) | jnp.where(exponent > 0, 2**stored, 0)
        m = jnp.where(word < 0, -size, size).astype(lane)
        m = converted(m, bias - jnp.maximum(exponent, 1).astype(lane), to)
        return lanes.narrowed(m, to)


def to_float(m: Any, t: FixedType) -> jax.Array:
    """The values of counts, exactly.

    Returns:
        float32 where no count of `t` is above 2^24, otherwise, and for traced widths, float64,
        which JAX without 64 bits cuts to float32 as soon as something computes with it.

    Raises:
        UserError: `t` has counts above 2^53; a count is out of the range of `t`.

    Examples:
        >>> to_float(np.array([-3, 127]), FixedType(8, 6)).tolist()
        [-0.75, 31.75]
    """
    lanes.require_counts("to_float", m=(m, t))
    largest = lanes.magnitude(t) if lanes.known(t) else lanes.EXACT["float64"]
    lane = "float32" if largest <= lanes.EXACT["float32"] else "float64"
    if largest > lanes.EXACT["float64"]:
        raise UserError(f"to_float: {t} has more bits than float64")
    with lanes.switched(lane):
        exponent = -jnp.asarray(t.fraction, "int32")
        half = exponent >> 1  # each of the two powers is a normal number
        values = lanes.counts(m, lane).astype(lane)
        return values * _power(half, lane) * _power(exponent - half, lane)


def _power(exponent: jax.Array, dtype: str) -> jax.Array:
    """2^exponent, by its bits: `jnp.ldexp` has no float64 within a `jit` of 32 bits."""
    integers, info = "int64" if dtype == "float64" else "int32", jnp.finfo(dtype)
    biased = (exponent + (1 - info.minexp)).astype(integers)
    return jax.lax.bitcast_convert_type(biased << info.nmant, dtype)
