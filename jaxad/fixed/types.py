"""Fixed-point types: how many bits, where the point is, how a value is rounded and bounded.

The types of Vivado and Vitis HLS (`ap_fixed`, `ap_ufixed`), which hls4ml's C++ computes with. A
value of a type is m 2^-F with an integer m of `width` bits, F = width - integer.
"""

import re
from typing import NamedTuple

from jaxad.errors import UserError

ROUNDINGS = ("TRN", "RND", "RND_CONV", "RND_ZERO", "RND_INF", "RND_MIN_INF", "TRN_ZERO")
OVERFLOWS = ("WRAP", "SAT", "SAT_SYM")
_TEXT = re.compile(r"(?:ap_)?(u?)fixed<(\d+),(-?\d+)(?:,(?:AP_)?(\w+))?(?:,(?:AP_)?(\w+))?>")


class FixedType(NamedTuple):
    """A fixed-point type.

    Attributes:
        width: bits, 1 or more.
        integer: of them before the point, that of the sign among them; may be negative, or more
            than `width`.
        signed: whether values may be negative.
        rounding: one of `ROUNDINGS`: what becomes of bits below the last one.
        overflow: one of `OVERFLOWS`: what becomes of values out of range, after rounding.

    Examples:
        >>> t = FixedType(8, 6, rounding="RND_CONV", overflow="SAT")
        >>> str(t), t.fraction, t.lowest, t.highest
        ('fixed<8,6,RND_CONV,SAT>', 2, -128, 127)
    """

    width: int
    integer: int
    signed: bool = True
    rounding: str = "TRN"
    overflow: str = "WRAP"

    @property
    def fraction(self) -> int:
        """F, bits behind the point: values are multiples of 2^-F."""
        return self.width - self.integer

    @property
    def lowest(self) -> int:
        """The smallest m."""
        if not self.signed:
            return 0
        return -(2 ** (self.width - 1)) + (self.overflow == "SAT_SYM")

    @property
    def highest(self) -> int:
        """The largest m."""
        return 2 ** (self.width - self.signed) - 1

    def __str__(self) -> str:
        name = "fixed" if self.signed else "ufixed"
        return f"{name}<{self.width},{self.integer},{self.rounding},{self.overflow}>"


def parsed(text: str) -> FixedType:
    """The type that hls4ml or C++ writes so; modes that are left out are TRN and WRAP.

    Raises:
        UserError: no such type.

    Examples:
        >>> parsed("ufixed<10,6,RND_CONV,SAT>").fraction, parsed("ap_fixed<16,6>").signed
        (4, True)
    """
    found = _TEXT.fullmatch(text.replace(" ", ""))
    if found:
        unsigned, width, integer, rounding, overflow = found.groups()
        t = FixedType(int(width), int(integer), not unsigned, rounding or "TRN", overflow or "WRAP")
        if t.width > 0 and t.rounding in ROUNDINGS and t.overflow in OVERFLOWS:
            return t
    raise UserError(
        f"fixed-point type: expected fixed<W,I,Q,O> or ufixed<W,I,Q,O> with Q of "
        f"{', '.join(ROUNDINGS)} and O of {', '.join(OVERFLOWS)}, found {text!r}"
    )
