"""Members of an ensemble, each sorted when it is used."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from numpy.typing import ArrayLike

from jaxad.errors import UserError
from jaxad.metrics.given import Weights, rows_of_members
from jaxad.metrics.ranked import Ranked, ranked

KEPT = 16
"""Members of an ensemble whose sorted scores are held at once."""

Made = TypeVar("Made")


class Each(Sequence, Generic[Made]):
    """What is made of each of n members when it is used: once of few, anew each time of many.

    Sorted scores take memory, or an open file each on disk.
    """

    def __init__(self, n: int, make: Callable[[int], Made]):
        self._n, self._make = n, make
        self._kept: dict[int, Made] = {}

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, member: int) -> Made:
        member = range(self._n)[member]
        found = self._kept[member] if member in self._kept else self._make(member)
        if self._n <= KEPT:
            self._kept[member] = found
        return found


Members = ArrayLike | Sequence[ArrayLike] | Each[Ranked]


def of_members(values: Members, weight: ArrayLike | None, name: str) -> Each[Ranked]:
    """`ranked` scores of each member of an ensemble: (N,) gives one, (M, N) gives M."""
    if isinstance(values, Each):
        return values
    rows = [values] if isinstance(values, Ranked) else rows_of_members(values)
    return Each(len(rows), lambda member: ranked(rows[member], weight, name))


def pairs(
    background: Members, signal: Members, weights: Weights | None = None
) -> Each[tuple[Ranked, Ranked]]:
    """(background, signal) of each member: one pair for (N,), M pairs for (M, N)."""
    own = weights or (None, None)
    b, s = of_members(background, own[0], "background"), of_members(signal, own[1], "signal")
    if len(b) != len(s):
        raise UserError(
            f"scores: expected as many ensemble members for background and signal, "
            f"found {len(b)} and {len(s)}"
        )
    return Each(len(b), lambda member: (b[member], s[member]))
