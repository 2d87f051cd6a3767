"""Figures of merit from plain arrays of scores: AUC, TPR at FPR, rates, SIC, with errors.

Conventions. A larger score is more anomalous, whatever the labels say; an event is flagged when
`score >= threshold`. FPR and TPR are the flagged fractions of background and signal. Scores are
(N,) arrays, or (M, N) for an ensemble of M members. Thresholds are *conservative*: the loosest one
whose measured FPR does not exceed the target, chosen on the background alone; with tied scores the
FPR reached can be lower, and is returned. NaN scores raise `UserError`; infinite ones are ranked.
References: E. DeLong et al., Biometrics 44 (1988) 837; E. B. Wilson, JASA 22 (1927) 209;
A. Hallin et al., arXiv:2109.00546 (SIC); B. Efron, Ann. Statist. 7 (1979) 1 (bootstrap).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from jaxad.errors import UserError

FPRS = (1e-2, 1e-3, 1e-4, 1e-5)
TPRS = (0.4,)
MIN_BACKGROUND = 10  # flagged background events below which a TPR at an FPR is refused
Array = NDArray[Any]


def level_key(fpr: float) -> str:
    """Name of a working point in metrics.json: 0.01 -> "1e-2", 1.25e-4 -> "1.25e-4"."""
    mantissa, exponent = f"{fpr:.6e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def checked_scores(values: ArrayLike, name: str) -> Array:
    """1D floating scores; refuses empty arrays and NaN."""
    scores = np.asarray(values)
    if scores.ndim != 1 or scores.size == 0:
        raise UserError(f"{name} scores: expected a non-empty (N,) array, found {scores.shape}")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    n_nan = int(np.isnan(scores).sum())
    if n_nan:
        raise UserError(f"{name} scores: expected numbers, found {n_nan} NaN in {scores.size}")
    return scores


def _split(values: ArrayLike | Sequence[ArrayLike], name: str) -> list[Array]:
    """Scores of each ensemble member: (N,) gives one, (M, N) or a list of (N_i,) gives M."""
    rows = values if isinstance(values, np.ndarray) and values.ndim == 2 else [values]
    if isinstance(values, list | tuple) and values and np.ndim(values[0]) == 1:
        rows = values
    return [checked_scores(row, name) for row in rows]


def members(background: ArrayLike, signal: ArrayLike) -> list[tuple[Array, Array]]:
    """(background, signal) scores of each member: one pair for (N,), M pairs for (M, N)."""
    split = _split(background, "background"), _split(signal, "signal")
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


def _counts(background: Array, signal: Array) -> tuple[Array, Array, Array]:
    """Distinct scores in descending order (G,) and the group that each event belongs to."""
    values, group = np.unique(np.concatenate([background, signal]), return_inverse=True)
    group = len(values) - 1 - group
    return values[::-1], group[: len(background)], group[len(background) :]


def roc(background: ArrayLike, signal: ArrayLike) -> tuple[Array, Array, Array]:
    """Every point of the ROC curve: (fpr, tpr, threshold), each (G + 1,) for G distinct scores.

    Starts at (0, 0) with an infinite threshold; equals scikit-learn's `roc_curve` with
    `drop_intermediate=False`.
    """
    background, signal = checked_scores(background, "background"), checked_scores(signal, "signal")
    threshold, group_b, group_s = _counts(background, signal)
    n = len(threshold)
    fpr = np.cumsum(np.bincount(group_b, minlength=n)) / len(background)
    tpr = np.cumsum(np.bincount(group_s, minlength=n)) / len(signal)
    return np.r_[0.0, fpr], np.r_[0.0, tpr], np.r_[np.inf, threshold]


def auc(background: ArrayLike, signal: ArrayLike) -> float:
    """Area under the ROC curve, P(s > b) + P(s = b) / 2: the Mann-Whitney statistic, ties 1/2."""
    return auc_with_error(background, signal)[0]


def auc_with_error(background: ArrayLike, signal: ArrayLike) -> tuple[float, float]:
    """AUC and its standard error after DeLong et al. (1988), by midranks; ties count 1/2.

    sigma^2 = var_s(V10) / N_s + var_b(V01) / N_b, where V10 is the fraction of background below a
    signal event and V01 the fraction of signal above a background event.
    """
    background, signal = checked_scores(background, "background"), checked_scores(signal, "signal")
    n_b, n_s = len(background), len(signal)
    rank = rankdata(np.concatenate([background, signal]))
    v10 = (rank[n_b:] - rankdata(signal)) / n_b
    v01 = 1 - (rank[:n_b] - rankdata(background)) / n_s
    variance = sum(v.var(ddof=1) / len(v) for v in (v10, v01) if len(v) > 1)
    return float(v10.mean()), float(np.sqrt(variance))


# Working points


def _allowed(fpr: float, n_background: ArrayLike) -> Any:
    """Background events that an FPR lets through: floor(fpr N), safe against rounding."""
    if not 0 < fpr < 1:
        raise UserError(f"fpr: expected a number between 0 and 1, found {fpr}")
    return np.floor(fpr * np.asarray(n_background) * (1 + 1e-9)).astype(np.int64)


def threshold_at_fpr(background: ArrayLike, fpr: float) -> dict[str, Any]:
    """Loosest threshold whose measured FPR stays at or below `fpr`.

    With k = floor(fpr N) it lies just above the (k+1)-th largest background score. `low` and
    `high` are the thresholds for k + sqrt(k) and k - sqrt(k) events: its statistical error.
    `fpr` is the one reached and `error` its binomial error. `reason` says why the point is
    refused (fewer than 10 background events flagged, by statistics or by ties), else None.
    """
    scores = np.sort(checked_scores(background, "background"))[::-1]
    n, k = len(scores), int(_allowed(fpr, len(scores)))

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


def threshold_at_rate(background: ArrayLike, rate: float, input_rate: float = 40e6) -> dict:
    """Threshold that accepts `rate` [Hz] of background out of `input_rate` [Hz].

    As `threshold_at_fpr` at rate / input_rate, with the `rate` reached and its `rate_error` [Hz].
    """
    cut = threshold_at_fpr(background, rate / input_rate)
    return cut | {"rate": cut["fpr"] * input_rate, "rate_error": cut["error"] * input_rate}


def tpr_at_fpr(background: ArrayLike, signal: ArrayLike, fpr: float) -> dict[str, Any]:
    """TPR at the conservative threshold for `fpr`, with its binomial error.

    Equals the ROC curve's TPR at its last point with FPR <= fpr: no interpolation. `value` and
    `error` are None, and `reason` says why, where fewer than 10 background events are flagged.
    """
    signal = checked_scores(signal, "signal")
    cut = threshold_at_fpr(background, fpr)
    point = {key: cut[key] for key in ("fpr", "threshold", "n_background", "reason")}
    if cut["reason"]:
        return {"value": None, "error": None, **point}
    n_passed = int((signal >= cut["threshold"]).sum())
    error = float(binomial_error(n_passed, len(signal)))
    return {"value": n_passed / len(signal), "error": error, **point}


def fpr_at_tpr(background: ArrayLike, signal: ArrayLike, tpr: float) -> dict[str, Any]:
    """FPR at the tightest threshold that keeps at least `tpr` of the signal, with binomial error.

    The threshold is the ceil(tpr N_s)-th largest signal score; `tpr` is the one reached.
    """
    if not 0 < tpr <= 1:
        raise UserError(f"tpr: expected a number between 0 and 1, found {tpr}")
    background, signal = checked_scores(background, "background"), checked_scores(signal, "signal")
    rank = int(np.ceil(tpr * len(signal) * (1 - 1e-9)))
    threshold = np.sort(signal)[::-1][rank - 1]
    n_flagged = int((background >= threshold).sum())
    return {
        "value": n_flagged / len(background),
        "error": float(binomial_error(n_flagged, len(background))),
        "tpr": float((signal >= threshold).mean()),
        "threshold": float(threshold) if np.isfinite(threshold) else None,
        "n_background": n_flagged,
        "reason": None,
    }


# Bootstrap and bands


def bootstrap(
    background: ArrayLike,
    signal: ArrayLike,
    *,
    fprs: Sequence[float] = (),
    tprs: Sequence[float] = (),
    n: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """`n` replicas of AUC, TPR at FPR and FPR at TPR, both classes resampled with replacement.

    Blocks of replicas are counted at once on the ranked scores. Thresholds are set anew in every
    replica, so the spread holds the background's statistics too, which the binomial error omits.
    Returns {"auc": (n,), "tpr_at_fpr": {key: (n,)}, "fpr_at_tpr": {key: (n,)}}.
    """
    background, signal = checked_scores(background, "background"), checked_scores(signal, "signal")
    values, *groups = _counts(background, signal)
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
            flagged = crossing(cumulative_b, _allowed(fpr, n_b), "right")
            row[rows] = passed(cumulative_s, flagged) / n_s
        for row, tpr in zip(fpr_rows, tprs, strict=True):
            flagged = crossing(cumulative_s, np.ceil(tpr * n_s * (1 - 1e-9)), "left") + 1
            row[rows] = passed(cumulative_b, flagged) / n_b
    return {
        "auc": aucs,
        "tpr_at_fpr": dict(zip(map(level_key, fprs), tpr_rows, strict=True)),
        "fpr_at_tpr": {f"{tpr:g}": row for tpr, row in zip(tprs, fpr_rows, strict=True)},
    }


def band(values: ArrayLike, axis: int = 0) -> tuple[Array, Array, Array]:
    """Median and 16 % and 84 % quantiles along `axis`: the 68 % band over an ensemble."""
    low, median, high = np.quantile(np.asarray(values, np.float64), (0.16, 0.5, 0.84), axis=axis)
    return median, low, high


def roc_band(
    background: ArrayLike, signal: ArrayLike, grid: ArrayLike
) -> tuple[Array, Array, Array]:
    """Median and 16-84 % band of TPR over the members, on a common grid of FPR (K,).

    Each member's curve is interpolated linearly in FPR. Returns three (K,) arrays.
    """
    curves = [roc(b, s) for b, s in members(background, signal)]
    return band([np.interp(grid, fpr, tpr) for fpr, tpr, _ in curves])


# Significance improvement


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
    """Maximum of `sic_curve`: {max_sic, max_sic_err, max_sic_fpr}, None if the curve is empty."""
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
    lowest = min_sic_fpr(len(_split(background, "background")[0]), max_relative_error)
    if lowest >= 1:
        return None
    grid = np.geomspace(lowest, 1, 2000)
    return float(np.max(roc_band(background, signal, grid)[0] / np.sqrt(grid)))


# Summaries in the form of metrics.json


def _summarise_member(
    background: Array,
    signal: Array,
    fprs: Sequence[float],
    tprs: Sequence[float],
    n_bootstrap: int,
    seed: int,
    sic_error: float,
) -> dict[str, Any]:
    value, error = auc_with_error(background, signal)
    summary = {
        "n_background": len(background),
        "n_signal": len(signal),
        "auc": value,
        "auc_err": error,
        "tpr_at_fpr": {level_key(f): tpr_at_fpr(background, signal, f) for f in fprs},
        "fpr_at_tpr": {f"{t:g}": fpr_at_tpr(background, signal, t) for t in tprs},
        "sic_at_fpr": {level_key(f): sic_at_fpr(background, signal, f, sic_error) for f in fprs},
        **max_sic(background, signal, sic_error),
    }
    if n_bootstrap:
        replicas = bootstrap(background, signal, fprs=fprs, tprs=tprs, n=n_bootstrap, seed=seed)
        summary["auc_bootstrap_err"] = float(replicas["auc"].std(ddof=1))
        for kind in ("tpr_at_fpr", "fpr_at_tpr"):
            for key, point in summary[kind].items():
                spread = float(replicas[kind][key].std(ddof=1))
                point["bootstrap_error"] = None if point["reason"] else spread
    return summary


def _median(values: Sequence[float | None]) -> float | None:
    kept = [v for v in values if v is not None]
    return float(np.median(kept)) if kept else None


def _band(values: Sequence[float | None]) -> list[float] | None:
    kept = [v for v in values if v is not None]
    return [float(v) for v in band(kept)[1:]] if kept else None


def _combine_points(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One working point of all members: medians, with the members' values and their band."""
    numbers = [key for key in points[0] if key != "reason"]
    values = [point["value"] for point in points]
    reasons = [point["reason"] for point in points if point["reason"]]
    reason = f"{len(reasons)} of {len(points)} members: {reasons[0]}" if reasons else None
    combined = {key: _median([point[key] for point in points]) for key in numbers}
    return combined | {"reason": reason, "members": values, "band": _band(values)}


