"""Figures of merit of weighted events: sums of weights for counts, their errors by sums of w^2.

A fraction is p = sum of passing w / sum w, of variance ((1 - p)^2 sum of passing w^2 + p^2 sum of
failing w^2) / (sum w)^2, and what N events say of it N_eff = (sum w)^2 / sum w^2 of equal weight
do. Weights that are all alike say nothing and are taken for none, so that events count once each.
Weights below 0, of simulations with subtractions, are summed as they are: fractions and AUC may
then lie beyond 0 and 1, and fractions need not rise along the score. `jaxad.metrics.roc` and
what stands beside it check scores and come here where weights differ.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxad.devices.arrays import numbers
from jaxad.errors import UserError

Array = NDArray[Any]
Pair = tuple[Array | None, Array | None]
"""Weights of background and signal; None: all alike."""


def checked(weight: ArrayLike | None, n: int, name: str) -> Array | None:
    """Weights of `n` events, float64 (n,); None where there are none, or all are alike.

    Raises:
        UserError: another shape, values that are not finite, a sum that is not above 0.
    """
    if weight is None:
        return None
    w = numbers(weight, f"{name} weights", "(N,)").astype(np.float64)
    if w.shape != (n,):
        raise UserError(f"{name} weights: expected shape ({n},) of the scores, found {w.shape}")
    if not np.isfinite(w).all():
        raise UserError(f"{name} weights: expected finite values, found others")
    if not w.sum() > 0:
        raise UserError(
            f"{name} weights: expected a sum above 0, found {w.sum():.4g} of {n} events: these "
            "weights make no sample of it"
        )
    return w if n and (w != w[0]).any() else None


def pair(weights: tuple[ArrayLike | None, ArrayLike | None] | None, n_b: int, n_s: int) -> Pair:
    """`checked` weights of background and signal."""
    own = weights or (None, None)
    return checked(own[0], n_b, "background"), checked(own[1], n_s, "signal")


def ones(weight: Array | None, n: int) -> Array:
    """The weights, 1 where there are none."""
    return np.ones(n) if weight is None else weight


def effective(weight: ArrayLike) -> float:
    """(sum w)^2 / sum w^2: as many events of equal weight say as much.

    Examples:
        >>> effective([1.0, 1.0, 2.0])
        2.6666666666666665
    """
    w = np.asarray(weight, np.float64)
    squares = float((w**2).sum())
    return float(w.sum()) ** 2 / squares if squares else 0.0


def summary(weight: ArrayLike) -> dict[str, Any]:
    """What to say of the weights of a class: {"n", "sum", "effective", "negative", a fraction}."""
    w = np.asarray(weight, np.float64)
    found = {"n": len(w), "sum": float(w.sum()), "effective": effective(w)}
    return found | {"negative": float((w < 0).mean())}


def fraction(passed: Array, weight: Array) -> tuple[float, float]:
    """Share of the weights (N,) that `passed` (N,) bool has, and its error.

    The error is that of `jaxad.metrics.binomial_error` with the variance above and N_eff for n.
    """
    total, n = weight.sum(), effective(weight)
    p = float(weight[passed].sum() / total)
    squares = float((weight[passed] ** 2).sum()), float((weight[~passed] ** 2).sum())
    variance = ((1 - p) ** 2 * squares[0] + p**2 * squares[1]) / total**2
    return p, float(np.sqrt(variance + 0.25 / n**2) / (1 + 1 / n))


# ROC and AUC


def _share_below(values: Array, others: Array, weight: Array) -> Array:
    """Share of the weights of `others` below each value, ties by half, (len(values),)."""
    order = np.argsort(others, kind="stable")
    up_to = np.concatenate([[0.0], np.cumsum(weight[order])])
    low, high = (np.searchsorted(others[order], values, side) for side in ("left", "right"))
    return (up_to[low] + up_to[high]) / (2 * up_to[-1])


def auc_with_error(background: Array, signal: Array, weights: Pair) -> tuple[float, float]:
    """Weighted Mann-Whitney statistic and the error of DeLong et al., each event by its weight.

    AUC = sum_sb w_s w_b ([s > b] + [s = b] / 2) / (sum w_s sum w_b). With V an event's share of the
    other class below or above it, and A the AUC, each class adds sum w^2 (V - A)^2 / (sum w)^2
    times N_eff / (N_eff - 1).
    """
    w_b, w_s = (ones(w, len(x)) for w, x in zip(weights, (background, signal), strict=True))
    v10 = _share_below(signal, background, w_b)
    v01 = 1 - _share_below(background, signal, w_s)
    value, variance = float(np.average(v10, weights=w_s)), 0.0
    for v, w in ((v10, w_s), (v01, w_b)):
        n = effective(w)
        if len(w) > 1 and n > 1:
            variance += ((w * (v - value)) ** 2).sum() / w.sum() ** 2 * n / (n - 1)
    return value, float(np.sqrt(variance))


def correlation(x: Array, y: Array, weight: Array) -> dict[str, Any]:
    """As `jaxad.metrics.sculpting.correlation`, means and midranks weighted."""

    def coefficient(a: Array, b: Array) -> float | None:
        a, b = (v - np.average(v, weights=weight) for v in (a, b))
        spread = (weight * a**2).sum() * (weight * b**2).sum()
        return float((weight * a * b).sum() / np.sqrt(spread)) if spread > 0 else None

    ranks = _share_below(x, x, weight), _share_below(y, y, weight)
    return {"pearson": coefficient(x, y), "spearman": coefficient(*ranks), "n": len(x)}


# Working points


def falling(scores: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Distinct scores in falling order (G,), and the sums of w and of w^2 down to each (G,)."""
    order = np.argsort(-scores, kind="stable")
    ordered, w = scores[order], weight[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return ordered[ends], np.cumsum(w)[ends], np.cumsum(w**2)[ends]


def loosest(scores: Array, weight: Array, fpr: float) -> dict[str, float]:
    """Loosest thresholds up to which the flagged share never exceeds `fpr`: conservative.

    Returns:
        "threshold"; "low" and "high", those of the share with the error sqrt(sum w^2) added and
        taken away; "effective", N_eff of the flagged.
    """
    values, sums, squares = falling(scores, weight)

    def just_above(target: float) -> tuple[float, int]:
        beyond = sums > target
        kept = int(np.argmax(beyond)) if beyond.any() else len(values) - 1
        return float(np.nextafter(values[kept], scores.dtype.type(np.inf))), kept

    target = fpr * sums[-1] * (1 + 1e-9)
    threshold, kept = just_above(target)
    spread = float(np.sqrt(squares[kept - 1])) if kept else 0.0
    n = max(sums[kept - 1], 0.0) ** 2 / squares[kept - 1] if kept else 0.0
    low, high = just_above(target + spread)[0], just_above(target - spread)[0]
    return {"threshold": threshold, "low": low, "high": high, "effective": float(n)}


def tightest(scores: Array, weight: Array, tpr: float) -> float:
    """The tightest threshold that keeps the share `tpr` at least."""
    values, sums, _ = falling(scores, weight)
    return float(values[np.argmax(sums >= tpr * sums[-1] * (1 - 1e-9))])


def lowest_fpr(background: Array, weight: Array, n: float) -> float:
    """FPR above which `n` effective background events or more are flagged."""
    _, sums, squares = falling(background, weight)
    few = np.flatnonzero(np.maximum(sums, 0) ** 2 <= n * (1 + 1e-9) * squares)
    return float(max(sums[few[-1]] / sums[-1], 0.0)) if len(few) else 0.0


def bootstrap(
    background: Array,
    signal: Array,
    weights: Pair,
    fprs: Sequence[float],
    tprs: Sequence[float],
    n: int,
    seed: int,
) -> tuple[Array, Array, Array]:
    """AUC (n,), TPR at each FPR (F, n) and FPR at each TPR (T, n) of drawn events.

    A replica whose weights sum to 0 or below, which makes no sample, is NaN.
    """
    w_b, w_s = (ones(w, len(x)) for w, x in zip(weights, (background, signal), strict=True))
    values, group = np.unique(np.concatenate([background, signal]), return_inverse=True)
    group = len(values) - 1 - group
    classes = (group[: len(background)], w_b), (group[len(background) :], w_s)
    rng, found = np.random.default_rng(seed), np.full((1 + len(fprs) + len(tprs), n), np.nan)
    for i in range(n):
        sums = []
        for place, w in classes:
            drawn = rng.integers(0, len(place), len(place))
            sums.append(np.bincount(place[drawn], w[drawn], len(values)))
        up_to_b, up_to_s = map(np.cumsum, sums)
        total_b, total_s = up_to_b[-1], up_to_s[-1]
        if not (total_b > 0 and total_s > 0):
            continue
        above = (sums[1] * (up_to_b - sums[0] / 2)).sum()
        found[0, i] = 1 - above / (total_b * total_s)
        for row, fpr in enumerate(fprs, 1):
            kept = int(np.argmax(np.append(up_to_b > fpr * total_b * (1 + 1e-9), True)))
            found[row, i] = up_to_s[kept - 1] / total_s if kept else 0.0
        for row, tpr in enumerate(tprs, 1 + len(fprs)):
            place = np.argmax(up_to_s >= tpr * total_s * (1 - 1e-9))
            found[row, i] = up_to_b[place] / total_b
    return found[0], found[1 : 1 + len(fprs)], found[1 + len(fprs) :]
