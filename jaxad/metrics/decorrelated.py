"""DecADe (arXiv:2508.10224): thresholds that follow trigger observables; the score stays as it is.

A single threshold on a score that grows with HT flags events of high HT. Quantile regression of the
score on the observables gives tau(observables) at the quantile 1 - FPR, and s > tau accepts the
same fraction of background whatever their values. tau is fitted on background that trained nothing,
and judged on other events: on its own ones any regression looks flat.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.errors import UserError
from jaxad.metrics.binned import edges_of, fractions
from jaxad.metrics.given import Array, checked_scores, checked_values
from jaxad.metrics.ranked import binomial_error
from jaxad.metrics.roc import MIN_BACKGROUND, allowed, level_key, threshold_at_fpr

Columns = Mapping[str, ArrayLike]  # observable -> (N,)
N_FOLDS = 4
TREES = {"max_leaf_nodes": 8, "max_iter": 50, "early_stopping": False}


def stacked(columns: Columns, n: int) -> Array:
    """The observables as float64 (N, K), in their order.

    Raises:
        UserError: none; or one of another length, or with NaN.
    """
    if not columns:
        raise UserError("observables: expected one or more to follow, found none")
    columns_of = [checked_values(x, name, (n,)) for name, x in columns.items()]
    return np.stack(columns_of, 1, dtype=np.float64)


def quantile_trees(
    scores: ArrayLike, x: Array, fpr: float, seed: int = 0, weight: Array | None = None
) -> list[Any]:
    """Four ensembles of boosted trees (scikit-learn's, by histograms), whose mean is tau.

    With the pinball loss at the quantile 1 - fpr, each without another quarter of the events. A
    leaf holds MIN_BACKGROUND / fpr events or more, so that it knows its own quantile.

    Args:
        scores: (N,) of background that trained nothing.
        x: observables (N, K).
        weight: (N,), 0 and above; None: each event counts once.

    Raises:
        UserError: fewer than 10 of the events above the quantile.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    y = checked_scores(scores, "background").astype(np.float64)
    k = int(allowed(fpr, len(y)))
    if not np.isfinite(y).all():
        raise UserError("background scores: expected finite ones to regress, found infinities")
    if k < MIN_BACKGROUND:
        raise UserError(
            f"FPR {level_key(fpr)} of {len(y)} background "
            f"events leaves {k}, fewer than {MIN_BACKGROUND}: give more events or a larger FPR"
        )
    settings = TREES | {"min_samples_leaf": int(np.ceil(MIN_BACKGROUND / fpr))}
    fold = np.random.default_rng(seed).permutation(len(y)) % N_FOLDS
    return [
        HistGradientBoostingRegressor(
            loss="quantile", quantile=1 - fpr, random_state=seed, **settings
        ).fit(x[kept], y[kept], None if weight is None else weight[kept])
        for kept in (fold != i for i in range(N_FOLDS))
    ]


def threshold_of(
    scores: ArrayLike, columns: Columns, fpr: float, seed: int = 0
) -> Callable[[Columns], Array]:
    """tau: a function of observables, columns of (N,) as given here -> thresholds (N,).

    The mean of `quantile_trees`.

    Args:
        scores: (N,) of background that trained nothing.

    Raises:
        UserError: as `quantile_trees` and `stacked`.
    """
    trees = quantile_trees(scores, stacked(columns, len(np.asarray(scores))), fpr, seed)
    names = tuple(columns)

    def tau(columns: Columns) -> Array:
        n = len(np.asarray(columns[names[0]]))
        rows = stacked({name: columns[name] for name in names}, n)
        return np.mean([one.predict(rows) for one in trees], axis=0)

    return tau


def halves(n: int) -> tuple[slice, slice]:
    """Rows to fit on and rows to judge on: every other one, so that no period is in one alone."""
    return slice(0, n, 2), slice(1, n, 2)


def measure(
    background: tuple[ArrayLike, Columns],
    signals: Mapping[str, tuple[ArrayLike, Columns]],
    fpr: float,
) -> dict[str, Any]:
    """One threshold against thresholds that follow the observables, at the same FPR.

    Both are set on one half of the background's rows and judged on the other. A cut of FPR `fpr`
    accepts; the first observable is that in whose deciles the signals' efficiencies are given, and
    "low" are the events below the background's median of it.

    Args:
        background: scores (N,) that trained nothing, and their observables.
        signals: name -> the same.

    Returns:
        "fpr", "n_fitted", "n_judged", "observables" (names); "single" and "following", each with
        "rate" (the flagged fraction of the background judged), "error", "flatness" (observable ->
        see `jaxad.metrics.binned.fractions`) and "signals" (name -> "all", "low": {"value",
        "error", "n"}, and "bins", of the first observable); "low_below", the median.

    Raises:
        UserError: fewer than 10 events above the threshold in the half that sets it.
    """
    scores, columns = checked_scores(background[0], "background"), background[1]
    fitted, judged = halves(len(scores))
    own = {name: np.asarray(x)[fitted] for name, x in columns.items()}
    tau = threshold_of(scores[fitted], own, fpr)
    cut = threshold_at_fpr(scores[fitted], fpr)
    if cut["reason"]:
        raise UserError(cut["reason"])
    others = {name: np.asarray(x)[judged] for name, x in columns.items()}
    first = next(iter(columns))
    median = float(np.median(others[first]))
    found: dict[str, Any] = {"fpr": fpr, "observables": list(columns), "low_below": median}
    found |= {"n_fitted": len(scores[fitted]), "n_judged": len(scores[judged])}
    accepts = {
        "single": lambda s, _: s >= cut["threshold"],
        "following": lambda s, x: s > tau(x),
    }
    edges = {name: edges_of(x) for name, x in others.items()}
    for kind, accept in accepts.items():
        flagged = accept(scores[judged], others)
        found[kind] = {
            "rate": float(flagged.mean()),
            "error": float(binomial_error(flagged.sum(), len(flagged))),
            "flatness": {name: fractions(flagged, x, edges[name]) for name, x in others.items()},
            "signals": {
                name: _efficiencies(accept(np.asarray(s), x), x[first], edges[first], median)
                for name, (s, x) in signals.items()
            },
        }
    return found


def _efficiencies(passed: Array, x: ArrayLike, edges: Array, median: float) -> dict[str, Any]:
    def efficiency(chosen: Array) -> dict[str, Any]:
        n, k = int(chosen.sum()), int(passed[chosen].sum())
        if not n:
            return {"value": None, "error": None, "n": 0}
        return {"value": k / n, "error": float(binomial_error(k, n)), "n": n}

    return {
        "all": efficiency(np.ones(len(passed), bool)),
        "low": efficiency(np.asarray(x) < median),
        "bins": fractions(passed, x, edges),
    }
