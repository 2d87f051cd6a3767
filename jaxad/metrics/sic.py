"""Significance improvement characteristic, TPR / sqrt(FPR) (A. Hallin et al., arXiv:2109.00546)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.metrics.bands import band_of
from jaxad.metrics.ensembles import Members, pairs
from jaxad.metrics.given import Array, Weights
from jaxad.metrics.ranked import (
    Ranked,
    Ranks,
    binomial_error,
    falling,
    pair,
    points,
    ranked,
)
from jaxad.metrics.roc import level_key, roc, tpr_at_fpr


def min_sic_fpr(n_background: int, max_relative_error: float = 0.2) -> float:
    """FPR above which its relative error 1/sqrt(N FPR) stays below the limit: 1/(N err^2)."""
    return (1 + 1e-9) / (n_background * max_relative_error**2)  # strict, whatever the rounding


def lowest_fpr(
    background: Ranks, weight: ArrayLike | None = None, max_relative_error: float = 0.2
) -> float:
    """`min_sic_fpr` of the events of a background (N,), weighted ones by their effective number.

    1 or more where no FPR is good enough.
    """
    one = ranked(background, weight, "background")
    if one.weight is None:
        return min_sic_fpr(len(one), max_relative_error)
    least, lowest, last = (1 + 1e-9) / max_relative_error**2, 0.0, 0.0
    for _, (sums,), (squares,) in falling(one):
        few = np.flatnonzero(np.maximum(sums, 0) ** 2 <= least * squares)
        if len(few):
            lowest = max(float(sums[few[-1]]), 0.0)
        last = float(sums[-1])
    # Beyond that point itself, whatever the rounding.
    return (1 + 1e-9) * lowest / last if last > 0 else 1.0


def sic_curve(
    background: Ranks,
    signal: Ranks,
    max_relative_error: float = 0.2,
    weights: Weights | None = None,
) -> tuple[Array, Array, Array]:
    """SIC = TPR / sqrt(FPR) where FPR > 1 / (N_bkg err^2): (fpr, tpr, sic), maybe empty.

    The cut (25 background events at 20 %) removes the spikes of a few lucky events.
    """
    b, s = pair(background, signal, weights)
    lowest = lowest_fpr(b, max_relative_error=max_relative_error)
    fpr, tpr, _ = roc(b, s)
    fpr, tpr = fpr[fpr > lowest], tpr[fpr > lowest]
    return fpr, tpr, tpr / np.sqrt(fpr)


def _sic_error(tpr: float, fpr: float, b: Ranked, s: Ranked, threshold: float) -> float:
    """Propagated binomial error of TPR / sqrt(FPR) at a threshold, classes independent."""
    error_fpr, error_tpr = (
        binomial_error(value * len(one), len(one))
        if one.weight is None
        else one.share_at_least(threshold)[1]
        for value, one in ((fpr, b), (tpr, s))
    )
    return float(np.hypot(error_tpr, 0.5 * tpr * error_fpr / fpr) / np.sqrt(fpr))


def max_sic(
    background: Ranks,
    signal: Ranks,
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
    b, s = pair(background, signal, weights)
    lowest, best = lowest_fpr(b, max_relative_error=max_relative_error), None
    for fpr, tpr, threshold in points(b, s):
        kept = fpr > lowest
        if not kept.any():
            continue
        fpr, tpr, threshold = fpr[kept], tpr[kept], threshold[kept]
        sic = tpr / np.sqrt(fpr)
        at = int(np.argmax(sic))
        if best is None or sic[at] > best[0]:
            best = sic[at], tpr[at], fpr[at], threshold[at]
    if best is None:
        return {"max_sic": None, "max_sic_err": None, "max_sic_fpr": None}
    sic, tpr, fpr, threshold = best
    error = _sic_error(tpr, fpr, b, s, threshold)
    return {"max_sic": float(sic), "max_sic_err": error, "max_sic_fpr": float(fpr)}


def sic_at_fpr(
    background: Ranks,
    signal: Ranks,
    fpr: float,
    max_relative_error: float = 0.2,
    weights: Weights | None = None,
) -> dict[str, Any]:
    """TPR / sqrt(FPR) at the conservative threshold for `fpr`, both as reached there.

    None with the reason where the relative error of FPR exceeds `max_relative_error`.
    """
    b, s = pair(background, signal, weights)
    point = tpr_at_fpr(b, s, fpr)
    reached, reason = point["fpr"], point["reason"]
    lowest = lowest_fpr(b, max_relative_error=max_relative_error)
    if reason is None and reached <= lowest:
        reason = (
            f"{point['n_background']} background events at FPR {level_key(fpr)}: its error exceeds "
            f"{max_relative_error:.0%}"
        )
    if reason:
        return {"value": None, "error": None, "fpr": reached, "reason": reason}
    error = _sic_error(point["value"], reached, b, s, point["threshold"])
    value = point["value"] / np.sqrt(reached)
    return {"value": float(value), "error": error, "fpr": reached, "reason": None}


def max_of_median_sic(
    background: Members,
    signal: Members,
    max_relative_error: float = 0.2,
    weights: Weights | None = None,
) -> float | None:
    """Maximum of the members' median SIC curve on a common FPR grid above the statistics cut.

    The median of the members' maxima is the other figure in use; it is not the same number.
    """
    every = pairs(background, signal, weights)
    lowest = max(lowest_fpr(b, max_relative_error=max_relative_error) for b, _ in every)
    if lowest >= 1:
        return None
    grid = np.geomspace(lowest, 1, 2000)
    return float(np.max(band_of(every, grid)[0] / np.sqrt(grid)))
