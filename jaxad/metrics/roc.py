"""Figures of merit from plain arrays of scores: AUC, TPR at FPR, rates, SIC, with errors.

Conventions. A larger score is more anomalous, whatever the labels say; an event is flagged when
`score >= threshold`. FPR and TPR are the flagged fractions of background and signal, of their
weights where they have some (`jaxad.metrics.weighted`). Scores are
(N,) arrays, or (M, N) for an ensemble of M members. Thresholds are *conservative*: the loosest one
whose measured FPR does not exceed the target, chosen on the background alone; with tied scores the
FPR reached can be lower, and is returned. NaN scores raise `UserError`; infinite ones are ranked.
References: E. DeLong et al., Biometrics 44 (1988) 837; E. B. Wilson, JASA 22 (1927) 209;
A. Hallin et al., arXiv:2109.00546 (SIC); B. Efron, Ann. Statist. 7 (1979) 1 (bootstrap).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.errors import UserError
from jaxad.metrics import weighted
from jaxad.metrics.given import Array, Weights
from jaxad.metrics.ranked import (
    Ranked,
    Ranks,
    binomial_error,
    first_beyond,
    pair,
    points,
    ranked,
    shares,
)

MIN_BACKGROUND = 10  # flagged background events below which a TPR at an FPR is refused


def level_key(fpr: float) -> str:
    """Name of a working point in metrics.json: 0.01 -> "1e-2", 1.25e-4 -> "1.25e-4".

    Examples:
        >>> level_key(1.25e-4)
        '1.25e-4'
    """
    mantissa, exponent = f"{fpr:.6e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


# ROC and AUC


def roc(
    background: Ranks, signal: Ranks, weights: Weights | None = None
) -> tuple[Array, Array, Array]:
    """Every point of the ROC curve: (fpr, tpr, threshold), each (G + 1,) for G distinct scores.

    Starts at (0, 0) with an infinite threshold; equals scikit-learn's `roc_curve` with
    `drop_intermediate=False`.
    """
    start = np.zeros(1), np.zeros(1), np.full(1, np.inf)
    blocks = [start, *points(*pair(background, signal, weights))]
    fpr, tpr, threshold = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return fpr, tpr, threshold


def auc(background: Ranks, signal: Ranks, weights: Weights | None = None) -> float:
    """Area under the ROC curve, P(s > b) + P(s = b) / 2: the Mann-Whitney statistic, ties 1/2.

    Examples:
        >>> auc(background=[0.1, 0.2, 0.3], signal=[0.2, 0.4])
        0.75
    """
    return auc_with_error(background, signal, weights)[0]


def auc_with_error(
    background: Ranks, signal: Ranks, weights: Weights | None = None
) -> tuple[float, float]:
    """AUC and its standard error after DeLong et al. (1988), by midranks; ties count 1/2.

    sigma^2 = var_s(V10) / N_s + var_b(V01) / N_b, where V10 is the fraction of background below a
    signal event and V01 the fraction of signal above a background event. With weights AUC =
    sum_sb w_s w_b ([s > b] + [s = b] / 2) / (sum w_s sum w_b), fractions are of weights, and each
    class adds sum w^2 (V - mean)^2 / (sum w)^2 times N_eff / (N_eff - 1).
    """
    b, s = pair(background, signal, weights)
    value = sum(_summed(share, w) for share, w in shares(s, b)) / s.total
    variance = 0.0
    for one, other, mean in ((s, b, value), (b, s, 1 - value)):
        n = one.effective
        if len(one) > 1 and n > 1:
            spread = sum(_summed((x - mean) ** 2, w, 2) for x, w in shares(one, other))
            variance += spread / one.total**2 * n / (n - 1)
    return float(value), float(np.sqrt(variance))


def _summed(values: Array, weight: Array | None, power: int = 1) -> float:
    return float((values if weight is None else values * weight**power).sum())


# Working points


def allowed(fpr: float, n_background: Ranks) -> Any:
    """Background events that an FPR lets through: floor(fpr N), safe against rounding."""
    if not 0 < fpr < 1:
        raise UserError(f"fpr: expected a number between 0 and 1, found {fpr}")
    return np.floor(fpr * np.asarray(n_background) * (1 + 1e-9)).astype(np.int64)


def threshold_at_fpr(
    background: Ranks, fpr: float, weight: ArrayLike | None = None
) -> dict[str, Any]:
    """Loosest threshold whose measured FPR stays at or below `fpr`.

    With k = floor(fpr N) it lies just above the (k+1)-th largest background score. `low` and
    `high` are the thresholds for k + sqrt(k) and k - sqrt(k) events: its statistical error.
    `fpr` is the one reached and `error` its binomial error. `reason` says why the point is
    refused (fewer than 10 background events flagged, by statistics or by ties), else None. With
    weights the FPR is that of sums of weights, up to which no tighter threshold exceeds it; ten
    events are then effective ones, `n_effective`.

    Examples:
        >>> background = np.arange(1000) / 1000
        >>> cut = threshold_at_fpr(background, fpr=0.05)
        >>> cut["fpr"], cut["n_background"]
        (0.05, 50)
        >>> threshold_at_fpr(background, fpr=1e-3)["reason"]
        'FPR 1e-3 of 1000 background events leaves 1, fewer than 10'
    """
    one = ranked(background, weight, "background")
    n, k = len(one), int(allowed(fpr, len(one)))
    if one.weight is not None:
        return _weighted_threshold(one, fpr)

    def just_above(rank: int) -> float:
        return _above(one.largest(rank))

    threshold, spread = just_above(k), round(np.sqrt(k))
    n_flagged = one.n_at_least(threshold)
    reason = None
    if k < MIN_BACKGROUND:
        reason = (
            f"FPR {level_key(fpr)} of {n} background events leaves {k}, fewer than {MIN_BACKGROUND}"
        )
    elif n_flagged > k or n_flagged < MIN_BACKGROUND:
        n_flagged = 0 if n_flagged > k else n_flagged
        reason = (
            f"tied scores: FPR {level_key(fpr)} allows {k} background events, the tightest "
            f"threshold below it leaves {n_flagged}, fewer than {MIN_BACKGROUND}"
        )
    values = (threshold, just_above(k + spread), just_above(k - spread))
    threshold, low, high = (v if np.isfinite(v) else None for v in values)
    return {
        "threshold": threshold,
        "low": low,
        "high": high,
        "fpr": n_flagged / n,
        "error": float(binomial_error(n_flagged, n)),
        "n_background": n_flagged,
        "reason": reason,
    }


def _above(score: np.floating) -> float:
    """The next number of its type."""
    return float(np.nextafter(score, score.dtype.type(np.inf)))


def _weighted_threshold(one: Ranked, fpr: float) -> dict[str, Any]:
    """As `threshold_at_fpr`; "low" and "high" are of the share with the error sqrt(sum w^2) of the
    flagged added and taken away."""
    target = fpr * one.total * (1 + 1e-9)
    score, total, squares = first_beyond(one, lambda sums: sums > target)
    n, spread = weighted.effective_of(max(total, 0.0), squares), np.sqrt(squares)
    found = {"threshold": _above(score)}
    for name, shift in (("low", spread), ("high", -spread)):
        found[name] = _above(first_beyond(one, lambda sums, t=target + shift: sums > t)[0])
    reached, error = one.share_at_least(found["threshold"])
    reason = None
    if n < MIN_BACKGROUND:
        reason = (
            f"FPR {level_key(fpr)} of {len(one)} weighted background events leaves "
            f"{n:.3g} effective ones, fewer than {MIN_BACKGROUND}"
        )
    return {
        **{name: value if np.isfinite(value) else None for name, value in found.items()},
        "fpr": reached,
        "error": error,
        "n_background": one.n_at_least(found["threshold"]),
        "n_effective": n,
        "reason": reason,
    }


def threshold_at_rate(
    background: Ranks, rate: float, input_rate: float = 40e6, weight: ArrayLike | None = None
) -> dict:
    """Threshold that accepts `rate` [Hz] of background out of `input_rate` [Hz].

    As `threshold_at_fpr` at rate / input_rate, with the `rate` reached and its `rate_error` [Hz].

    Examples:
        >>> cut = threshold_at_rate(np.arange(1000) / 1000, rate=400e3, input_rate=40e6)
        >>> cut["n_background"], cut["rate"]
        (10, 400000.0)
    """
    cut = threshold_at_fpr(background, rate / input_rate, weight)
    return cut | {"rate": cut["fpr"] * input_rate, "rate_error": cut["error"] * input_rate}


def rate_above(
    background: Ranks, threshold: float, input_rate: float, weight: ArrayLike | None = None
) -> dict[str, Any]:
    """Rate [Hz] of background at or above a threshold, of `input_rate` [Hz] before it.

    Keys: rate and rate_error, fpr and error (binomial), all None where fewer than 10 events are
    flagged, effective ones if weights differ, and `reason` says so; n_background.
    """
    one = ranked(background, weight, "background")
    n, (total, squares) = one.n_at_least(threshold), one.sums_at_least(threshold)
    # No rate is below 0.
    enough = n if one.weight is None else weighted.effective_of(max(total, 0.0), squares)
    if enough < MIN_BACKGROUND:
        events = "background events" if one.weight is None else "effective background events"
        reason = f"{enough:.4g} of {len(one)} {events} flagged, fewer than {MIN_BACKGROUND}"
        refused = dict.fromkeys(("rate", "rate_error", "fpr", "error"))
        return refused | {"n_background": n, "reason": reason}
    fpr, error = one.share_at_least(threshold)
    return {
        "rate": fpr * input_rate,
        "rate_error": error * input_rate,
        "fpr": fpr,
        "error": error,
        "n_background": n,
        "reason": None,
    }


def tpr_at_fpr(
    background: Ranks, signal: Ranks, fpr: float, weights: Weights | None = None
) -> dict[str, Any]:
    """TPR at the conservative threshold for `fpr`, with its binomial error.

    Equals the ROC curve's TPR at its last point with FPR <= fpr: no interpolation. `value` and
    `error` are None, and `reason` says why, where fewer than 10 background events are flagged.

    Examples:
        >>> background, signal = np.arange(1000) / 1000, np.arange(500, 1500) / 1000
        >>> tpr_at_fpr(background, signal, fpr=0.05)["value"]
        0.55
    """
    b, s = pair(background, signal, weights)
    cut = threshold_at_fpr(b, fpr)
    point = {key: cut[key] for key in ("fpr", "threshold", "n_background", "reason")}
    if cut["reason"]:
        return {"value": None, "error": None, **point}
    value, error = s.share_at_least(cut["threshold"])
    return {"value": value, "error": error, **point}


def fpr_at_tpr(
    background: Ranks, signal: Ranks, tpr: float, weights: Weights | None = None
) -> dict[str, Any]:
    """FPR at the tightest threshold that keeps at least `tpr` of the signal, with binomial error.

    The threshold is the ceil(tpr N_s)-th largest signal score; `tpr` is the one reached.

    Examples:
        >>> background, signal = np.arange(1000) / 1000, np.arange(500, 1500) / 1000
        >>> fpr_at_tpr(background, signal, tpr=0.55)["value"]
        0.05
    """
    if not 0 < tpr <= 1:
        raise UserError(f"tpr: expected a number between 0 and 1, found {tpr}")
    b, s = pair(background, signal, weights)
    if s.weight is None:
        threshold = s.largest(int(np.ceil(tpr * len(s) * (1 - 1e-9))) - 1)
    else:
        target = tpr * s.total * (1 - 1e-9)
        threshold = first_beyond(s, lambda sums: sums >= target)[0]
    value, error = b.share_at_least(threshold)
    return {
        "value": value,
        "error": error,
        "tpr": s.share_at_least(threshold)[0],
        "threshold": float(threshold) if np.isfinite(threshold) else None,
        "n_background": b.n_at_least(threshold),
        "reason": None,
    }
