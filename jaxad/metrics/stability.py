"""Does the rate stay? Thresholds that were fixed on one period, later, and against pile-up.

A rate is a fraction of the events of its bin, so that bins of any size compare. Slopes are those of
ln R, by maximum likelihood: of the n events in a bin k pass, a Poisson number of mean
n exp(a + b x).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.errors import UserError
from jaxad.metrics.binned import edges_of, fractions
from jaxad.metrics.given import Array
from jaxad.metrics.rates import accepted, at_fraction, rates_of
from jaxad.metrics.roc import MIN_BACKGROUND


def log_slope(bins: dict[str, Any]) -> dict[str, Any]:
    """Slope of ln R against an observable, a unit of it, with its error.

    Args:
        bins: of `jaxad.metrics.binned.fractions`, whose "mean", "n" and "n_flagged" are used.

    Returns:
        "slope", "error"; "chi2" and "ndof" of the exponential law; "reason", why there is no slope
        (one bin, fewer than ten events, or all of them at one end), else None.
    """
    x, n, k = (np.asarray(bins[name], np.float64) for name in ("mean", "n", "n_flagged"))
    nothing = {"slope": None, "error": None, "chi2": None, "ndof": None}
    if len(x) < 2:
        return nothing | {"reason": "a slope takes two bins or more, found 1"}
    if k.sum() < MIN_BACKGROUND:
        reason = f"{int(k.sum())} events are flagged, fewer than {MIN_BACKGROUND}"
        return nothing | {"reason": reason}
    if np.count_nonzero(k) == 1 and np.argmax(k) in (np.argmin(x), np.argmax(x)):
        return nothing | {"reason": "all flagged events lie in one bin, the first or the last"}
    centre, spread = np.average(x, weights=n), np.sqrt(np.cov(x, aweights=n, ddof=0))
    design = np.stack([np.ones(len(x)), (x - centre) / spread], 1)
    law = np.array([np.log(k.sum() / n.sum()), 0.0])
    for _ in range(100):
        expected = n * np.exp(design @ law)
        step = np.linalg.solve(design.T @ (expected[:, None] * design), design.T @ (k - expected))
        law += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    expected = n * np.exp(design @ law)
    variance = np.linalg.inv(design.T @ (expected[:, None] * design))[1, 1]
    return {
        "slope": float(law[1] / spread),
        "error": float(np.sqrt(variance) / spread),
        "chi2": float(((k - expected) ** 2 / expected).sum()),
        "ndof": len(x) - 2,
        "reason": None,
    }


def drift(k: tuple[int, int], n: tuple[int, int]) -> dict[str, Any]:
    """|ln(R2 / R1)| of k of n flagged events in two periods, with its statistical error.

    Examples:
        >>> found = drift((100, 200), (10_000, 10_000))
        >>> round(found["value"], 3), round(found["error"], 3)
        (0.693, 0.122)
    """
    if min(k) < MIN_BACKGROUND:
        reason = f"{min(k)} events are flagged in one period, fewer than {MIN_BACKGROUND}"
        return {"value": None, "error": None, "reason": reason}
    value = abs(np.log(k[1] / n[1]) - np.log(k[0] / n[0]))
    error = np.sqrt(sum(1 / a - 1 / b for a, b in zip(k, n, strict=True)))
    return {"value": float(value), "error": float(error), "reason": None}


def recalibrated(first: Array, second: Array, threshold: int) -> dict[str, Any]:
    """An offset of the scores of the second period that restores the rate of the first.

    The offset is found on every other event of the second period, as the integer whose rate there
    is nearest in ln R, and judged on the others.

    Args:
        first, second: integer scores of the periods; threshold: fixed on the first.

    Returns:
        "offset", to be added to the threshold; "before", "after": `drift` of the events that did
        not choose it, against the first period; "n_flagged" of the "n" that judge, after it.

    Raises:
        UserError: fewer than ten events of a period pass.
    """
    chosen_on, judged = second[0::2], second[1::2]
    k = int(np.sum(first >= threshold))
    if k < MIN_BACKGROUND:
        raise UserError(
            f"recalibration: {k} events of the first period pass, fewer than {MIN_BACKGROUND}"
        )
    values = np.unique(chosen_on)
    n = accepted(chosen_on, values)
    distance = np.abs(np.log(n / len(chosen_on)) - np.log(k / len(first)))
    # Between two scores all thresholds accept the same: the offset is the smallest of those.
    best = int(np.argmin(distance))
    low = int(values[best - 1]) + 1 if best else int(values[0])
    offset = int(np.clip(threshold, low, int(values[best]))) - threshold
    if n[best] < MIN_BACKGROUND:
        raise UserError(
            f"recalibration: {n[best]} events of the second period pass, fewer than "
            f"{MIN_BACKGROUND}"
        )
    sizes = len(first), len(judged)
    after = int(np.sum(judged >= threshold + offset))
    return {
        "offset": offset,
        "before": drift((k, int(np.sum(judged >= threshold))), sizes),
        "after": drift((k, after), sizes),
        "n_flagged": after,
        "n": len(judged),
    }


def periods_of(column: ArrayLike, fixed: float | None) -> tuple[Array, Array]:
    """Events of the first period and of the later ones, bool (N,).

    Args:
        column: run or time of each event; fixed: the run that fixes thresholds, by default the
            lower half of the values.

    Raises:
        UserError: one of the two is empty.
    """
    x = np.asarray(column)
    values = np.unique(x)
    first = x == fixed if fixed is not None else x < np.quantile(values, 0.5, method="higher")
    if not first.any() or first.all():
        said = "the lower half of the values" if fixed is None else f"{fixed:g}"
        shown = ", ".join(f"{v:g}" for v in values[:5])
        raise UserError(
            f"period: expected events in {said} and others, found {int(first.sum())} of {len(x)} "
            f"there; values: {shown}{', ...' if len(values) > 5 else ''}"
        )
    return first, ~first


def measure(
    scores: Array,
    fraction: float,
    first: Array,
    columns: dict[str, ArrayLike],
    input_rate: float | None = None,
) -> dict[str, Any]:
    """A threshold fixed on one period, and what it does in the other and in bins of columns.

    Args:
        scores: integers (N,); fraction: wanted in the first period, which `first` (N,) bool says.
        columns: (N,) each: pile-up, time, run.

    Returns:
        "point" (of `jaxad.metrics.rates.at_fraction` on the first period); "periods", "first",
        "second" and "recalibrated" of `jaxad.metrics.rates.rates_of`; "drift"; "recalibrated";
        "columns": name -> "bins" of both periods by "first", "second" and "after" (the offset
        applied, the events that did not choose it), and "slope" of each.

    Raises:
        UserError: the threshold is refused for lack of events.
    """
    point = at_fraction(scores[first], fraction, input_rate)
    if point["reason"]:
        raise UserError(f"first period: {point['reason']}")
    one, two, threshold = scores[first], scores[~first], point["threshold"]
    k, n = ((one >= threshold).sum(), (two >= threshold).sum()), (len(one), len(two))
    again = recalibrated(one, two, threshold)
    found: dict[str, Any] = {
        "point": point,
        "periods": {
            name: rates_of(int(a), b, input_rate)
            for name, a, b in zip(("first", "second"), k, n, strict=True)
        }
        | {"recalibrated": rates_of(again["n_flagged"], again["n"], input_rate)},
        "drift": drift((int(k[0]), int(k[1])), n),
        "recalibrated": again,
        "columns": {},
    }
    later = threshold + again["offset"]
    for name, values in columns.items():
        x = np.asarray(values)
        edges, own = edges_of(x), (x[first], x[~first])
        bins = {
            "first": fractions(one >= threshold, own[0], edges),
            "second": fractions(two >= threshold, own[1], edges),
            "after": fractions(two[1::2] >= later, own[1][1::2], edges),
        }
        slopes = {period: log_slope(entry) for period, entry in bins.items()}
        found["columns"][name] = {"bins": bins, "slope": slopes}
    return found
