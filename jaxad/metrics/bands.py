"""Spreads: bootstrap replicas of one score, and bands over the members of an ensemble.

B. Efron, Ann. Statist. 7 (1979) 1 (bootstrap).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.devices.arrays import numbers
from jaxad.metrics import weighted
from jaxad.metrics.roc import (
    Array,
    Weights,
    allowed,
    checked_scores,
    counts,
    level_key,
    members,
    roc,
)


def bootstrap(
    background: ArrayLike,
    signal: ArrayLike,
    *,
    fprs: Sequence[float] = (),
    tprs: Sequence[float] = (),
    n: int = 200,
    seed: int = 0,
    weights: Weights | None = None,
) -> dict[str, Any]:
    """`n` replicas of AUC, TPR at FPR and FPR at TPR, both classes resampled with replacement.

    Blocks of replicas are counted at once on the ranked scores. Thresholds are set anew in every
    replica, so the spread holds the background's statistics too, which the binomial error omits.
    Weighted events are drawn with their weights.
    Returns {"auc": (n,), "tpr_at_fpr": {key: (n,)}, "fpr_at_tpr": {key: (n,)}}.
    """
    background, signal = checked_scores(background, "background"), checked_scores(signal, "signal")
    differing = weighted.pair(weights, len(background), len(signal))
    if any(w is not None for w in differing):
        found = weighted.bootstrap(background, signal, differing, fprs, tprs, n, seed)
        return _named(*found, fprs, tprs)
    values, *groups = counts(background, signal)
    n_b, n_s, n_groups = len(background), len(signal), len(values)
    rng = np.random.default_rng(seed)
    aucs, tpr_rows, fpr_rows = np.empty(n), np.empty((len(fprs), n)), np.empty((len(tprs), n))

    def resample(group: Array, n_replicas: int) -> Array:
        drawn = group[rng.integers(0, len(group), (n_replicas, len(group)))]
        drawn += n_groups * np.arange(n_replicas)[:, None]
        return np.bincount(drawn.ravel(), minlength=n_replicas * n_groups).reshape(-1, n_groups)

    def crossing(total: Array, count: int, side: str) -> Array:
        """Groups of each row (from the top) before the cumulative count passes `count`."""
        return np.array([np.searchsorted(row, count, side) for row in total])

    def passed(total: Array, n_leading: Array) -> Array:
        """Cumulative count of each row after its `n_leading` groups."""
        last = total[np.arange(len(total)), np.maximum(n_leading - 1, 0)]
        return np.where(n_leading > 0, last, 0)

    block = max(1, 2_000_000 // (n_b + n_s))
    for start in range(0, n, block):
        rows = slice(start, min(start + block, n))
        counts_b, counts_s = (resample(group, rows.stop - start) for group in groups)
        cumulative_b, cumulative_s = np.cumsum(counts_b, 1), np.cumsum(counts_s, 1)
        above = np.einsum("rg,rg->r", counts_s, 2 * cumulative_b - counts_b)
        aucs[rows] = 1 - above / (2 * n_b * n_s)
        for row, fpr in zip(tpr_rows, fprs, strict=True):
            flagged = crossing(cumulative_b, allowed(fpr, n_b), "right")
            row[rows] = passed(cumulative_s, flagged) / n_s
        for row, tpr in zip(fpr_rows, tprs, strict=True):
            flagged = crossing(cumulative_s, np.ceil(tpr * n_s * (1 - 1e-9)), "left") + 1
            row[rows] = passed(cumulative_b, flagged) / n_b
    return _named(aucs, tpr_rows, fpr_rows, fprs, tprs)


def _named(
    aucs: Array, tpr_rows: Array, fpr_rows: Array, fprs: Sequence[float], tprs: Sequence[float]
) -> dict[str, Any]:
    return {
        "auc": aucs,
        "tpr_at_fpr": dict(zip(map(level_key, fprs), tpr_rows, strict=True)),
        "fpr_at_tpr": {f"{tpr:g}": row for tpr, row in zip(tprs, fpr_rows, strict=True)},
    }


def band(values: ArrayLike, axis: int = 0) -> tuple[Array, Array, Array]:
    """Median and 16 % and 84 % quantiles along `axis`: the 68 % band over an ensemble.

    Examples:
        >>> median, low, high = band([1.0, 2.0, 3.0])
        >>> print(median, low.round(2), high.round(2))
        2.0 1.32 2.68
    """
    values = numbers(values, "band", "(members, ...)").astype(np.float64)
    low, median, high = np.quantile(values, (0.16, 0.5, 0.84), axis=axis)
    return median, low, high


def roc_band(
    background: ArrayLike,
    signal: ArrayLike,
    grid: ArrayLike,
    weights: Weights | None = None,
) -> tuple[Array, Array, Array]:
    """Median and 16-84 % band of TPR over the members, on a common grid of FPR (K,).

    Each member's curve is interpolated linearly in FPR, which weights below 0 make fall in places:
    there it is the largest up to a point. Returns three (K,) arrays.
    """
    curves = [roc(b, s, weights) for b, s in members(background, signal)]
    return band([np.interp(grid, np.maximum.accumulate(fpr), tpr) for fpr, tpr, _ in curves])
