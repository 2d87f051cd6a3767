"""Trigger events as the integers of a Global Trigger, on the grid of a firmware's inputs.

As the deployed AXOL1TL (CMS, arXiv:2411.19506) takes them: counts, from which an
integer offset is subtracted, and a power of two divided by, both learnt; then one fixed-point type
for all inputs. Everything is exact in float32, so that it is exported as any other input.
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.fixed.types import FixedType, parsed
from jaxad.inputs.particles import invariant_mass, momenta_and_padding_of
from jaxad.inputs.stage import Stage
from jaxad.inputs.trigger import MIN_OBJECTS, N_INPUTS, SHAPE, event_names, require_trigger
from jaxad.observables.trigger import (
    CLASS,
    ETA_BITS,
    ETA_UNIT,
    N_OBJECTS,
    PHI_COUNTS,
    PT_BITS,
    PT_UNIT,
)

FRACTION = 5
"""Bits behind the point that a shift keeps: those of fixed<18,13>, the type of the raw counts."""
MIN_SHIFT, MAX_SHIFT = -1, 8
MAX_WIDTH, MAX_FRACTION = 24, 16
"""Of the type of the inputs: its values, and all that leads to them, are exact in float32."""


def stage(config: ConfigDict, layout: Layout, kind: str) -> Stage:
    """Vectors (n, 57) on the grid of `inputs.type`: `counts`, `scales`, `scaled`."""
    require_trigger("trigger_integer", layout)
    to = type_of(config)
    in_gev = momenta_and_padding_of(layout)
    return Stage(
        kind=kind,
        raw=SHAPE,
        values=lambda raw: counts(in_gev(raw)).astype(jnp.float32),
        fit=scales,
        scale=partial(scaled, to=to),
        unit=lambda fitted, values: jax.nn.sigmoid(scaled(fitted, values, to=to)),
        mass=invariant_mass(layout),
        names=event_names(),
        settings={"type": str(to), "unit": layout.unit},
    )


def type_of(config: ConfigDict) -> FixedType:
    """The fixed-point type that `inputs.type` names.

    Raises:
        UserError: no such type, or one whose values float32 does not hold.
    """
    try:
        found = parsed(config.type)
    except UserError as error:
        raise UserError(f"inputs.type: {error}") from None
    if found.width > MAX_WIDTH or found.fraction > MAX_FRACTION:
        raise UserError(
            f"inputs.type: expected at most {MAX_WIDTH} bits, {MAX_FRACTION} of them behind the "
            f"point, found {found}: the scaled counts have {FRACTION} there"
        )
    return found


def counts(raw: Array) -> Array:
    """Events (n, 19, 3) of (pT [GeV], eta, phi) -> counts (n, 57) int32, object by object.

    pT in 0.5 GeV, down to the count, at most all ones (jets 11 bits, e/gamma and muons 9, MET 12);
    eta to the nearest multiple of 0.0435, muons 0.010875, at most 8 and 9 bits with the sign;
    phi in 144ths, muons 576ths, of the circle, from 0. An object below the first count of pT is
    none: a slot of zeros.

    Examples:
        >>> event = jnp.zeros((1, 19, 3)).at[0, 9].set(jnp.array([30.7, -1.0, -0.01]))
        >>> counts(event)[0, 27:30].tolist()
        [61, -23, 143]
    """
    pt, eta, phi = jnp.moveaxis(raw, -1, 0)
    highest = np.float32(2.0 ** (ETA_BITS - 1) - 1)
    pt = jnp.minimum(jnp.floor(pt / PT_UNIT), np.float32(2.0**PT_BITS - 1))
    there = pt >= 1
    # By factors, not quotients: a compiler makes them of constant divisors, with other roundings.
    eta = jnp.where(there, eta, 0) * np.float32(1 / ETA_UNIT)
    eta = jnp.clip(jnp.round(eta), -highest - 1, highest)
    phi = jnp.floor(jnp.where(there, phi, 0) * np.float32(PHI_COUNTS / (2 * np.pi)))
    phi = phi - PHI_COUNTS * jnp.floor((phi + 0.5) / PHI_COUNTS)  # half a count from any edge
    found = jnp.stack([jnp.where(there, pt, 0), eta, phi], -1)
    return found.reshape(-1, N_INPUTS).astype(jnp.int32)


def scales(values: np.ndarray) -> dict[str, np.ndarray]:
    """ "offset" and "shift" (57,) int32 of counts (n, 57), of the objects that there are.

    The offset is the median, the shift the power of two below half the distance of the 5 and 95 %
    quantiles, from -1 to 8; 0 where all values are the same. A slot with fewer than 10 objects
    takes those of its kind, and a kind that is missing altogether 0 and 0.
    """
    x = values.reshape(-1, N_OBJECTS, 3)
    there = x[..., 0] > 0
    offset, shift = np.zeros((N_OBJECTS, 3), np.int32), np.zeros((N_OBJECTS, 3), np.int32)
    for slot in range(N_OBJECTS):
        found = x[there[:, slot], slot]
        if len(found) < MIN_OBJECTS:
            kind = CLASS[slot] == CLASS
            found = x[:, kind][there[:, kind]]
        if len(found):
            low, middle, high = np.quantile(found, (0.05, 0.5, 0.95), axis=0)
            half = (high - low) / 2
            power = np.floor(np.log2(np.where(half > 0, half, 1.0)))
            offset[slot], shift[slot] = np.rint(middle), np.clip(power, MIN_SHIFT, MAX_SHIFT)
    return {"offset": offset.ravel(), "shift": shift.ravel()}


def scaled(fitted: Mapping[str, Array], values: Array, to: FixedType) -> Array:
    """(counts - offset) >> shift, which keeps 5 bits behind the point, as values of the type `to`.

    Differences and their doubles (shift -1) are exact: they need 15 bits before the point at most.

    Args:
        fitted: see `scales`.
        values: counts (n, 57), any numbers.

    Returns:
        (n, 57) float32, exactly on the grid of `to`.
    """
    difference = jnp.asarray(values, jnp.float32) - jnp.asarray(fitted["offset"], jnp.float32)
    divisor = jnp.left_shift(1, jnp.asarray(fitted["shift"]) - MIN_SHIFT).astype(jnp.float32)
    kept = jnp.floor(difference * (2.0 ** (FRACTION - MIN_SHIFT) / divisor))
    return converted(kept, FRACTION, to)


def converted(m: Array, fraction: int, to: FixedType) -> Array:
    """Values of the type `to` nearest, by its rules, to m 2^-fraction.

    Args:
        m: whole numbers (...) float32, below 2^22 in size if `to` has up to 24 bits.
        fraction: bits of m behind the point.

    Returns:
        (...) float32.
    """
    x = m * 2.0 ** (to.fraction - fraction)
    size = jnp.abs(x)
    rounded = {
        "TRN": lambda: jnp.floor(x),
        "RND": lambda: jnp.floor(x + 0.5),
        "RND_CONV": lambda: jnp.round(x),
        "RND_ZERO": lambda: jnp.sign(x) * jnp.ceil(size - 0.5),
        "RND_INF": lambda: jnp.sign(x) * jnp.floor(size + 0.5),
        "RND_MIN_INF": lambda: jnp.ceil(x - 0.5),
        "TRN_ZERO": lambda: jnp.sign(x) * jnp.floor(size),
    }[to.rounding]()
    if to.overflow == "WRAP":
        turns = jnp.floor((rounded - to.lowest) * 2.0**-to.width)
        found = rounded - turns * 2.0**to.width
    else:
        found = jnp.clip(rounded, to.lowest, to.highest)
    return found * 2.0**-to.fraction + 0.0  # no negative zeros
