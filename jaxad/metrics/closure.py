"""Closure in fake windows: how wrong the template is where there is no signal, and what follows.

A classifier looks for the faults of its template, so the bias is positive and grows with the cut
(arXiv:2411.00085). Windows in the sidebands, blinded as the true one is, measure it: the count is
corrected by their mean and widened by their spread.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.errors import UserError
from jaxad.metrics import Array, checked_values

LARGEST_DELTA = 1.0
SMALLEST_P = 1e-3
"""Bounds of a claim: on |mean delta|, and on the chi2 probability that the windows agree."""
LEAST = 0.5
"""No correction halves an expectation or more: so few events pass in false windows that their mean
says nothing."""


def summary(
    n_i: ArrayLike,
    b_i: ArrayLike,
    r_i: ArrayLike,
    width: float = 1.0,
    efficiency: float = 0.0,
) -> dict[str, Any]:
    """Mean and spread of delta = n / b - 1 over W fake windows, at one cut.

    n_i: (W,) events that pass; b_i: (W,) expected from the templates, r_i: (W,) template rows that
    set the cuts. width: phi, that of the toys' pulls (`counting.pull`), which the folds widen: the
    statistical variance of a delta is v = phi^2 (1/b + 1/r), its mean over windows. efficiency: eps
    of the cut where b is a share of the window's own events: v is then 1 - eps of that, the counts
    being binomial; 0 for a fitted normalisation.
    sigma^2 = max(s^2 - v, 0) + max(s^2, v) / W, s^2 the sample variance of delta: what the windows
    differ by beyond statistics, and the error of their mean.
    chi2 is about the weighted mean (ndof W - 1), with the counts that this mean predicts, since the
    mean itself is corrected. "relative" is sigma / (1 + mean): the `sigma_closure` of a background
    already multiplied by 1 + mean. "refused" says why no discovery may be claimed: |mean| above 1,
    or a chi2 probability below 1e-3; else None.
    Returns {"delta": list, "delta_error": list, "mean", "sigma", "relative", "spread", "chi2",
    "ndof", "p_value", "width", "refused"}.

    Raises:
        UserError: fewer than two windows, shapes that differ, or b, r or width not positive.

    Examples:
        >>> found = summary([110, 104, 108, 99, 112, 106], [100] * 6, [1600] * 6)
        >>> print(round(found["mean"], 3), round(found["sigma"], 3), found["refused"])
        0.065 0.042 None
    """
    n = checked_values(n_i, "n_i")
    b, r = (checked_values(v, name, n.shape) for v, name in ((b_i, "b_i"), (r_i, "r_i")))
    n_windows = len(n)
    if n_windows < 2:
        raise UserError(f"n_i: expected at least 2 fake windows, found {n_windows}")
    if not 0 <= efficiency < 1:
        raise UserError(f"efficiency: expected a number from 0 to below 1, found {efficiency}")
    if n.min() < 0 or b.min() <= 0 or r.min() <= 0 or not width > 0:
        raise UserError(
            f"fake windows: expected n >= 0 and positive b, r and width, found n from {n.min():g}, "
            f"b from {b.min():g}, r from {r.min():g}, width {width:g}"
        )
    from scipy.special import chdtrc

    delta = n / b - 1
    phi2 = width**2 * (1 - efficiency)
    v = phi2 * (1 / b + 1 / r)
    mean, spread2 = float(delta.mean()), float(delta.var(ddof=1))
    sigma2 = max(spread2 - v.mean(), 0.0) + max(spread2, v.mean()) / n_windows
    sigma = float(np.sqrt(sigma2))
    chi2 = _chi2(n, b, r, phi2)
    p_value = float(chdtrc(n_windows - 1, chi2))
    reasons = []
    if abs(mean) > LARGEST_DELTA:
        reasons.append(f"the template is off by {mean:+.0%} in the false windows")
    if p_value < SMALLEST_P:
        reasons.append(f"the false windows disagree, chi2 = {chi2:.1f} with p = {p_value:.1e}")
    return {
        "delta": delta.tolist(),
        "delta_error": np.sqrt(v).tolist(),
        "mean": mean,
        "sigma": sigma,
        "relative": sigma / (1 + mean) if mean > -1 else None,
        "spread": float(np.sqrt(spread2)),
        "chi2": chi2,
        "ndof": n_windows - 1,
        "p_value": p_value,
        "width": float(width),
        "refused": "; ".join(reasons) or None,
    }


def correction(found: dict[str, Any] | None) -> tuple[float, float]:
    """delta and sigma_closure of a `summary`: b becomes b (1 + delta), with that relative error.

    delta is the mean, at least -`LEAST`. Both are 0 without a summary.

    Examples:
        >>> correction({"mean": 0.25, "sigma": 0.05})
        (0.25, 0.04)
    """
    if found is None:
        return 0.0, 0.0
    delta = max(found["mean"], -LEAST)
    return delta, found["sigma"] / (1 + delta)


def _chi2(n: Array, b: Array, r: Array, phi2: float) -> float:
    """Of n / b about its weighted mean m, the variance being phi2 (m / b + m^2 / r)."""
    ratio, m = n / b, max(float(n.sum() / b.sum()), 1e-9)
    variance = phi2 * (m / b + m**2 / r)
    centre = (ratio / variance).sum() / (1 / variance).sum()
    return float(((ratio - centre) ** 2 / variance).sum())


def thinned(n: ArrayLike, share: ArrayLike, rng: np.random.Generator) -> Array:
    """Binomial(n, share) of counts n >= 0, int64; both broadcast.

    Of weighted counts, which are no whole numbers, whole events are thinned, and the rest of one
    keeps its share: float64 of the same mean.
    """
    n = np.asarray(n)
    whole = np.floor(n).astype(np.int64)
    kept = rng.binomial(whole, share)
    return kept if np.issubdtype(n.dtype, np.integer) else kept + (n - whole) * share


def disturb(
    n_toys: ArrayLike, b: float, closure: dict[str, Any], rng: np.random.Generator
) -> Array:
    """Counts of toys with the template's flaw put in: of the shape of n_toys (B,).

    n_toys: events that pass, with data = template, whole numbers or sums of weights over
    `counting.weight_scale`; b: their expectation, uncorrected; closure: of
    `summary`, its width being the toys' own. Each toy draws c ~ N(mean, sigma): Poisson(c b) more
    events if positive, each event dropped with probability -c if negative (at most all). The toys
    are then corrected by the same mean as the data, and their p-value is averaged over the flaw.
    Generators of one seed move the flaws of several cuts together, as nested cuts do.

    Raises:
        UserError: b is not positive, or a count is negative.
    """
    n = np.asarray(n_toys)
    if not b > 0 or (n < 0).any():
        raise UserError("disturb: expected a positive b and counts that are not negative")
    c = np.clip(closure["mean"] + closure["sigma"] * rng.standard_normal(n.shape), -1.0, None)
    return thinned(n, 1 + np.minimum(c, 0.0), rng) + rng.poisson(np.maximum(c, 0.0) * b)
