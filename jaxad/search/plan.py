"""What is fixed for all toys of a pool: folds that are scored, groups that are cut, ranks.

Within a group, the places of one fold and mass bin, an event passes a cut eps if
u = (1 + number of template scores >= its own) / (1 + M) <= eps: its score exceeds the r-th largest
of the group's M template scores, r = floor(eps (M + 1)). Ties count against the event. If data are
template, a fold's count is BetaBinomial(N; r, M + 1 - r) (arXiv:2411.00085 counts in this way).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxad.errors import UserError
from jaxad.methods.stages.bagging import feature_mask
from jaxad.metrics import counting
from jaxad.search import pool as pools
from jaxad.search.pool import COUNTING, DATA, OTHER, TRAINING, Pool
from jaxad.training import streams
from jaxad.training.streams import Purpose

MIN_ABOVE = 20
"""Template rows above the hardest cut, of a fold and mass bin, where there are mass bins."""
NOT_SCORED = -1
"""Counts in folds that are not scored."""


class Group(NamedTuple):
    """Places of one fold and mass bin, and r (n_eff,) of every cut."""

    fold: int
    data: np.ndarray
    counting: np.ndarray
    ranks: np.ndarray


class Plan(NamedTuple):
    """Of all toys of a pool.

    Attributes:
        folds: those that are scored.
        expected: mean of the Poisson number of data events of a toy; None: that of the data.
        injected: mean of the Poisson number of data events that are of the pool's `OTHER` rows.
        weight: (P,) float64 that data places count, in events of the likelihood
            (`jaxad.search.weights`); None where all count alike: 1.
    """

    pool: Pool
    folds: tuple[int, ...]
    groups: tuple[Group, ...]
    seed: int
    expected: float | None
    injected: float
    weight: np.ndarray | None

    @property
    def dtype(self) -> type:
        """Of counts: whole numbers where all data count alike."""
        return np.int32 if self.weight is None else np.float64

    @property
    def n_cuts(self) -> int:
        """Cuts of the score."""
        return len(self.groups[0].ranks)

    def scored(self, fold: int) -> np.ndarray:
        """Places of data and of template to count with of a fold."""
        return np.flatnonzero((self.pool.fold == fold) & (self.pool.role != TRAINING))

    def rows(self, toy: int) -> np.ndarray:
        """Rows (P,) int32 at the places of a toy."""
        rows = pools.permutation(self.pool, self.seed, toy)
        if not self.injected:
            return rows
        numbers = self.numbers(toy)
        return pools.injected(self.pool, rows, numbers, self.injected, self.seed, toy)

    def numbers(self, toy: int) -> np.ndarray:
        """Data events (folds,) of a toy."""
        return pools.numbers(self.pool, self.seed, toy, self.expected)


class Engine(NamedTuple):
    """What trains and scores.

    Attributes:
        counts: batches of toys -> their counts (T, folds, n_eff) of the plan's `dtype`, in the same
            order.
        scores: toy -> scores (P,) by place, NaN where nothing is scored.
    """

    counts: Callable[[Iterable[Sequence[int]]], Iterator[np.ndarray]]
    scores: Callable[[int], np.ndarray]


def ranks(n_template: int, efficiencies: Sequence[float]) -> np.ndarray:
    """floor(eps (M + 1)) (n_eff,) int64; 0.29 x 100 is 29.

    Examples:
        >>> ranks(99, (0.1, 0.29))
        array([10, 29])
    """
    return np.floor(np.asarray(efficiencies) * (n_template + 1) + 1e-9).astype(np.int64)


def make(
    pool: Pool,
    efficiencies: Sequence[float],
    seed: int,
    half_split: bool = False,
    expected: float | None = None,
    injected: float = 0.0,
) -> Plan:
    """The plan of a pool; of a half-split only the second of two folds is scored.

    Raises:
        UserError: cuts that are no fractions, too few template rows for the hardest of them, or
            more than two folds in a half-split.
    """
    if not len(efficiencies) or not all(0 < e < 1 for e in efficiencies):
        raise UserError(
            f"search.efficiencies: expected fractions between 0 and 1, found {tuple(efficiencies)}"
        )
    if half_split and pool.folds != 2:
        raise UserError(f"classifier.folds: expected 2 in a half-split, found {pool.folds}")
    folds = (1,) if half_split else tuple(range(pool.folds))
    least, n_bins, found = min(efficiencies), int(pool.bin.max()) + 1, []
    needed = MIN_ABOVE / least if n_bins > 1 else 1 / least - 1
    for k in folds:
        for b in range(n_bins):
            inside = (pool.fold == k) & (pool.bin == b)
            data, counting = (
                np.flatnonzero(inside & (pool.role == role)) for role in (DATA, COUNTING)
            )
            if len(counting) < needed - 1e-6:
                place = f"fold {k}, mass bin {b}" if n_bins > 1 else f"fold {k}"
                raise UserError(
                    f"search.efficiencies: {least:g}: expected {np.ceil(needed - 1e-6):.0f} or "
                    f"more template rows to count with in {place}, found {len(counting)}: raise "
                    "search.count_factor, or cut softer"
                )
            found.append(Group(k, data, counting, ranks(len(counting), efficiencies)))
    weight = pool.weight.astype(np.float64) / pool.event_weight if pool.weighted else None
    return Plan(pool, folds, tuple(found), seed, expected, injected, weight)


def count(plan: Plan, scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Counts (folds, n_eff) from scores (P,) by place and data events (folds,)."""
    found = np.full((plan.pool.folds, plan.n_cuts), NOT_SCORED, plan.dtype)
    found[list(plan.folds)] = 0
    for group in plan.groups:
        template, n = scores[group.counting], len(group.counting)
        places = n - group.ranks
        threshold = np.partition(template, np.unique(places))[places]
        # Only a pool without mass bins has places to spare, and there a group is a fold.
        data = group.data[: numbers[group.fold]]
        above = scores[data][:, None] > threshold
        if plan.weight is not None:
            above = above * plan.weight[data][:, None]
        found[group.fold] += above.sum(axis=0, dtype=plan.dtype)
    return found


def p_values(plan: Plan, scores: np.ndarray) -> np.ndarray:
    """u (P,) of places of data and of others from scores (P,) by place; NaN of template.

    Of other masses than the pool's the mass bin at the end counts.
    """
    u, pool = np.full(len(scores), np.nan), plan.pool
    for group in plan.groups:
        b = pool.bin[group.counting[0]]
        others = np.flatnonzero((pool.role == OTHER) & (pool.fold == group.fold) & (pool.bin == b))
        places = np.concatenate([group.data, others])
        u[places] = counting.conformal_u(scores[places], scores[group.counting])
    return u


def require_finite(finite: np.ndarray, toys: Sequence[int]) -> None:
    """Refuses trainings that diverged: finite (T,) bool of the toys' scores."""
    if not np.all(finite):
        toy = toys[int(np.argmin(finite))]
        raise UserError(
            f"train.learning_rate: the classifiers of pseudo-experiment {toy} diverged: lower it"
        )


def feature_masks(plan: Plan, members: int, fraction: float) -> np.ndarray:
    """Features (folds, members, F) bool that each member sees, of all toys; none in other folds."""
    n_features = plan.pool.x.shape[1]
    masks = np.zeros((plan.pool.folds, members, n_features), bool)
    for k in plan.folds:
        for e in range(members):
            key = streams.key(plan.seed, Purpose.TOY_FEATURES, k, e)
            masks[k, e] = feature_mask(key, n_features, fraction)
    return masks
