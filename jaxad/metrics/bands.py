"""Spreads: bootstrap replicas of one score, and bands over the members of an ensemble.

B. Efron, Ann. Statist. 7 (1979) 1 (bootstrap).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.devices.arrays import numbers
from jaxad.metrics.ensembles import Members, pairs
from jaxad.metrics.given import Array, Weights
from jaxad.metrics.ranked import Ranked, Ranks, curve_at, falling, pair
from jaxad.metrics.roc import allowed, level_key
from jaxad.storage import on_disk

AT_ONCE = 2_000_000
"""Events of the replicas that are counted at once."""


def bootstrap(
    background: Ranks,
    signal: Ranks,
    *,
    fprs: Sequence[float] = (),
    tprs: Sequence[float] = (),
    n: int = 200,
    seed: int = 0,
    weights: Weights | None = None,
) -> dict[str, Any]:
    """`n` replicas of AUC, TPR at FPR and FPR at TPR, both classes resampled with replacement.

    Blocks of replicas are counted at once on the ranked scores; those of many events, or of
    weighted ones, which are drawn with their weights, one by one. Thresholds are set anew in every
    replica, so the spread holds the background's statistics too, which the binomial error omits. A
    replica whose weights sum to 0 or below, which makes no sample, is NaN.
    Returns {"auc": (n,), "tpr_at_fpr": {key: (n,)}, "fpr_at_tpr": {key: (n,)}}.
    """
    b, s = pair(background, signal, weights)
    n_b, n_s = len(b), len(s)
    flagged_b = [allowed(fpr, n_b) for fpr in fprs]
    rng = np.random.default_rng(seed)
    if b.weight is not None or s.weight is not None or n_b + n_s > AT_ONCE:
        found = np.array([_replica(b, s, fprs, tprs, rng) for _ in range(n)]).T
        return _named(found[0], found[1 : 1 + len(fprs)], found[1 + len(fprs) :], fprs, tprs)
    values, group = np.unique(np.concatenate([b.rows, s.rows]), return_inverse=True)
    n_groups = len(values)
    groups = np.split(n_groups - 1 - group, [n_b])
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

    block = max(1, AT_ONCE // (n_b + n_s))
    for start in range(0, n, block):
        rows = slice(start, min(start + block, n))
        counts_b, counts_s = (resample(group, rows.stop - start) for group in groups)
        cumulative_b, cumulative_s = np.cumsum(counts_b, 1), np.cumsum(counts_s, 1)
        above = np.einsum("rg,rg->r", counts_s, 2 * cumulative_b - counts_b)
        aucs[rows] = 1 - above / (2 * n_b * n_s)
        for row, n_allowed in zip(tpr_rows, flagged_b, strict=True):
            flagged = crossing(cumulative_b, n_allowed, "right")
            row[rows] = passed(cumulative_s, flagged) / n_s
        for row, tpr in zip(fpr_rows, tprs, strict=True):
            flagged = crossing(cumulative_s, np.ceil(tpr * n_s * (1 - 1e-9)), "left") + 1
            row[rows] = passed(cumulative_b, flagged) / n_b
    return _named(aucs, tpr_rows, fpr_rows, fprs, tprs)


def _replica(
    background: Ranked,
    signal: Ranked,
    fprs: Sequence[float],
    tprs: Sequence[float],
    rng: np.random.Generator,
) -> Array:
    """AUC, TPR at each FPR and FPR at each TPR of one replica, (1 + F + T,), in blocks."""
    b, s = _drawn(background, rng), _drawn(signal, rng)
    found = np.full(1 + len(fprs) + len(tprs), np.nan)
    if not (b.total > 0 and s.total > 0):
        return found
    above, last = 0.0, (0.0, 0.0)
    for _, (up_to_b, up_to_s), _ in falling(b, s):
        before_b, before_s = (
            np.concatenate([[x], y]) for x, y in zip(last, (up_to_b, up_to_s), strict=True)
        )
        above += float((np.diff(before_s) * (up_to_b + before_b[:-1])).sum())
        for i, fpr in enumerate(fprs, 1):
            beyond = np.flatnonzero(up_to_b > fpr * b.total * (1 + 1e-9))
            if np.isnan(found[i]) and len(beyond):
                found[i] = before_s[beyond[0]] / s.total
        for i, tpr in enumerate(tprs, 1 + len(fprs)):
            reached = np.flatnonzero(up_to_s >= tpr * s.total * (1 - 1e-9))
            if np.isnan(found[i]) and len(reached):
                found[i] = up_to_b[reached[0]] / b.total
        last = up_to_b[-1], up_to_s[-1]
    found[0] = 1 - above / (2 * b.total * s.total)
    return found


def _drawn(one: Ranked, rng: np.random.Generator) -> Ranked:
    """As many events, drawn with replacement: how often each was drawn, times its weight."""
    n = len(one)
    times = on_disk.zeros((n,), np.uint16, on_disk.folder_of(one.scores))
    for start in range(0, n, on_disk.BLOCK_ROWS):
        rows = np.sort(rng.integers(0, n, min(on_disk.BLOCK_ROWS, n - start)))
        place = np.sort(on_disk.take(one.places, rows))
        for part in on_disk.windows(times, place):
            first, last = (int(place[part][i]) for i in (0, -1))
            times[first : last + 1] += np.bincount(place[part] - first).astype(np.uint16)
            on_disk.release(times)
    columns = [times] if one.weight is None else [times, one.weight]
    weight = on_disk.mapped(lambda *blocks: np.prod(blocks, axis=0, dtype=np.float64), *columns)
    return Ranked(one.rows, one.scores, weight)


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
    background: Members,
    signal: Members,
    grid: ArrayLike,
    weights: Weights | None = None,
) -> tuple[Array, Array, Array]:
    """Median and 16-84 % band of TPR over the members, on a common grid of FPR (K,).

    Each member's curve is interpolated linearly in FPR, which weights below 0 make fall in places:
    there it is the largest up to a point. Returns three (K,) arrays.
    """
    found = band_of(pairs(background, signal, weights), np.ravel(grid).astype(np.float64))
    return tuple(one.reshape(np.shape(grid)) for one in found)


def band_of(members: Sequence[tuple[Ranked, Ranked]], grid: Array) -> tuple[Array, Array, Array]:
    """`roc_band` of the ranked (background, signal) of each member."""
    return band([curve_at(b, s, grid) for b, s in members])
