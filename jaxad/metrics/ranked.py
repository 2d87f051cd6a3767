"""Scores in rising order, block by block: what figures of merit of any number are made of.

Scores and weights of events on disk are sorted there; all that is asked of them here takes the
memory of a block of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.metrics import weighted
from jaxad.metrics.given import Array, Weights, checked_scores
from jaxad.storage import blockwise, on_disk, sorting


def binomial_error(n_passed: ArrayLike, n_total: ArrayLike) -> Any:
    """Half width of the 68 % Wilson interval, sqrt(p(1-p)/n + 1/(4n^2)) / (1 + 1/n).

    Tends to sqrt(p(1-p)/n) and, unlike it, does not vanish where nothing or everything passes.
    """
    n = np.asarray(n_total, np.float64)
    p = np.asarray(n_passed) / n
    return np.sqrt(p * (1 - p) / n + 0.25 / n**2) / (1 + 1 / n)


@dataclass(frozen=True, eq=False)
class Ranked:
    """Scores of one class.

    Attributes:
        rows: scores (N,) of the events, in their order.
        scores: the same, rising.
        weight: of these, (N,); None: all alike.
    """

    rows: Array
    scores: Array
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def total(self) -> float:
        """The sum of the weights, or the number of events."""
        return len(self) if self.weight is None else blockwise.total(self.weight)

    @cached_property
    def squares(self) -> float:
        """The sum of the squares of the weights, or the number of events."""
        return len(self) if self.weight is None else weighted.squares_of(self.weight)

    @property
    def effective(self) -> float:
        """As many events of equal weight say as much."""
        return len(self) if self.weight is None else weighted.effective_of(self.total, self.squares)

    @cached_property
    def places(self) -> Array:
        """Where each row stands in the rising order, (N,)."""
        return sorting.places(self.rows)[1]

    def n_at_least(self, threshold: float) -> int:
        """How many events have the score `threshold` or more."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.scores[middle] >= threshold else (middle + 1, high)
        on_disk.release(self.scores)
        return len(self) - low

    def sums_at_least(self, threshold: float) -> tuple[float, float]:
        """The weights of the events of the score `threshold` or more, summed, and their squares."""
        n = self.n_at_least(threshold)
        if self.weight is None:
            return n, n
        kept = self.weight[len(self) - n :]
        return blockwise.total(kept), weighted.squares_of(kept)

    def share_at_least(self, threshold: float) -> tuple[float, float]:
        """The share of the events, or of their weights, of that score or more, and its error."""
        if self.weight is None:
            n = self.n_at_least(threshold)
            return n / len(self), float(binomial_error(n, len(self)))
        return weighted.fraction(self.sums_at_least(threshold), (self.total, self.squares))

    def largest(self, rank: int) -> np.floating:
        """The score of a rank, 0 the largest."""
        return self.scores[len(self) - 1 - min(max(rank, 0), len(self) - 1)]

    def quantiles(self, levels: Sequence[float]) -> list[float]:
        """np.quantile of the scores in double precision."""
        found = []
        for level in levels:
            place = level * (len(self) - 1)
            low = int(place)
            pair = self.scores[low : low + 2].astype(np.float64)
            found.append(float(np.quantile(pair, place - low)))
        return found


Ranks = ArrayLike | Ranked


def ranked(values: Ranks, weight: ArrayLike | None, name: str) -> Ranked:
    """Scores (N,) of a class and their weights, checked and sorted; those that are, as they are.

    Raises:
        UserError: as `checked_scores` and `weighted.checked`.
    """
    if isinstance(values, Ranked):
        return values
    rows = checked_scores(values, name)
    own = weighted.checked(weight, len(rows), name)
    columns = (rows,) if own is None else (rows, own)
    return Ranked(rows, *(columns if sorting.are_rising(rows) else sorting.together(*columns)))


def pair(background: Ranks, signal: Ranks, weights: Weights | None = None) -> tuple[Ranked, Ranked]:
    """`ranked` background and signal."""
    own = weights or (None, None)
    return ranked(background, own[0], "background"), ranked(signal, own[1], "signal")


def groups(*classes: Ranked) -> Iterator[tuple[Array, list[Array], list[Array]]]:
    """Distinct scores in falling order, block by block: (G,), and of each class the sums of the
    weights, (G,), and of their squares, of the events that have them."""
    left, held = [len(one) for one in classes], None
    while any(left):
        starts = [max(0, n - on_disk.BLOCK_ROWS) for n in left]
        ends = [one.scores[start] for one, start in zip(classes, starts, strict=True) if start]
        pieces = []
        for i, (one, start) in enumerate(zip(classes, starts, strict=True)):
            block = np.asarray(one.scores[start : left[i]])
            # What lies below the block of another class has to wait for it.
            first = int(np.searchsorted(block, max(ends), "left")) if ends else 0
            weight = None if one.weight is None else one.weight[start + first : left[i]]
            pieces.append((block[first:], None if weight is None else weight.astype(np.float64)))
            left[i] = start + first
            on_disk.release(one.scores)
            if one.weight is not None:
                on_disk.release(one.weight)
        found = _grouped(pieces)
        if held is not None:
            found = _joined(held, found)
        held = tuple(_each(found, slice(-1, None))) if any(left) else None
        yield tuple(_each(found, slice(-1))) if any(left) else found


def _grouped(pieces: Sequence[tuple[Array, Array | None]]) -> tuple[Array, list, list]:
    values = np.unique(np.concatenate([scores for scores, _ in pieces]))
    sums, squares = [], []
    for scores, weight in pieces:
        place = np.searchsorted(values, scores)
        powers = (None, None) if weight is None else (weight, weight**2)
        for found, power in zip((sums, squares), powers, strict=True):
            found.append(np.bincount(place, power, len(values))[::-1])
    return values[::-1], sums, squares


