"""Significance improvement characteristic, TPR / sqrt(FPR) (A. Hallin et al., arXiv:2109.00546)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.metrics import weighted
from jaxad.metrics.bands import roc_band
from jaxad.metrics.roc import (
    Array,
    Weights,
    binomial_error,
    checked_scores,
    level_key,
    roc,
    split_members,
    tpr_at_fpr,
)


def min_sic_fpr(n_background: int, max_relative_error: float = 0.2) -> float:
    """FPR above which its relative error 1/sqrt(N FPR) stays below the limit: 1/(N err^2)."""
    return (1 + 1e-9) / (n_background * max_relative_error**2)  # strict, whatever the rounding


def lowest_fpr(
    background: ArrayLike, weight: ArrayLike | None = None, max_relative_error: float = 0.2
) -> float:
    """`min_sic_fpr` of the events of a background (N,), weighted ones by their effective number."""
    scores = checked_scores(background, "background")
    differing = weighted.checked(weight, len(scores), "background")
    if differing is None:
        return min_sic_fpr(len(scores), max_relative_error)
    return weighted.lowest_fpr(scores, differing, 1 / max_relative_error**2)


def _weight(weights: Weights | None) -> ArrayLike | None:
    return weights[0] if weights else None


def sic_curve(
    background: ArrayLike,
    signal: ArrayLike,
    max_relative_error: float = 0.2,
    weights: Weights | None = None,
) -> tuple[Array, Array, Array]:
    """SIC = TPR / sqrt(FPR) where FPR > 1 / (N_bkg err^2): (fpr, tpr, sic), maybe empty.

    The cut (25 background events at 20 %) removes the spikes of a few lucky events.
    """
    return _curve(background, signal, max_relative_error, weights)[:3]


def _curve(
    background: ArrayLike, signal: ArrayLike, max_relative_error: float, weights: Weights | None
) -> tuple[Array, Array, Array, Array]:
    """`sic_curve`, and the thresholds."""
    fpr, tpr, threshold = roc(background, signal, weights)
    kept = fpr > lowest_fpr(background, _weight(weights), max_relative_error)
    fpr, tpr = fpr[kept], tpr[kept]
    return fpr, tpr, tpr / np.sqrt(fpr), threshold[kept]


def _sic_error(
    tpr: float,
    fpr: float,
    background: ArrayLike,
    signal: ArrayLike,
    threshold: float,
    weights: Weights | None,
) -> float:
    """Propagated binomial error of TPR / sqrt(FPR) at a threshold, classes independent."""
    errors = []
    scores = np.asarray(background), np.asarray(signal)
    own = weighted.pair(weights, *map(len, scores))
    for value, x, weight in zip((fpr, tpr), scores, own, strict=True):
        if weight is None:
            errors.append(binomial_error(value * len(x), len(x)))
        else:
            errors.append(weighted.fraction(x >= threshold, weight)[1])
    error_fpr, error_tpr = errors
    return float(np.hypot(error_tpr, 0.5 * tpr * error_fpr / fpr) / np.sqrt(fpr))


def max_sic(
    background: ArrayLike,
    signal: ArrayLike,
    max_relative_error: float = 0.2,
    weights: Weights | None = None,
) -> dict[str, Any]:
    """Maximum of `sic_curve`: {max_sic, max_sic_err, max_sic_fpr}, None if the curve is empty.

    Examples:
        >>> background, signal = np.arange(1000) / 1000, np.arange(500, 1500) / 1000
        >>> best = max_sic(background, signal)
        >>> round(best["max_sic"], 2), best["max_sic_fpr"]
        (3.26, 0.026)
    """
    fpr, tpr, sic, threshold = _curve(background, signal, max_relative_error, weights)
    if not len(sic):
        return {"max_sic": None, "max_sic_err": None, "max_sic_fpr": None}
    best = int(np.argmax(sic))
    error = _sic_error(tpr[best], fpr[best], background, signal, threshold[best], weights)
    return {"max_sic": float(sic[best]), "max_sic_err": error, "max_sic_fpr": float(fpr[best])}


def sic_at_fpr(
    background: ArrayLike,
    signal: ArrayLike,
    fpr: float,
    max_relative_error: float = 0.2,
    weights: Weights | None = None,
) -> dict[str, Any]:
    """TPR / sqrt(FPR) at the conservative threshold for `fpr`, both as reached there.

    None with the reason where the relative error of FPR exceeds `max_relative_error`.
    """
    point = tpr_at_fpr(background, signal, fpr, weights)
    reached, reason = point["fpr"], point["reason"]
    lowest = lowest_fpr(background, _weight(weights), max_relative_error)
    if reason is None and reached <= lowest:
        reason = (
            f"{point['n_background']} background events at FPR {level_key(fpr)}: its error exceeds "
            f"{max_relative_error:.0%}"
        )
    if reason:
        return {"value": None, "error": None, "fpr": reached, "reason": reason}
    error = _sic_error(point["value"], reached, background, signal, point["threshold"], weights)
    value = point["value"] / np.sqrt(reached)
    return {"value": float(value), "error": error, "fpr": reached, "reason": None}


def max_of_median_sic(
    background: ArrayLike,
    signal: ArrayLike,
    max_relative_error: float = 0.2,
    weights: Weights | None = None,
) -> float | None:
    """Maximum of the members' median SIC curve on a common FPR grid above the statistics cut.

    The median of the members' maxima is the other figure in use; it is not the same number.
    """
    every = split_members(background, "background")
    lowest = max(lowest_fpr(one, _weight(weights), max_relative_error) for one in every)
    if lowest >= 1:
        return None
    grid = np.geomspace(lowest, 1, 2000)
    return float(np.max(roc_band(background, signal, grid, weights)[0] / np.sqrt(grid)))
