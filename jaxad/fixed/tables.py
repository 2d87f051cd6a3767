"""tanh and sigmoid by hls4ml's tables: entries at equal steps, the address cut towards zero.

Entries are the nearest float32 of the functions, the same on every machine. C++ fills its tables by
the float32 functions of its C library, whose last bit may be another: where a value lies that near
to a step of the table's type its entry may be the next. `table` therefore
takes the entries of a compiled project too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.errors import UserError
from jaxad.fixed import lanes
from jaxad.fixed.convert import converted, from_float
from jaxad.fixed.types import FixedType


class _Function(NamedTuple):
    half: int  # the table covers [-half, half), a power of two
    value: Callable[[np.ndarray], np.ndarray]


def _tanh(x: np.ndarray) -> np.ndarray:
    return np.tanh(x.astype(np.float64)).astype(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """In the precisions of hls4ml: exp in float32, the quotient in float64."""
    return (1.0 / (1.0 + np.exp(-x.astype(np.float64)).astype(np.float32))).astype(np.float32)


FUNCTIONS = {"tanh": _Function(4, _tanh), "sigmoid": _Function(8, _sigmoid)}
ENTRIES = 1024  # of hls4ml's tables where nothing is set
ENTRY_TYPE = FixedType(18, 8)


def entries(function: str, number: int = ENTRIES, entry_type: FixedType = ENTRY_TYPE) -> jax.Array:
    """The table of a function: counts (number,) of `entry_type`.

    Args:
        function: "tanh", between -4 and 4, or "sigmoid", between -8 and 8.
        number: of entries, a power of two from 16.
        entry_type: hls4ml's table_t.

    Raises:
        UserError: no such function, or another number.
    """
    if function not in FUNCTIONS:
        raise UserError(f"table: expected one of {', '.join(FUNCTIONS)}, found {function!r}")
    if number < 16 or number & (number - 1):
        raise UserError(f"table: expected a power of two from 16 on as its size, found {number}")
    half, value = FUNCTIONS[function]
    x = (2 * half * (np.arange(number) - number / 2) / number).astype(np.float32)
    return from_float(value(x), entry_type)


def table(
    x: Any,
    function: str,
    x_type: FixedType,
    result_type: FixedType,
    number: int = ENTRIES,
    entry_type: FixedType = ENTRY_TYPE,
    stored: Any = None,
    lane: str | None = None,
) -> jax.Array:
    """tanh or sigmoid of counts, read from the table: counts of `result_type`.

    The address is x number / (2 half), cut towards zero, plus number / 2, and the first or the last
    one where x lies outside of the table. Entries left of zero are thus one step late.

    Args:
        x: counts of any shape.
        function, number, entry_type: the table, see `entries`.
        stored: counts (number,), the entries of a compiled project; None: `entries`.
        x_type: type of the counts.
        result_type: that of the results.

    Raises:
        UserError: as of `entries` and of all layers.

    Examples:
        >>> t = FixedType(16, 6)
        >>> table(np.array([0, 512, -512, 9999]), "tanh", t, t).tolist()  # of 0, 1/2, -1/2, 9.8
        [0, 473, -474, 1023]
    """
    own = entries(function, number, entry_type)
    if stored is not None and np.shape(stored) != own.shape:
        raise UserError(f"table: expected {number} stored entries, found {np.shape(stored)}")
    stored = own if stored is None else stored
    lanes.require_counts("table", x=(x, x_type), stored=(stored, entry_type))
    steps = (number // (2 * FUNCTIONS[function].half)).bit_length() - 1
    types = x_type, entry_type, result_type
    found = lanes.Bound(0, number) if lanes.known(types) else None
    lane = lanes.lane_of("table", lane, found, types, ("int32", "int64"))
    with lanes.switched(lane):
        half = number // 2
        address = FixedType(half.bit_length() + 1, half.bit_length() + 1, True, "TRN_ZERO", "SAT")
        place = converted(lanes.counts(x, lane), x_type.fraction - steps, address)
        place = jnp.clip(place + half, 0, number - 1)
        m = lanes.counts(stored, lane)[place]
        return lanes.narrowed(converted(m, entry_type.fraction, result_type), result_type)