def _each(found: tuple[Array, list, list], places: slice) -> Iterator[Array | list[Array]]:
    values, *sums = found
    yield values[places]
    yield from ([one[places] for one in kind] for kind in sums)


def _joined(held: tuple, found: tuple) -> tuple[Array, list, list]:
    """The group that is held, and those below it, of which the first may be of its score."""
    (value, *kept), (values, *sums) = held, found
    joins = len(values) > 0 and values[0] == value[0]

    def join(one: Array, other: Array) -> Array:
        if not joins:
            return np.concatenate([one, other])
        return np.concatenate([one + other[:1], other[1:]])

    return (
        np.concatenate([value, values[int(joins) :]]),
        *(
            [join(*pair) for pair in zip(old, new, strict=True)]
            for old, new in zip(kept, sums, strict=True)
        ),
    )


def first_beyond(one: Ranked, is_beyond: Callable[[Array], Array]) -> tuple[Any, float, float]:
    """The largest score down to which the sum of weights is beyond, the least where none is; and
    the sums of weights and of their squares above it."""
    before, found = (0.0, 0.0), (np.nan, 0.0, 0.0)
    for values, (sums,), (squares,) in falling(one):
        above = [np.concatenate([[x], y]) for x, y in zip(before, (sums, squares), strict=True)]
        beyond = np.flatnonzero(is_beyond(sums))
        at = beyond[0] if len(beyond) else len(values) - 1
        found = values[at], float(above[0][at]), float(above[1][at])
        if len(beyond):
            break
        before = sums[-1], squares[-1]
    return found


def falling(*classes: Ranked) -> Iterator[tuple[Array, list[Array], list[Array]]]:
    """`groups`, of which the sums go on: down to each score, (G,)."""
    up_to: list[list] = [[0] * len(classes), [0] * len(classes)]
    for values, *kinds in groups(*classes):
        if not len(values):
            continue
        found = [
            [np.cumsum(np.concatenate([[last], one]))[1:] for last, one in zip(*p, strict=True)]
            for p in zip(up_to, kinds, strict=True)
        ]
        up_to = [[one[-1] for one in kind] for kind in found]
        yield values, *found


def points(background: Ranked, signal: Ranked) -> Iterator[tuple[Array, Array, Array]]:
    """Points of the ROC curve behind (0, 0), block by block: (fpr, tpr, threshold), (G,) each."""
    for values, (up_to_b, up_to_s), _ in falling(background, signal):
        yield up_to_b / background.total, up_to_s / signal.total, values


def curve_at(background: Ranked, signal: Ranked, grid: Array) -> Array:
    """TPR (K,) at each FPR of a grid (K,), between the points of the ROC curve linearly.

    Where weights below 0 make the FPR fall, it is the largest up to a point.
    """
    found, wanted = np.empty(len(grid)), np.ones(len(grid), bool)
    last = 0.0, 0.0
    for fpr, tpr, _ in points(background, signal):
        x, y = (np.concatenate([[a], b]) for a, b in zip(last, (fpr, tpr), strict=True))
        x = np.maximum.accumulate(x)
        here = wanted & (grid < x[-1])
        found[here] = np.interp(grid[here], x, y)
        wanted &= ~here
        last = x[-1], y[-1]
    found[wanted] = last[1]
    return found


def shares(values: Ranked, others: Ranked) -> Iterator[tuple[Array, Array | None]]:
    """What share of the weights of `others` lies below each score, ties by half, in rising order:
    blocks (B,), and the weights (B,) of the scores."""
    columns = [values.scores] if values.weight is None else [values.scores, values.weight]
    done, sum_below = 0, 0.0  # of others, before the first that is as large as the last score
    for block, *weight in on_disk.blocks(*columns):
        low, high = (np.full(len(block), sum_below) for _ in range(2))
        place, total, is_open = done, sum_below, True
        while place < len(others) and others.scores[place] <= block[-1]:
            part, up_to = _part(others, place, total)
            for found, side in ((low, "left"), (high, "right")):
                n = np.searchsorted(part, block, side)
                found[n > 0] = up_to[n[n > 0]]
            n = int(np.searchsorted(part, block[-1], "left"))
            if is_open:
                done, sum_below, is_open = place + n, float(up_to[n]), n == len(part)
            place, total = place + len(part), float(up_to[-1])
        yield (low + high) / (2 * others.total), weight[0].astype(np.float64) if weight else None


def _part(one: Ranked, start: int, total: float) -> tuple[Array, Array]:
    """Scores (n,) from a place on, and the sums of weights before each and behind all, (n + 1,)."""
    scores = np.array(one.scores[start : start + on_disk.BLOCK_ROWS])
    on_disk.release(one.scores)
    if one.weight is None:
        return scores, total + np.arange(len(scores) + 1)
    weight = one.weight[start : start + len(scores)].astype(np.float64)
    on_disk.release(one.weight)
    return scores, np.cumsum(np.concatenate([[total], weight]))


def shares_below(rows: Array, weight: Array | None = None) -> Array:
    """What share of the weights lies below each row's number (N,), ties by half: (N,), beside."""
    numbered = on_disk.numbered(len(rows), on_disk.folder_of(rows))
    scores, order, *own = sorting.together(rows, numbered, *([] if weight is None else [weight]))
    one = Ranked(rows, scores, *own)
    below = on_disk.joined((block for block, _ in shares(one, one)), on_disk.folder_of(rows))
    return sorting.together(order, below)[1]
