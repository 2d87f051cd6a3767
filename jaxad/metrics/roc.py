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

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxad.devices.arrays import numbers
from jaxad.errors import UserError
from jaxad.metrics import weighted

MIN_BACKGROUND = 10  # flagged background events below which a TPR at an FPR is refused
Array = NDArray[Any]
Weights = tuple[ArrayLike | None, ArrayLike | None]
"""Of the events of background and signal, (N,) each; None: every event counts once."""


def level_key(fpr: float) -> str:
    """Name of a working point in metrics.json: 0.01 -> "1e-2", 1.25e-4 -> "1.25e-4".

    Examples:
        >>> level_key(1.25e-4)
        '1.25e-4'
    """
    mantissa, exponent = f"{fpr:.6e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def checked_scores(values: ArrayLike, name: str) -> Array:
    """1D floating scores of any real numbers; refuses empty or masked arrays and NaN."""
    scores = numbers(values, f"{name} scores", "(N,)")
    if scores.ndim != 1 or scores.size == 0:
        raise UserError(f"{name} scores: expected a non-empty (N,) array, found {scores.shape}")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    n_nan = int(np.isnan(scores).sum())
    if n_nan:
        raise UserError(f"{name} scores: expected numbers, found {n_nan} NaN in {scores.size}")
    return scores


def checked_values(values: ArrayLike, name: str, shape: tuple[int, ...] | None = None) -> Array:
    """1D float64 values, such as masses; refuses another `shape`, masked values and NaN."""
    checked = numbers(values, name, "(N,)").astype(np.float64)
    if checked.ndim != 1 or checked.shape != (shape or checked.shape):
        expected = "shape (N,)" if shape is None else f"shape {shape} of the scores"
        raise UserError(f"{name}: expected {expected}, found {checked.shape}")
    if not np.isfinite(checked).all():
        n_others = (~np.isfinite(checked)).sum()
        raise UserError(f"{name}: expected finite values, found {n_others} others")
    return checked


def split_members(values: ArrayLike | Sequence[ArrayLike], name: str) -> list[Array]:
    """Scores of each ensemble member: (N,) gives one, (M, N) or a list of (N_i,) gives M."""
    of_members = not isinstance(values, list | tuple) and np.ndim(values) == 2
    if isinstance(values, list | tuple) and values and np.ndim(values[0]) == 1:
        of_members = True
    rows = values if of_members else [values]
    return [checked_scores(row, name) for row in rows]


def members(background: ArrayLike, signal: ArrayLike) -> list[tuple[Array, Array]]:
    """(background, signal) scores of each member: one pair for (N,), M pairs for (M, N)."""
    split = split_members(background, "background"), split_members(signal, "signal")
    if len(split[0]) != len(split[1]):
        raise UserError(
            f"scores: expected as many ensemble members for background and signal, "
            f"found {len(split[0])} and {len(split[1])}"
        )
    return list(zip(*split, strict=True))


def binomial_error(n_passed: ArrayLike, n_total: ArrayLike) -> Any:
    """Half width of the 68 % Wilson interval, sqrt(p(1-p)/n + 1/(4n^2)) / (1 + 1/n).

    Tends to sqrt(p(1-p)/n) and, unlike it, does not vanish where nothing or everything passes.
    """
    n = np.asarray(n_total, np.float64)
    p = np.asarray(n_passed) / n
    return np.sqrt(p * (1 - p) / n + 0.25 / n**2) / (1 + 1 / n)


# ROC and AUC


def counts(background: Array, signal: Array) -> tuple[Array, Array, Array]:
    """Distinct scores in descending order (G,) and the group that each event belongs to."""
    values, group = np.unique(np.concatenate([background, signal]), return_inverse=True)
    group = len(values) - 1 - group
    return values[::-1], group[: len(background)], group[len(background) :]


