"""Differences of TPR between scores of the same events, whose fluctuations they share.

Two scores that flag nearly the same events differ by far less than the binomial error of either:
events are resampled once for all of them (paired bootstrap; B. Efron, Ann. Statist. 7 (1979) 1).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxad.errors import UserError
from jaxad.metrics.given import Array, checked_scores
from jaxad.metrics.roc import allowed, threshold_at_fpr


class Paired(NamedTuple):
    """A weighted sum of TPRs, such as a difference.

    Attributes:
        value: signal -> sum.
        replicas: signal -> sums (n,) of resampled events.
        reason: why the point is refused, with no values then; None where it is not.
    """

    value: dict[str, float]
    replicas: dict[str, Array]
    reason: str | None

    def mean(self) -> tuple[float, float]:
        """That over the signals, and its standard error; of a refused point there is none."""
        replicas = np.mean(list(self.replicas.values()), axis=0)
        return float(np.mean(list(self.value.values()))), float(np.std(replicas))

    def error(self, signal: str) -> float:
        """The standard error of a signal's value."""
        return float(np.std(self.replicas[signal]))


def _checked(scores: ArrayLike, name: str) -> Array:
    """Scores (I, N) of the same N events, finite, N of 1 and more."""
    rows = [checked_scores(row, name) for row in scores]
    if len({len(row) for row in rows}) > 1:
        found = sorted(map(len, rows))
        raise UserError(f"paired_tpr: {name}: expected scores of the same events, found {found}")
    return np.stack(rows)


def paired_tpr(
    background: ArrayLike,
    signals: Mapping[str, ArrayLike],
    weights: ArrayLike,
    fpr: float,
    n: int = 200,
    seed: int = 0,
) -> Paired:
    """sum_i w_i TPR_i at an FPR, of I scores that all saw the same events, and `n` replicas of it.

    Every score has its own conservative threshold, set anew in every replica; the events of
    background and signals are drawn anew, with replacement, once for all scores.

    Args:
        background: scores (I, N).
        signals: name -> scores (I, S).
        weights: (I,), 1 and -1 for the difference of two.
        fpr: of the thresholds, which ten background events at least have to exceed.

    Raises:
        UserError: not as many scores and weights; no signals; scores that are not finite, of no
            events, or of different numbers of them.

    Examples:
        >>> b, s = np.arange(1000) / 1000, np.arange(500, 1500) / 1000
        >>> found = paired_tpr([b, b], {"A": [s, s + 0.1]}, [-1, 1], fpr=0.05)
        >>> round(found.value["A"], 3), found.error("A") < 0.02
        (0.1, True)
    """
    background, weights = _checked(background, "background"), np.asarray(weights, np.float64)
    signals = {name: _checked(scores, name) for name, scores in signals.items()}
    if not signals:
        raise UserError("paired_tpr: expected signals, found none")
    numbers = {len(weights), len(background), *map(len, signals.values())}
    if len(numbers) != 1:
        raise UserError(
            f"paired_tpr: expected as many scores of each class as weights, found {sorted(numbers)}"
        )
    for scores in background:
        reason = threshold_at_fpr(scores, fpr)["reason"]
        if reason:
            return Paired({}, {}, reason)
    order = np.argsort(-background, axis=1, kind="stable")
    falling = np.take_along_axis(background, order, 1)
    n_background, rng = background.shape[1], np.random.default_rng(seed)
    k = allowed(fpr, n_background)

    def flagged(edge: Array) -> dict[str, Array]:
        """Signal -> its events (S,) as they count above the scores `edge` (I,)."""
        return {name: weights @ (s > edge[:, None]) for name, s in signals.items()}

    value = {name: float(np.mean(s)) for name, s in flagged(falling[:, k]).items()}
    replicas = {name: np.empty(n) for name in signals}
    for replica in range(n):
        drawn = np.bincount(rng.integers(0, n_background, n_background), minlength=n_background)
        above = np.cumsum(drawn[order], axis=1)
        edges = [row[np.searchsorted(a, k, "right")] for row, a in zip(falling, above, strict=True)]
        for name, counted in flagged(np.array(edges)).items():
            replicas[name][replica] = counted[rng.integers(0, len(counted), len(counted))].mean()
    return Paired(value, replicas, None)