def summarise(
    background: ArrayLike,
    signal: ArrayLike,
    *,
    fprs: Sequence[float] = FPRS,
    tprs: Sequence[float] = TPRS,
    n_bootstrap: int = 0,
    seed: int = 0,
    sic_error: float = 0.2,
) -> dict[str, Any]:
    """All figures of one score for one signal, ready for JSON (None where refused, never NaN).

    One member: auc, auc_err (DeLong), tpr_at_fpr, fpr_at_tpr and sic_at_fpr, each {working point ->
    {value, error, ..., reason}}, max_sic, max_sic_err, max_sic_fpr; with `n_bootstrap` replicas
    also auc_bootstrap_err and bootstrap_error. An ensemble, (M, N): the same keys hold medians over
    the members (errors: the median statistical error), joined by auc_members, auc_band, members and
    band (16 and 84 %), max_sic_members, max_sic_band and max_sic_of_median_curve; max_sic is then
    the median of the maxima.
    """
    pairs = members(background, signal)
    found = [_summarise_member(*p, fprs, tprs, n_bootstrap, seed, sic_error) for p in pairs]
    if len(found) == 1:
        return {"n_members": 1, **found[0]}
    summary: dict[str, Any] = {"n_members": len(found)}
    for key, first in found[0].items():
        values = [member[key] for member in found]
        if isinstance(first, dict):
            summary[key] = {k: _combine_points([v[k] for v in values]) for k in first}
        else:
            summary[key] = first if key.startswith("n_") else _median(values)
            if key in ("auc", "max_sic"):
                summary |= {f"{key}_members": values, f"{key}_band": _band(values)}
    summary["max_sic_of_median_curve"] = max_of_median_sic(background, signal, sic_error)
    return summary


def summarise_all(
    background: Mapping[str, ArrayLike],
    signals: Mapping[str, Mapping[str, ArrayLike]],
    background_baselines: Mapping[str, ArrayLike] | None = None,
    signal_baselines: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The body of metrics.json: signals -> NAME -> {n_events, scores, baselines} -> SCORE -> {...}.

    background: score -> (N,) or (M, N); signals: NAME -> score -> the same; the baselines likewise,
    score by score an observable such as the mass. options: the keywords of `summarise`.
    """

    def compare(reference: Mapping[str, ArrayLike], flagged: Mapping[str, ArrayLike]) -> dict:
        missing = set(reference) ^ set(flagged)
        if missing:
            raise UserError(f"scores: {sorted(missing)} not given for both background and signal")
        return {key: summarise(reference[key], flagged[key], **options) for key in reference}

    result: dict[str, Any] = {}
    for name, scores in signals.items():
        baselines = compare(background_baselines or {}, (signal_baselines or {}).get(name, {}))
        result[name] = {
            "n_events": int(np.shape(next(iter(scores.values())))[-1]),
            "scores": compare(background, scores),
            "baselines": baselines,
        }
    n_background = int(np.shape(next(iter(background.values())))[-1])
    return {"n_background": n_background, "signals": result}