def roc(
    background: ArrayLike, signal: ArrayLike, weights: Weights | None = None
) -> tuple[Array, Array, Array]:
    """Every point of the ROC curve: (fpr, tpr, threshold), each (G + 1,) for G distinct scores.

    Starts at (0, 0) with an infinite threshold; equals scikit-learn's `roc_curve` with
    `drop_intermediate=False`.
    """
    background, signal = checked_scores(background, "background"), checked_scores(signal, "signal")
    w_b, w_s = weighted.pair(weights, len(background), len(signal))
    threshold, group_b, group_s = counts(background, signal)
    n = len(threshold)
    fpr, tpr = (
        np.cumsum(np.bincount(group, w, n)) / (len(group) if w is None else w.sum())
        for group, w in ((group_b, w_b), (group_s, w_s))
    )
    return np.r_[0.0, fpr], np.r_[0.0, tpr], np.r_[np.inf, threshold]


def auc(background: ArrayLike, signal: ArrayLike, weights: Weights | None = None) -> float:
    """Area under the ROC curve, P(s > b) + P(s = b) / 2: the Mann-Whitney statistic, ties 1/2.

    Examples:
        >>> auc(background=[0.1, 0.2, 0.3], signal=[0.2, 0.4])
        0.75
    """
    return auc_with_error(background, signal, weights)[0]


def auc_with_error(
    background: ArrayLike, signal: ArrayLike, weights: Weights | None = None
) -> tuple[float, float]:
    """AUC and its standard error after DeLong et al. (1988), by midranks; ties count 1/2.

    sigma^2 = var_s(V10) / N_s + var_b(V01) / N_b, where V10 is the fraction of background below a
    signal event and V01 the fraction of signal above a background event.
    """
    from scipy.stats import rankdata  # takes half a second to import, which scoring does without

    background, signal = checked_scores(background, "background"), checked_scores(signal, "signal")
    n_b, n_s = len(background), len(signal)
    # Ranks have the type of the values, and single precision holds those of 17 million events.
    background, signal = background.astype(np.float64), signal.astype(np.float64)
    differing = weighted.pair(weights, n_b, n_s)
    if any(w is not None for w in differing):
        return weighted.auc_with_error(background, signal, differing)
    rank = rankdata(np.concatenate([background, signal]))
    v10 = (rank[n_b:] - rankdata(signal)) / n_b
    v01 = 1 - (rank[:n_b] - rankdata(background)) / n_s
    variance = sum(v.var(ddof=1) / len(v) for v in (v10, v01) if len(v) > 1)
    return float(v10.mean()), float(np.sqrt(variance))


# Working points


def _passed(flagged: Array, weight: Array | None) -> tuple[float, float]:
    """The fraction that is flagged, (N,) bool, and its error."""
    if weight is not None:
        return weighted.fraction(flagged, weight)
    n = int(flagged.sum())
    return n / len(flagged), float(binomial_error(n, len(flagged)))


def allowed(fpr: float, n_background: ArrayLike) -> Any:
    """Background events that an FPR lets through: floor(fpr N), safe against rounding."""
    if not 0 < fpr < 1:
        raise UserError(f"fpr: expected a number between 0 and 1, found {fpr}")
    return np.floor(fpr * np.asarray(n_background) * (1 + 1e-9)).astype(np.int64)


