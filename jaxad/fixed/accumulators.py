"""Sums of products in an accumulator: exact, or of a type that rounds and overflows on the way."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.fixed.convert import converted, overflowed
from jaxad.fixed.lanes import INTEGERS, Bound, known, magnitude, magnitudes
from jaxad.fixed.types import FixedType


def auto_accum(x: FixedType, kernel: FixedType, bias: FixedType, inputs: int) -> FixedType:
    """The accumulator that hls4ml gives a layer whose accum_t is "auto": it never loses a bit.

    Args:
        x, kernel, bias: types of the layer's inputs, weights and biases.
        inputs: products in a sum: inputs, or the area of the kernel times the channels.

    Examples:
        >>> auto_accum(FixedType(14, 6), FixedType(4, 1), FixedType(4, 1), 57)[:2]
        (25, 14)
    """
    grown = math.ceil(math.log2(inputs))
    signed = x.signed or kernel.signed
    integer = larger(
        x.integer + kernel.integer + grown + (bias.signed and not signed),
        bias.integer + (signed and not bias.signed),
    )
    fraction = larger(x.fraction + kernel.fraction, bias.fraction)
    return FixedType(integer + 1 + fraction, integer + 1, signed or bias.signed)


def larger(*values: Any) -> Any:
    """The largest of integers, some of which may be traced or arrays: a scalar."""
    if known(values):
        return max(int(np.max(value)) for value in values)
    return jnp.max(jnp.stack([jnp.max(jnp.asarray(value)) for value in values]))


def aligned(m: Any, t: FixedType) -> tuple[Any, Any]:
    """Counts with one number of fractional bits, and that: the most that any of them has."""
    if np.ndim(t.fraction) == 0:
        return m, t.fraction
    fraction = larger(t.fraction)
    return m << jnp.asarray(fraction - t.fraction, m.dtype), fraction


def bound(
    kernel: Any,
    bias: Any,
    types: tuple[FixedType, FixedType, FixedType],
    accum: FixedType | None = None,
) -> Bound | None:
    """The largest magnitudes of x @ kernel + bias, or None where anything is traced.

    Args:
        kernel: counts (inputs, outputs).
        bias: counts (outputs,).
        types: those of x, kernel and bias.
        accum: of an emulated accumulator; None for an exact one.
    """
    if not known(kernel, bias, types, accum):
        return None
    fractions = [larger(t.fraction) for t in types]
    x, w, b = (
        abs(np.asarray(m, object)) * 2 ** (fraction - np.asarray(t.fraction, object))
        for m, t, fraction in zip(
            (magnitudes(types[0]), kernel, bias), types, fractions, strict=True
        )
    )
    products = w * np.broadcast_to(x, w.shape[0])[:, None]
    if accum is not None:  # sums are those of the accumulator, before it overflows
        return Bound(0, max(int(np.max(products)), int(np.max(b)), 2 * magnitude(accum)))
    scale = fractions[0] + fractions[1]
    fraction = max(scale, fractions[2])
    sums = products.sum(0)
    total = sums * 2 ** (fraction - scale) + b * 2 ** (fraction - fractions[2])
    return Bound(int(np.max(sums)), int(np.max(total)))


def exact_sum(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, types: tuple[FixedType, ...], lane: str
) -> tuple[jax.Array, Any]:
    """x @ kernel + bias as counts, and how many fractional bits they have."""
    (x, fx), (kernel, fk), (bias, fb) = (
        aligned(m, t) for m, t in zip((x, kernel, bias), types, strict=True)
    )
    scale = fx + fk
    fraction = larger(scale, fb)
    total = jnp.matmul(x.astype(lane), kernel.astype(lane), precision="highest")
    total = total.astype(INTEGERS[lane]) << jnp.asarray(fraction - scale, INTEGERS[lane])
    return total + (bias << jnp.asarray(fraction - fb, bias.dtype)), fraction


def emulated_sum(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    types: tuple[FixedType, ...],
    accum: FixedType,
) -> jax.Array:
    """x @ kernel + bias as counts of `accum`, as hls4ml's dense layer computes it.

    The bias and every product are converted to `accum`; the products are added to the bias one by
    one, in the order of the inputs, and every sum overflows as `accum` does.
    """
    (x, fx), (kernel, fk), (bias, fb) = (
        aligned(m, t) for m, t in zip((x, kernel, bias), types, strict=True)
    )

    def add(total: jax.Array, column: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        product = converted(column[0][..., None] * column[1], fx + fk, accum)
        return overflowed(total + product, accum), None

    start = jnp.broadcast_to(converted(bias, fb, accum), (*x.shape[:-1], kernel.shape[-1]))
    return jax.lax.scan(add, start, (jnp.moveaxis(x, -1, 0), kernel))[0]
