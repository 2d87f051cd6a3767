"""From the numbers of pseudo-experiments ("toys") to p-values that mean what they say.

The observed labelling is one more toy of the same program, so its rank among them is its p-value,
whatever the statistic (P. Good, "Permutation Tests", 1994). Over windows and cuts the smallest of
the local p-values is ranked in the same way (min-p: P. Westfall and S. Young, "Resampling-Based
Multiple Testing", 1993). Errors on exceedance counts are of Clopper and Pearson (Biometrika 26
(1934) 404) at 68 %. All in double precision; B is the number of toys.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincinv, kolmogorov, ndtr, ndtri

from jaxad.errors import UserError
from jaxad.metrics import Array
from jaxad.metrics.extrapolation import extrapolate

__all__ = [
    "FEW_EXCEEDANCES",
    "clopper_pearson",
    "combine",
    "coverage",
    "extrapolate",
    "global_p",
    "local_p",
    "merge_e_values",
    "merge_median",
]

FEW_EXCEEDANCES = 10
"""Below as many toys beyond the observed one, a p-value from toys is an upper bound."""


def clopper_pearson(count: ArrayLike, n: ArrayLike, level: float = 0.68) -> tuple[Array, Array]:
    """Central interval of a binomial rate from `count` of `n`, both broadcast.

    Examples:
        >>> low, high = clopper_pearson(10, 1000)
        >>> print(low.round(4), high.round(4))
        0.0069 0.0142
    """
    count, n = np.broadcast_arrays(np.asarray(count, np.float64), np.asarray(n, np.float64))
    tail = (1 - level) / 2
    low = betaincinv(np.maximum(count, 0.5), n - count + 1, tail)
    high = betaincinv(count + 1, np.maximum(n - count, 0.5), 1 - tail)
    return np.where(count > 0, low, 0.0), np.where(count < n, high, 1.0)


def _sigma(p: float) -> float | None:
    """One-sided significance of p; None at 0 and 1, which have none."""
    return float(-ndtri(p)) if 0 < p < 1 else None


def _in_sigma(p: float, low: float, high: float) -> dict[str, float | None]:
    """p and its interval, and the same in sigma."""
    found = {"p": p, "low": low, "high": high}
    return found | {"z": _sigma(p), "z_low": _sigma(high), "z_high": _sigma(low)}


def _ranked(exceedances: int, n_toys: int) -> dict[str, Any]:
    """p = (1 + k) / (1 + B) with its error, in p and in sigma."""
    p = (1 + exceedances) / (1 + n_toys)
    low, high = (float(v) for v in clopper_pearson(exceedances, n_toys))
    return _in_sigma(p, low, high) | {
        "exceedances": exceedances,
        "n_toys": n_toys,
        "is_bound": exceedances < FEW_EXCEEDANCES,
    }


def local_p(
    z_observed: float, z_toys: ArrayLike, rng: np.random.Generator | None = None
) -> dict[str, Any]:
    """p-value of one cut by its rank among toys, (1 + #{z_t >= z_0}) / (1 + B).

    z_observed: the statistic of the data; z_toys: (B,) of the toys, the observed one not among
    them. Ties count against the claim; with `rng` they are broken at random, which makes p uniform
    where counts are few (for tests of calibration, not for claims).
    Returns {"p", "low", "high" (68 % interval of the rate), "z", "z_low", "z_high" (the same in
    sigma, None where there is none: p of 0 or 1), "exceedances", "n_toys", "is_bound"}. With fewer
    than 10 exceedances p is an upper bound: `extrapolate` gives a second number.

    Raises:
        UserError: there are no toys, or a value is not finite.

    Examples:
        >>> found = local_p(2.0, [-1.0, 0.5, 2.0, 2.5])
        >>> print(found["p"], found["exceedances"], found["is_bound"])
        0.6 2 True
    """
    z = _finite(z_toys, "z_toys", 1)
    observed = float(_finite(z_observed, "z_observed", 0))
    exceedances = int((z >= observed).sum())
    if rng is not None:
        ties = int((z == observed).sum())
        exceedances -= int(rng.integers(0, ties + 1))
    return _ranked(exceedances, len(z))


def _finite(values: ArrayLike, name: str, ndim: int) -> Array:
    """float64 with `ndim` axes, all finite, none of them empty."""
    array = np.asarray(values, np.float64)
    if array.ndim != ndim or not array.size:
        raise UserError(f"{name}: expected {ndim} axes with entries, found shape {array.shape}")
    if not np.isfinite(array).all():
        raise UserError(f"{name}: expected finite numbers, found {array[~np.isfinite(array)][0]}")
    return array


def global_p(z_observed: ArrayLike, z_toys: ArrayLike) -> dict[str, Any]:
    """Look-elsewhere over windows and cuts by min-p: the rank of the smallest local p-value.

    z_observed: (W, E) statistics of the data in W windows at E cuts; z_toys: (B, W, E), where toy t
    is one pseudo-experiment of all windows. T = min over windows and cuts of the local p, for the
    data and each toy among the same B + 1; p = (1 + #{T_t <= T_0}) / (1 + B). Correlations are
    taken as they are; no other trials factor applies. Where windows are permuted separately their
    correlation is lost: call this for each window (W = 1), then `combine`.
    Returns the entries of `local_p`, and {"best": (window, cut), "p_local" there, "method"}. Toys
    that are the highest of their window and cut all share the smallest T, about W E of them: p is
    a bound ("is_bound") below 10 exceedances of its own or of the best local p.

    Raises:
        UserError: shapes do not fit, or a value is not finite.

    Examples:
        >>> toys = np.random.default_rng(0).normal(size=(999, 5, 3))
        >>> observed = np.zeros((5, 3))
        >>> observed[2, 1] = 3.5
        >>> found = global_p(observed, toys)
        >>> print(found["best"], found["p_local"], found["p"])
        (2, 1) 0.002 0.029
    """
    observed = _finite(z_observed, "z_observed", 2)
    z = _finite(z_toys, "z_toys", 3)
    if z.shape[1:] != observed.shape:
        raise UserError(f"z_toys: expected shape (B, {observed.shape}), found {z.shape}")
    every = np.concatenate([observed[None], z]).reshape(len(z) + 1, -1)
    p = np.empty(every.shape)
    for column, ranked in zip(every.T, p.T, strict=True):
        ranked[:] = (len(every) - np.searchsorted(np.sort(column), column, "left")) / len(every)
    smallest = p.min(1)
    window, cut = np.unravel_index(int(np.argmin(p[0])), observed.shape)
    result = _ranked(int((smallest[1:] <= smallest[0]).sum()), len(z))
    local = float(smallest[0])
    result["is_bound"] |= round(local * len(every)) - 1 < FEW_EXCEEDANCES
    return result | {"best": (int(window), int(cut)), "p_local": local, "method": "min-p"}


def combine(windows: Sequence[dict[str, Any]], method: str = "bonferroni") -> dict[str, Any]:
    """Global p of windows whose toys were drawn separately, from their `global_p` or `local_p`.

    method: "bonferroni", min(1, W p), valid always; "sidak", 1 - (1 - p)^W, valid for independent
    or positively dependent windows (Z. Sidak, JASA 62 (1967) 626). The interval of the best window
    goes through the same formula; that the best is chosen is in the formula, not in the interval.

    Examples:
        >>> two = [local_p(z, np.linspace(-3, 3, 999)) for z in (2.0, 2.9)]
        >>> found = combine(two)
        >>> print(found["best"], round(found["p"], 3), found["trials"])
        1 0.036 2
    """
    if not windows:
        raise UserError("windows: expected at least one p-value, found none")
    formulas = {
        "bonferroni": lambda p: min(1.0, len(windows) * p),
        "sidak": lambda p: float(-np.expm1(len(windows) * np.log1p(-p))) if p < 1 else 1.0,
    }
    if method not in formulas:
        raise UserError(f"method: expected bonferroni or sidak, found {method}")
    best = int(np.argmin([window["p"] for window in windows]))
    chosen = windows[best]
    p, low, high = (formulas[method](chosen[key]) for key in ("p", "low", "high"))
    return _in_sigma(p, low, high) | {
        "best": best,
        "trials": len(windows),
        "is_bound": chosen["is_bound"],
        "method": method,
    }


def coverage(z_toys: ArrayLike, pulls: ArrayLike | None = None) -> dict[str, Any]:
    """Does the nominal significance mean what it says? Its law over toys of one cut.

    z_toys: (B,) nominal significances without a signal; pulls: (B,) for mean and width, those of
    `counting.pull` where counts are few, by default z_toys.
    Returns {"nominal": (K,) p-values from 0.5 down to 1/B, "empirical": the share of toys at or
    below each, "low", "high": its 68 % interval, "band_low", "band_high": 95 % of what B toys of an
    honest p would give; "rates": {"2", "3": {"rate", "low", "high", "nominal"}} beyond 2 and 3
    sigma; "mean", "mean_error", "width", "width_error" of the pulls; "ks": p-value that the even
    toys have the law of the odd ones (the toys calibrated by one another); "n_toys"}. Lists and
    floats, as JSON takes them.

    Raises:
        UserError: fewer than 20 toys, or a value that is not finite.
    """
    z = _finite(z_toys, "z_toys", 1)
    pulls = z if pulls is None else _finite(pulls, "pulls", 1)
    n = len(z)
    if n < 20:
        raise UserError(f"z_toys: expected at least 20 toys for a coverage, found {n}")
    nominal = np.geomspace(0.5, 1 / n, 40)
    count = np.searchsorted(np.sort(ndtr(-z)), nominal, "right")
    low, high = clopper_pearson(count, n)
    band_low, band_high = _binomial_band(nominal, n)
    rates = {}
    for sigma in (2, 3):
        beyond = int((z >= sigma).sum())
        ends = (float(v) for v in clopper_pearson(beyond, n))
        entry = dict(zip(("low", "high"), ends, strict=True))
        rates[str(sigma)] = {"rate": beyond / n, "nominal": float(ndtr(-sigma))} | entry
    width = float(pulls.std(ddof=1))
    kurtosis = float(((pulls - pulls.mean()) ** 4).mean() / width**4) if width else 3.0
    return {
        "nominal": nominal.tolist(),
        "empirical": (count / n).tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "band_low": band_low.tolist(),
        "band_high": band_high.tolist(),
        "rates": rates,
        "mean": float(pulls.mean()),
        "mean_error": width / n**0.5,
        "width": width,
        "width_error": width * (max(kurtosis - 1, 0) / (4 * n)) ** 0.5,
        "ks": _same_law(z[::2], z[1::2]),
        "n_toys": n,
    }


def _binomial_band(rate: Array, n: int, level: float = 0.95) -> tuple[Array, Array]:
    """Central band of count / n for a known rate (K,): smallest counts with P(X <= c) >= tail."""
    edges = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        low, high = np.full(rate.shape, -1), np.full(rate.shape, n)
        while (high - low > 1).any():
            middle = (low + high) // 2
            passed = betainc(n - middle, middle + 1.0, 1 - rate) >= tail
            settled = high - low <= 1
            low = np.where(settled | passed, low, middle)
            high = np.where(~settled & passed, middle, high)
        edges.append(high / n)
    return edges[0], edges[1]


def _same_law(a: Array, b: Array) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test, asymptotic; ties make it conservative."""
    values = np.unique(np.concatenate([a, b]))
    shares = (np.searchsorted(np.sort(v), values, "right") / len(v) for v in (a, b))
    distance = np.abs(np.subtract(*shares)).max()
    return float(kolmogorov(distance * (len(a) * len(b) / (len(a) + len(b))) ** 0.5))


# Several p-values of one hypothesis: seeds, classifiers, feature sets on the same data


def merge_median(p: ArrayLike) -> Array:
    """Twice the median over the first axis of p (K, ...): valid under any dependence.

    B. Rueger, Metrika 25 (1978) 171; V. Vovk and R. Wang, arXiv:1212.4966; in searches
    arXiv:2404.03484. The median itself, or that of the significances, is not a p-value.

    Examples:
        >>> print(merge_median([0.01, 0.02, 0.3]))
        0.04
    """
    return np.minimum(2 * np.median(_probabilities(p), axis=0), 1.0)


def merge_e_values(p: ArrayLike, kappa: float = 0.5) -> Array:
    """1 / mean of e = kappa p^(kappa - 1) over the first axis of p (K, ...), at most 1.

    Valid under any dependence (V. Vovk and R. Wang, arXiv:1912.06116); about 1 sigma weaker than
    one p-value of the same size, and better than the median where few of K are small.

    Examples:
        >>> print(merge_e_values([1e-6, 1e-6]).round(3))
        0.002
    """
    if not 0 < kappa < 1:
        raise UserError(f"kappa: expected a number between 0 and 1, found {kappa}")
    return np.minimum(1 / (kappa * _probabilities(p) ** (kappa - 1)).mean(0), 1.0)


def _probabilities(p: ArrayLike) -> Array:
    p = np.asarray(p, np.float64)
    if not p.ndim or not p.size or not ((p > 0) & (p <= 1)).all():
        raise UserError("p: expected p-values above 0 and at most 1, of toys (1 + k) / (1 + B)")
    return p
