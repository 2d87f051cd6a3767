"""Every way to fewer bits that the front compares."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Way(NamedTuple):
    """One point of the front.

    Attributes:
        family: the curve that it is on, see `FAMILIES`.
        name: of the point on it.
        changes: what is special: settings of `method`, or of the search, student or trees.
    """

    family: str
    name: str
    changes: Mapping[str, Any] = {}

    def __hash__(self) -> int:
        return hash(self.title)

    @property
    def title(self) -> str:
        """As the table has it."""
        return f"{self.family}, {self.name}" if self.name else self.family

    @property
    def folder(self) -> str:
        """Where the point lies, below that of its seed."""
        return self.title.replace(", ", "-").replace(" ", "_").replace("%", "")


ACTIVATIONS = 10
"""Bits of an activation where widths are fixed, and where the search starts: as AXOL1TL's."""
BITS = (8, 7, 6, 5, 4, 3, 2)
LEARNED = {"learned": True, "granularity": "weight", "activation_bits": 8}
"""Their activations start at 8 bits."""
SHARES = (0.5, 0.35, 0.25, 0.15, 0.08, 0.04)
"""EBOPs of the greedy search, as shares of those of its start."""
STUDENT_BITS = (8, 6, 4, 3)
STUDENT_HIDDEN = (16,)
TREES = ((25, 4), (100, 4), (100, 8), (300, 8))
"""Numbers of trees, and of leaves of each."""


def fixed(bits: int, **changes: Any) -> dict[str, Any]:
    """Settings of a width that all weights have."""
    return {"weight_bits": bits, "activation_bits": ACTIVATIONS, **changes}


FLOAT, CONTROL = Way("float", ""), Way("float, trained on", "")
WAYS = (
    FLOAT,
    CONTROL,
    *(Way("rounding", f"{n} bits", fixed(n, target="none")) for n in BITS),
    *(Way("codes", f"{n} bits", fixed(n)) for n in BITS),
    *(Way("loss", f"{n} bits", fixed(n, target="loss")) for n in (6, 4)),
    *(Way("greedy, rounding", f"{s:.0%}", {"share": s, "target": "none"}) for s in SHARES),
    *(Way("greedy, codes", f"{s:.0%}", {"share": s}) for s in SHARES),
    *(
        Way("learnt", f"beta {beta:.0e}", {**LEARNED, "beta": beta})
        for beta in (3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4)
    ),
    Way("student, float", "", {"bits": 0}),
    *(Way("student", f"{n} bits", {"bits": n}) for n in STUDENT_BITS),
    *(Way("trees", f"{n} of {leaves} leaves", {"trees": (n, leaves)}) for n, leaves in TREES),
)
FAMILIES = {
    "learnt": "learnt widths, on codes",
    "rounding": "rounding",
    "greedy, rounding": "greedy widths, rounding",
    "codes": "fixed widths, on codes",
    "greedy, codes": "greedy widths, on codes",
    "student": "student, fixed widths",
    "loss": "fixed widths, on the loss",
    "trees": "boosted trees",
}
"""Curve -> its name in figures."""