def threshold_at_fpr(
    background: ArrayLike, fpr: float, weight: ArrayLike | None = None
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
    scores = checked_scores(background, "background")
    n, k = len(scores), int(allowed(fpr, len(scores)))
    differing = weighted.checked(weight, n, "background")
    if differing is not None:
        return _weighted_threshold(scores, differing, fpr)
    scores = np.sort(scores)[::-1]

    def just_above(rank: int) -> float:
        return float(np.nextafter(scores[min(max(rank, 0), n - 1)], scores.dtype.type(np.inf)))

    threshold, spread = just_above(k), round(np.sqrt(k))
    n_flagged = int((scores >= threshold).sum())
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


def _weighted_threshold(scores: Array, weight: Array, fpr: float) -> dict[str, Any]:
    found = weighted.loosest(scores, weight, fpr)
    flagged, n = scores >= found["threshold"], found.pop("effective")
    reached, error = weighted.fraction(flagged, weight)
    reason = None
    if n < MIN_BACKGROUND:
        reason = (
            f"FPR {level_key(fpr)} of {len(scores)} weighted background events leaves "
            f"{n:.3g} effective ones, fewer than {MIN_BACKGROUND}"
        )
    return {
        **{name: value if np.isfinite(value) else None for name, value in found.items()},
        "fpr": reached,
        "error": error,
        "n_background": int(flagged.sum()),
        "n_effective": n,
        "reason": reason,
    }


def threshold_at_rate(
    background: ArrayLike, rate: float, input_rate: float = 40e6, weight: ArrayLike | None = None
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
    background: ArrayLike, threshold: float, input_rate: float, weight: ArrayLike | None = None
) -> dict[str, Any]:
    """Rate [Hz] of background at or above a threshold, of `input_rate` [Hz] before it.

    Keys: rate and rate_error, fpr and error (binomial), all None where fewer than 10 events are
    flagged, effective ones if weights differ, and `reason` says so; n_background.
    """
    scores = checked_scores(background, "background")
    weight = weighted.checked(weight, len(scores), "background")
    flagged = scores >= threshold
    n = int(flagged.sum())
    enough = n if weight is None else weighted.effective(weight[flagged])
    if weight is not None and weight[flagged].sum() <= 0:
        enough = 0  # no rate is below 0
    if enough < MIN_BACKGROUND:
        events = "background events" if weight is None else "effective background events"
        reason = f"{enough:.4g} of {len(scores)} {events} flagged, fewer than {MIN_BACKGROUND}"
        refused = dict.fromkeys(("rate", "rate_error", "fpr", "error"))
        return refused | {"n_background": n, "reason": reason}
    fpr, error = _passed(flagged, weight)
    return {
        "rate": fpr * input_rate,
        "rate_error": error * input_rate,
        "fpr": fpr,
        "error": error,
        "n_background": n,
        "reason": None,
    }


def tpr_at_fpr(
    background: ArrayLike, signal: ArrayLike, fpr: float, weights: Weights | None = None
) -> dict[str, Any]:
    """TPR at the conservative threshold for `fpr`, with its binomial error.

    Equals the ROC curve's TPR at its last point with FPR <= fpr: no interpolation. `value` and
    `error` are None, and `reason` says why, where fewer than 10 background events are flagged.

    Examples:
        >>> background, signal = np.arange(1000) / 1000, np.arange(500, 1500) / 1000
        >>> tpr_at_fpr(background, signal, fpr=0.05)["value"]
        0.55
    """
    signal, own = checked_scores(signal, "signal"), weights or (None, None)
    weight = weighted.checked(own[1], len(signal), "signal")
    cut = threshold_at_fpr(background, fpr, own[0])
    point = {key: cut[key] for key in ("fpr", "threshold", "n_background", "reason")}
    if cut["reason"]:
        return {"value": None, "error": None, **point}
    value, error = _passed(signal >= cut["threshold"], weight)
    return {"value": value, "error": error, **point}


def fpr_at_tpr(
    background: ArrayLike, signal: ArrayLike, tpr: float, weights: Weights | None = None
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
    background, signal = checked_scores(background, "background"), checked_scores(signal, "signal")
    w_b, w_s = weighted.pair(weights, len(background), len(signal))
    rank = int(np.ceil(tpr * len(signal) * (1 - 1e-9)))
    threshold = (
        np.sort(signal)[::-1][rank - 1] if w_s is None else weighted.tightest(signal, w_s, tpr)
    )
    flagged = background >= threshold
    value, error = _passed(flagged, w_b)
    return {
        "value": value,
        "error": error,
        "tpr": _passed(signal >= threshold, w_s)[0],
        "threshold": float(threshold) if np.isfinite(threshold) else None,
        "n_background": int(flagged.sum()),
        "reason": None,
    }
