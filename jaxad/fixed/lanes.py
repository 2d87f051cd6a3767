"""Lanes: in which machine numbers integers are computed, and whether those hold them.

A lane is the type of matrix products: float32 (exact up to 2^24), int32, float64 (up to 2^53) or
int64. All else is in integers of 32 or 64 bits. The 64 bits are switched on where they are needed
and nowhere else, under an outer `jit`, `vmap` or `scan` too; what leaves a function with 32 bits
or fewer is int32.

A lane holds a computation if no product, no partial sum and no aligned sum can be larger, whatever
the inputs: `Bound`. Bounds need the values of weights and types; where these are traced the caller
names the lane and answers for it.
"""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.errors import UserError
from jaxad.fixed.types import FixedType

LANES = ("float32", "int32", "float64", "int64")
"""The cheapest first."""
INTEGERS = {"float32": "int32", "int32": "int32", "float64": "int64", "int64": "int64"}
EXACT = {"float32": 2**24, "int32": 2**31 - 1, "float64": 2**53, "int64": 2**63 - 1}
"""The largest magnitude of a matrix product and of all its partial sums."""


class Bound(NamedTuple):
    """The largest magnitudes that a computation can meet, in counts.

    Attributes:
        product: of products and their partial sums, before they are aligned with the bias.
        total: of everything else.
    """

    product: int
    total: int

    @property
    def bits(self) -> int:
        """Bits that hold both, with a sign."""
        return max(self).bit_length() + 1


def integers(lane: str) -> str:
    """The integers of a lane, int32 or int64."""
    if lane not in LANES:
        raise UserError(f"lane: expected one of {', '.join(LANES)}, found {lane!r}")
    return INTEGERS[lane]


def switched(lane: str) -> AbstractContextManager[Any]:
    """While this is held, the numbers of `lane` exist."""
    return jax.enable_x64(True) if integers(lane) == "int64" else contextlib.nullcontext()


def known(*values: Any) -> bool:
    """Whether none of the arrays and types is traced, so that bounds can be had."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def magnitudes(t: FixedType) -> Any:
    """The largest |m| of a type whose widths are known: Python integers, of their shape."""
    width = np.asarray(t.width, object)
    return 2 ** (width - 1) if t.signed else 2**width - 1


def require_counts(what: str, **given: tuple[Any, FixedType]) -> None:
    """Refuses counts that are none of their type, on which bounds and lanes rely.

    What is traced, and what is no integers, is not checked.

    Args:
        what: the computation, for messages.
        given: name -> integers of any shape, and their type, whose widths broadcast against them.

    Raises:
        UserError: the first of the counts that is out of range.
    """
    for name, (m, t) in given.items():
        if not known(m, t) or np.asarray(m).dtype.kind not in "iuOb":
            continue
        m = np.asarray(m)
        highest = 2 ** (np.asarray(t.width, object) - t.signed) - 1
        lowest = -highest - (t.overflow != "SAT_SYM") if t.signed else 0 * highest
        outside = (m < lowest) | (m > highest)
        if np.any(outside):
            place = np.argmax(outside)
            count, low, high = (
                np.broadcast_to(a, outside.shape).flat[place] for a in (m, lowest, highest)
            )
            raise UserError(
                f"{what}: expected {name} within {low} to {high}, the counts of its type, found "
                f"{count}: C++ would not hold it; see fixed.convert"
            )


def magnitude(t: FixedType) -> int:
    """The largest |m| of a type whose widths are known."""
    return int(np.max(magnitudes(t)))


def lane_of(
    what: str,
    lane: str | None,
    bound: Bound | None,
    types: Sequence[FixedType] = (),
    among: Sequence[str] = LANES,
) -> str:
    """The lane to compute in: the cheapest that holds all, or `lane` if that does.

    Args:
        what: the computation, for messages.
        lane: one of `LANES`, or None.
        bound: None where it is not known.
        types: those of all that goes in and comes out.
        among: the lanes that can do it.

    Raises:
        UserError: `lane` is none of `among`, or does not hold everything; no lane does; or the
            choice would need a bound that is not known.
    """
    sizes = [t.width + (not t.signed) for t in types if known(t)]
    bits = max([int(np.max(size)) for size in sizes], default=1)
    if lane is not None:
        integers(lane)
    if lane is not None and lane not in among:
        raise UserError(f"{what}: expected a lane of {', '.join(among)}, found {lane}")
    if bound is None:
        if lane is None:
            raise UserError(
                f"{what}: weights or types are traced, so no bound is known: give a lane of "
                + ", ".join(among)
            )
        bound = Bound(0, 0)
    fits = [name for name in among if _holds(name, bound, bits)]
    if lane in fits:
        return lane
    needed = max(bits, bound.bits)
    if not fits:
        raise UserError(
            f"{what}: needs {needed} bits, more than any lane of {', '.join(among)} has"
        )
    if lane is not None:
        raise UserError(
            f"{what}: needs {needed} bits, which the lane {lane} does not hold exactly: use "
            + " or ".join(fits)
        )
    return fits[0]


def _holds(lane: str, bound: Bound, bits: int) -> bool:
    size = np.iinfo(INTEGERS[lane])
    return bound.product <= EXACT[lane] and bound.total <= size.max and bits <= size.bits


def counts(m: Any, lane: str) -> jax.Array:
    """`m` as integers of the lane, which must be switched on.

    Raises:
        UserError: `m` are no integers, or an array of NumPy or of int64 does not fit.
    """
    dtype = INTEGERS[lane]
    if not isinstance(m, jax.Array):
        m = np.asarray(m)
        size = np.iinfo(dtype)
        if m.dtype.kind in "iuO" and m.size and not (size.min <= m.min() <= m.max() <= size.max):
            raise UserError(f"counts: {m.min()} to {m.max()} do not fit the lane {lane}")
    elif dtype == "int32" and m.dtype in ("int64", "uint64", "uint32"):
        raise UserError(f"counts: {m.dtype} do not fit the lane {lane}: use int64")
    if m.dtype.kind not in "iuOb":
        raise UserError(f"counts: expected integers, found {m.dtype}: see fixed.from_float")
    return jnp.asarray(m.astype(dtype) if isinstance(m, np.ndarray) else m, dtype)


def narrowed(m: jax.Array, t: FixedType) -> jax.Array:
    """`m` as int32 if its type is known to fit, so that it is safe outside of 64 bits."""
    if known(t) and np.max(t.width) <= 32 - (not t.signed):
        return m.astype("int32")
    return m
