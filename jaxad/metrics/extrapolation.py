"""Beyond the reach of toys: from nominal to calibrated significance by a line through their tail.

In z, not in p: calibrated z = a + c z_nominal, fitted to the toys with empirical p from 0.1 down to
8 / B (a line in log p: arXiv:2512.13787). Beside it the Gaussian of the toys' mean and width, which
is optimistic where the tail is heavy, and an exponential of the excesses over their 95 % quantile,
which is pessimistic. It is an extrapolation and must be called so.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from jaxad.errors import UserError
from jaxad.metrics import Array

START, FEWEST = 0.1, 8
"""The line's range: from this empirical p down to this number of toys."""
HIGHEST, MANY = 4.0, 10_000
"""No number above HIGHEST sigma from fewer than MANY toys."""


def extrapolate(z_observed: float, z_toys: ArrayLike) -> dict[str, Any]:
    """Calibrated significance of an observed nominal one that hardly any toy exceeds.

    z_observed: nominal; z_toys: (B,) nominal significances of the toys.
    Returns {"z", "p" (of the line), "error" (half of what "z", "gaussian" and "exponential" span),
    "fit_error" (of the line, statistical), "intercept", "slope", "gaussian", "exponential" (all in
    sigma), "check": {"predicted", "found", "error", "miss"} (the line refitted without the lowest
    decade of p, asked for the deepest point; miss in its errors), "smallest_p", 1 / (1 + B), the
    least that the toys alone give, "n_toys", "reason"}.
    Refused, "z" and "p" being None and "reason" saying why: if that check misses by more than 2
    errors; if there are too few toys to make it; if the line gives more than 4 sigma with fewer
    than 10,000 toys ("gaussian" and "exponential" are then None above 4 too); if p is above 0.1,
    where toys suffice.

    Raises:
        UserError: a value is not finite, or there are no toys.
    """
    z = np.sort(np.asarray(z_toys, np.float64))[::-1]
    observed = float(z_observed)
    if z.ndim != 1 or not z.size or not np.isfinite(z).all() or not np.isfinite(observed):
        raise UserError("z_toys: expected (B,) finite significances, and one observed")
    result = dict.fromkeys(
        ("z", "p", "error", "fit_error", "intercept", "slope", "gaussian", "exponential", "check")
    )
    result |= {"smallest_p": 1 / (1 + len(z)), "n_toys": len(z)}
    nominal, counts = _points(z)
    upper = counts >= 10 * counts[0] if len(counts) else counts
    if upper.sum() < 3:
        reason = f"{len(z)} toys have too few distinct values in their tail to check the line"
        return result | {"reason": reason}
    if observed < nominal[-1]:
        return result | {"reason": f"p is above {START:g}: the toys alone suffice"}
    empirical = -ndtri(counts / len(z))
    covariance = _covariance(counts, empirical, len(z))
    line, fit = _line(nominal, empirical, counts)
    point = np.array([1.0, observed])
    numbers = {
        "line": float(point @ line),
        "gaussian": float((observed - z.mean()) / z.std(ddof=1)),
        "exponential": _exponential(observed, z),
    }
    check = _check(nominal, empirical, counts, covariance, upper)
    result |= {
        "error": (max(numbers.values()) - min(numbers.values())) / 2,
        "fit_error": float(np.sqrt(point @ fit @ covariance @ fit.T @ point)),
        "intercept": float(line[0]),
        "slope": float(line[1]),
        "check": check,
    }
    few = len(z) < MANY
    for name in ("gaussian", "exponential"):
        result[name] = None if few and numbers[name] > HIGHEST else numbers[name]
    result["reason"] = None
    if abs(check["miss"]) > 2:
        reason = (
            f"without its lowest decade the line predicts {check['predicted']:.2f} sigma where the "
            f"toys give {check['found']:.2f} +- {check['error']:.2f}"
        )
        return result | {"reason": reason}
    if few and numbers["line"] > HIGHEST:
        reason = f"above {HIGHEST:g} sigma: expected at least {MANY:,} toys, found {len(z):,}"
        return result | {"reason": reason}
    return result | {"z": numbers["line"], "p": float(ndtr(-numbers["line"]))}


def _points(z: Array) -> tuple[Array, Array]:
    """Distinct values (K,) of the sorted toys in the line's range, and the toys at or above each.

    Deepest first; thinned to about ten a factor of e in the count, else the many at 0.1 would be
    all that a fit sees.
    """
    last = np.append(np.flatnonzero(np.diff(z)), len(z) - 1)
    counts = last + 1
    counts = counts[(counts >= FEWEST) & (counts <= START * len(z))]
    if len(counts) > 3:
        targets = np.geomspace(counts[0], counts[-1], int(10 * np.log(counts[-1] / counts[0])) + 2)
        counts = counts[np.unique(np.searchsorted(counts, targets * (1 - 1e-9)))]
    return z[counts - 1], counts


def _covariance(counts: Array, empirical: Array, n: int) -> Array:
    """Of the empirical z (K, K): nested binomial counts, through dz = dp / density(z)."""
    slope = counts / n / (np.exp(-(empirical**2) / 2) / np.sqrt(2 * np.pi))
    return np.outer(slope, slope) * (1 / np.maximum.outer(counts, counts) - 1 / n)


def _line(nominal: Array, empirical: Array, counts: Array) -> tuple[Array, Array]:
    """(a, c) of empirical z = a + c nominal z, weighted by counts, and the matrix (2, K) for it."""
    design = np.stack([np.ones_like(nominal), nominal], 1)
    weighted = design * counts[:, None]
    fit = np.linalg.solve(design.T @ weighted, weighted.T)
    return fit @ empirical, fit


def _check(
    nominal: Array, empirical: Array, counts: Array, covariance: Array, upper: Array
) -> dict[str, float]:
    """The line of the points `upper` asked for the deepest point, both with their common errors."""
    line, fit = _line(nominal[upper], empirical[upper], counts[upper])
    deepest = np.array([1.0, nominal[0]])
    difference = np.zeros(len(counts))
    difference[0] = 1.0
    difference[upper] -= deepest @ fit
    error = float(np.sqrt(difference @ covariance @ difference))
    predicted = float(deepest @ line)
    return {
        "predicted": predicted,
        "found": float(empirical[0]),
        "error": error,
        "miss": (float(empirical[0]) - predicted) / error,
    }


def _exponential(observed: float, z: Array) -> float:
    """z of an exponential law of the excesses over the 95 % quantile of the toys z."""
    threshold = float(np.quantile(z, 0.95))
    tail = z[z > threshold]
    if not tail.size or observed <= threshold:
        return float(-ndtri(min((z >= observed).mean(), 1 - 1 / len(z))))
    p = tail.size / len(z) * np.exp(-(observed - threshold) / (tail.mean() - threshold))
    return float(-ndtri(p))
