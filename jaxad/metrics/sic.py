"""Significance improvement characteristic, TPR / sqrt(FPR) (A. Hallin et al., arXiv:2109.00546)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.metrics.bands import roc_band
from jaxad.metrics.roc import Array, binomial_error, level_key, roc, split_members, tpr_at_fpr


def min_sic_fpr(n_background: int, max_relative_error: float = 0.2) -> float:
    """FPR above which its relative error 1/sqrt(N FPR) stays below the limit: 1/(N err^2)."""
    return (1 + 1e-9) / (n_background * max_relative_error**2)  # strict, whatever the rounding


def sic_curve(
    background: ArrayLike, signal: ArrayLike, max_relative_error: float = 0.2
) -> tuple[Array, Array, Array]:
    """SIC = TPR / sqrt(FPR) where FPR > 1 / (N_bkg err^2): (fpr, tpr, sic), maybe empty.

    The cut (25 background events at 20 %) removes the spikes of a few lucky events.
    """
    fpr, tpr, _ = roc(background, signal)
    kept = fpr > min_sic_fpr(len(np.asarray(background)), max_relative_error)
    fpr, tpr = fpr[kept], tpr[kept]
    return fpr, tpr, tpr / np.sqrt(fpr)


def _sic_error(tpr: float, fpr: float, n_background: int, n_signal: int) -> float:
    """Propagated binomial error of TPR / sqrt(FPR), classes independent."""
    error_tpr = binomial_error(tpr * n_signal, n_signal)
    error_fpr = binomial_error(fpr * n_background, n_background)
    return float(np.hypot(error_tpr, 0.5 * tpr * error_fpr / fpr) / np.sqrt(fpr))


def max_sic(
    background: ArrayLike, signal: ArrayLike, max_relative_error: float = 0.2
) -> dict[str, Any]:
    """Maximum of `sic_curve`: {max_sic, max_sic_err, max_sic_fpr}, None if the curve is empty.

    Examples:
        >>> background, signal = np.arange(1000) / 1000, np.arange(500, 1500) / 1000
        >>> best = max_sic(background, signal)
        >>> round(best["max_sic"], 2), best["max_sic_fpr"]
        (3.26, 0.026)
    """
    fpr, tpr, sic = sic_curve(background, signal, max_relative_error)
    if not len(sic):
        return {"max_sic": None, "max_sic_err": None, "max_sic_fpr": None}
    best = int(np.argmax(sic))
    error = _sic_error(tpr[best], fpr[best], len(background), len(signal))
    return {"max_sic": float(sic[best]), "max_sic_err": error, "max_sic_fpr": float(fpr[best])}


def sic_at_fpr(
    background: ArrayLike, signal: ArrayLike, fpr: float, max_relative_error: float = 0.2
) -> dict[str, Any]:
    """TPR / sqrt(FPR) at the conservative threshold for `fpr`, both as reached there.

    None with the reason where the relative error of FPR exceeds `max_relative_error`.
    """
    point = tpr_at_fpr(background, signal, fpr)
    reached, reason = point["fpr"], point["reason"]
    n_background = len(np.asarray(background))
    if reason is None and reached <= min_sic_fpr(n_background, max_relative_error):
        reason = (
            f"{point['n_background']} background events at FPR {level_key(fpr)}: its error exceeds "
            f"{max_relative_error:.0%}"
        )
    if reason:
        return {"value": None, "error": None, "fpr": reached, "reason": reason}
    error = _sic_error(point["value"], reached, n_background, len(np.asarray(signal)))
    value = point["value"] / np.sqrt(reached)
    return {"value": float(value), "error": error, "fpr": reached, "reason": None}


def max_of_median_sic(
    background: ArrayLike, signal: ArrayLike, max_relative_error: float = 0.2
) -> float | None:
    """Maximum of the members' median SIC curve on a common FPR grid above the statistics cut.

    The median of the members' maxima is the other figure in use; it is not the same number.
    """
    lowest = min_sic_fpr(len(split_members(background, "background")[0]), max_relative_error)
    if lowest >= 1:
        return None
    grid = np.geomspace(lowest, 1, 2000)
    return float(np.max(roc_band(background, signal, grid)[0] / np.sqrt(grid)))
