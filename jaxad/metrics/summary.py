"""All figures of merit of scores, in the form of metrics.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.errors import UserError
from jaxad.metrics.bands import band, bootstrap
from jaxad.metrics.ensembles import Each, Members, of_members, pairs
from jaxad.metrics.given import Array, Weights
from jaxad.metrics.ranked import Ranked
from jaxad.metrics.roc import auc_with_error, fpr_at_tpr, level_key, tpr_at_fpr
from jaxad.metrics.sic import max_of_median_sic, max_sic, sic_at_fpr

FPRS = (1e-2, 1e-3, 1e-4, 1e-5)
TPRS = (0.4,)


def _summarise_member(
    background: Ranked,
    signal: Ranked,
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
        summary["auc_bootstrap_err"] = _spread(replicas["auc"])
        for kind in ("tpr_at_fpr", "fpr_at_tpr"):
            for key, point in summary[kind].items():
                spread = _spread(replicas[kind][key])
                point["bootstrap_error"] = None if point["reason"] else spread
    return summary


def _spread(replicas: Array) -> float | None:
    """Standard deviation; None where most replicas of weighted events are none."""
    kept = replicas[np.isfinite(replicas)]
    return float(kept.std(ddof=1)) if 2 * len(kept) > len(replicas) else None


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
    background: Members,
    signal: Members,
    *,
    fprs: Sequence[float] = FPRS,
    tprs: Sequence[float] = TPRS,
    n_bootstrap: int = 0,
    seed: int = 0,
    sic_error: float = 0.2,
    weights: Weights | None = None,
) -> dict[str, Any]:
    """All figures of one score for one signal, ready for JSON (None where refused, never NaN).

    One member: auc, auc_err (DeLong), tpr_at_fpr, fpr_at_tpr and sic_at_fpr, each {working point ->
    {value, error, ..., reason}}, max_sic, max_sic_err, max_sic_fpr; with `n_bootstrap` replicas
    also auc_bootstrap_err and bootstrap_error. An ensemble, (M, N): the same keys hold medians over
    the members (errors: the median statistical error), joined by auc_members, auc_band, members and
    band (16 and 84 %), max_sic_members, max_sic_band and max_sic_of_median_curve; max_sic is then
    the median of the maxima. weights: of the events of both classes, see `jaxad.metrics.weighted`.

    Examples:
        >>> summary = summarise(np.arange(1000) / 1000, np.arange(500, 1500) / 1000)
        >>> round(summary["auc"], 3), summary["tpr_at_fpr"]["1e-2"]["value"]
        (0.875, 0.51)
    """
    own = weights or (None, None)
    b, s = of_members(background, own[0], "background"), of_members(signal, own[1], "signal")
    every = pairs(b, s)
    found = [_summarise_member(*p, fprs, tprs, n_bootstrap, seed, sic_error) for p in every]
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
    summary["max_sic_of_median_curve"] = max_of_median_sic(b, s, sic_error)
    return summary


def summarise_all(
    background: Mapping[str, ArrayLike],
    signals: Mapping[str, Mapping[str, ArrayLike]],
    background_baselines: Mapping[str, ArrayLike] | None = None,
    signal_baselines: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    background_weight: ArrayLike | None = None,
    signal_weights: Mapping[str, ArrayLike] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The body of metrics.json: signals -> NAME -> {n_events, scores, baselines} -> SCORE -> {...}.

    background: score -> (N,) or (M, N); signals: NAME -> score -> the same; the baselines likewise,
    score by score an observable such as the mass. background_weight (N,), signal_weights NAME ->
    (N,): of the events. options: the other keywords of `summarise`.
    """

    def compare(
        reference: Mapping[str, Each[Ranked]], flagged: Mapping[str, ArrayLike], name: str
    ) -> dict:
        missing = set(reference) ^ set(flagged)
        if missing:
            raise UserError(f"scores: {sorted(missing)} not given for both background and signal")
        weights = background_weight, (signal_weights or {}).get(name)
        return {
            key: summarise(reference[key], flagged[key], weights=weights, **options)
            for key in reference
        }

    def of_background(scores: Mapping[str, Members]) -> dict[str, Each[Ranked]]:
        """Sorted once for all signals, when the first asks for them."""
        return {k: of_members(s, background_weight, "background") for k, s in scores.items()}

    ranks, baseline_ranks = of_background(background), of_background(background_baselines or {})
    result: dict[str, Any] = {}
    for name, scores in signals.items():
        baselines = compare(baseline_ranks, (signal_baselines or {}).get(name, {}), name)
        result[name] = {
            "n_events": int(np.shape(next(iter(scores.values())))[-1]),
            "scores": compare(ranks, scores, name),
            "baselines": baselines,
        }
    n_background = int(np.shape(next(iter(background.values())))[-1])
    return {"n_background": n_background, "signals": result}
