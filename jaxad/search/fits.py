"""Toys by any function that fits: one classifier after the other, on the host."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from jaxad.search.plan import Engine, Plan, count, require_finite
from jaxad.search.pool import DATA, TRAINING

Score = Callable[[np.ndarray], np.ndarray]
"""rows (m, F) -> (m,), the larger the more like data."""
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Score]
"""(rows (n, F), labels (n,) 1 for data, weights (n,)) -> score."""
SeededFit = Callable[[np.ndarray, np.ndarray, np.ndarray, tuple[int, int, int]], Score]
"""The same, told (toy, fold, member)."""


def scores_of(plan: Plan, fit: SeededFit, members: int, toy: int) -> np.ndarray:
    """Scores (P,) by place, NaN where nothing is scored: the mean of a fold's members.

    Data and template have the same sum of weights, and the mean weight is 1; data share theirs as
    their places say.

    Raises:
        UserError: scores that are not finite.
    """
    pool, rows, numbers = plan.pool, plan.rows(toy), plan.numbers(toy)
    places = [np.flatnonzero(pool.fold == k) for k in range(pool.folds)]
    data = [p[pool.role[p] == DATA][:n] for p, n in zip(places, numbers, strict=True)]
    training = [p[pool.role[p] == TRAINING] for p in places]
    found = np.full(len(pool.m), np.nan)
    for k in plan.folds:
        others = [i for i in range(pool.folds) if i != k]
        classes = [np.concatenate([part[i] for i in others]) for part in (training, data)]
        sizes = np.array([len(part) for part in classes])
        labels = np.repeat([0.0, 1.0], sizes)
        weights = np.repeat(sizes.sum() / (2 * sizes), sizes)
        if plan.weight is not None:
            of_data = plan.weight[classes[1]]
            weights[sizes[0] :] *= of_data / of_data.mean()
        x, own = pool.x[rows[np.concatenate(classes)]], plan.scored(k)
        each = (fit(x, labels, weights, (toy, k, e))(pool.x[rows[own]]) for e in range(members))
        found[own] = sum(each) / members
        require_finite(np.isfinite(found[own]).all(keepdims=True), [toy])
    return found


def counts_of(plan: Plan, fit: SeededFit, members: int, toy: int) -> np.ndarray:
    """Counts (folds, n_eff) of a toy."""
    return count(plan, scores_of(plan, fit, members, toy), plan.numbers(toy))


def engine(plan: Plan, fit: Fit) -> Engine:
    """One classifier a fold."""

    def seeded(x: np.ndarray, y: np.ndarray, weight: np.ndarray, place: tuple) -> Score:
        return fit(x, y, weight)

    def counts(parts: Iterable[Sequence[int]]) -> Iterator[np.ndarray]:
        for part in parts:
            yield np.stack([counts_of(plan, seeded, 1, toy) for toy in part])

    return Engine(counts, lambda toy: scores_of(plan, seeded, 1, toy))
