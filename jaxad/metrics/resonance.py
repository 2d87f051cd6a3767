"""Is there a resonance? Counting against a background estimate, sideband fit, look-elsewhere.

One formula serves all counting: the profile-likelihood significance of n events over b +- sigma,
the background being measured by an auxiliary Poisson count tau b with tau = b / sigma^2. It is
eq. 17 of Li and Ma (ApJ 272 (1983) 317) for an on/off measurement and, at n = s + b, the Asimov
significance (Cowan et al., arXiv:1007.1727, eq. 97, where sigma = 0). The mass spectrum of dijets
follows p1 (1 - x)^p2 / x^(p3 + p4 ln x), x = m / sqrt(s) (CDF, arXiv:0812.4036), whose logarithm is
linear in its parameters: a Poisson regression, fitted by Fisher scoring with step halving.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtr, ndtri, xlogy

from jaxad.errors import UserError
from jaxad.metrics import Array, checked_scores, checked_values
from jaxad.metrics.likelihood import profile_z

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)
_WEIGHTS = _WEIGHTS / 2
EFFICIENCIES = (0.2, 0.05, 0.01, 0.001)


def significance(observed: float, expected: float, expected_error: float = 0.0) -> float:
    """Signed significance of `observed` events over `expected` +- `expected_error`, in sigma.

    Negative for a deficit. With s = observed - expected and no error it is
    sqrt(2 (n ln(n/b) - s)), the Asimov significance of s signal events on b.

    Examples:
        >>> round(significance(observed=120, expected=100), 2)
        1.94
        >>> round(significance(observed=120, expected=100, expected_error=10), 2)
        1.35
    """
    n, b = float(observed), float(expected)
    if b <= 0 or expected_error < 0:
        raise UserError(
            f"significance: expected a positive background and error, found {b}, {expected_error}"
        )
    template = b**2 / expected_error**2 if expected_error else np.inf
    return float(profile_z(n, b, template))


def count_above(
    data: ArrayLike, template: ArrayLike, threshold: float, n_expected: float
) -> dict[str, Any]:
    """Cut and count in the signal region, background samples giving the expectation.

    data, template: scores (N,), (M,) of the region's data and of its background samples.
    n_expected: background events in the region before the cut, taken as known. The error of the
    expectation is the template's sqrt of the count. None with the reason if no sample passes.
    """
    data, template = checked_scores(data, "data"), checked_scores(template, "template")
    observed, passed = int((data >= threshold).sum()), int((template >= threshold).sum())
    scale = n_expected / len(template)
    result = {"observed": observed, "expected": passed * scale, "reason": None}
    if passed == 0:
        reason = f"none of {len(template)} background samples passes the cut"
        return result | {"error": None, "significance": None, "p_value": None, "reason": reason}
    error = float(np.sqrt(passed) * scale)
    z = significance(observed, passed * scale, error)
    return result | {"error": error, "significance": z, "p_value": float(ndtr(-z))}


# The smooth spectrum


def bin_edges(window: tuple[float, float], span: tuple[float, float], width: float) -> Array:
    """Bins of about `width` that have the window's borders among their edges and fill the span."""
    low, high = window
    inside = np.linspace(low, high, max(round((high - low) / width), 1) + 1)
    step = inside[1] - inside[0]
    n_below, n_above = int((low - span[0]) / step + 1e-9), int((span[1] - high) / step + 1e-9)
    return low + step * np.arange(-n_below, len(inside) + n_above)


def _dijet_basis(edges: Array, sqrt_s: float, n_parameters: int) -> Array:
    """ln f / p of the dijet function at three points of every bin: (3, K, P), columns orthonormal.

    The columns span 1, ln(1 - x), -ln x, -ln^2 x. The points are Gauss and Legendre's.
    """
    x = (edges[:-1] + np.diff(edges) * (1 + _NODES[:, None]) / 2) / sqrt_s
    if not ((x > 0) & (x < 1)).all():
        raise UserError(
            f"mass: expected values [TeV] between 0 and sqrt(s) = {sqrt_s}, found bins from "
            f"{edges[0]:.4g} to {edges[-1]:.4g}"
        )
    columns = [np.ones_like(x), np.log1p(-x), -np.log(x), -(np.log(x) ** 2)]
    flat = np.stack(columns[:n_parameters], -1).reshape(-1, n_parameters)
    return (np.linalg.qr(flat)[0] * np.sqrt(len(flat))).reshape(*x.shape, n_parameters)


def _expected(basis: Array, p: Array) -> tuple[Array, Array]:
    """Events in each bin (K,), the density averaged over it, and the gradient in p (K, P)."""
    density = _WEIGHTS[:, None] * np.exp(np.clip(basis @ p, -500.0, 50.0))
    return density.sum(0), np.einsum("qk,qkp->kp", density, basis)


def _deviance(counts: Array, expected: Array) -> float:
    """-2 ln of the Poisson likelihood ratio to the saturated model (Baker and Cousins, 1984)."""
    return float(2 * (expected - counts + xlogy(counts, counts) - xlogy(counts, expected)).sum())


def _fit(basis: Array, counts: Array) -> tuple[Array, Array]:
    """Maximum of the Poisson likelihood of counts (K,): parameters (P,) and their covariance."""
    p = np.linalg.lstsq(basis.mean(0), np.log(counts + 0.5), rcond=None)[0]
    for _ in range(100):
        mean, gradient = _expected(basis, p)
        information = gradient.T @ (gradient / mean[:, None])
        step = np.linalg.solve(information, gradient.T @ (counts / mean - 1))
        length, now = 1.0, _deviance(counts, mean)
        while _deviance(counts, _expected(basis, p + length * step)[0]) > now + 1e-9:
            length /= 2
        p = p + length * step
        if np.abs(basis @ step).max() < 1e-9:
            break
    mean, gradient = _expected(basis, p)
    return p, np.linalg.inv(gradient.T @ (gradient / mean[:, None]))


def sideband_fit(
    mass: ArrayLike,
    window: tuple[float, float],
    *,
    span: tuple[float, float] | None = None,
    width: float = 0.1,
    sqrt_s: float = 13.0,
    n_parameters: int = 4,
) -> dict[str, Any]:
    """Excess in a mass window over the dijet function fitted to the bins outside it.

    mass: (N,) [TeV]; window: (low, high) [TeV]; span: of the fit, by default from the 1 % quantile
    of the mass to its maximum; width: of the bins [TeV]; n_parameters: 3 leaves p4 out.
    Empty bins take part (Poisson likelihood). The excess counts against the fit with its
    uncertainty. `chi2`, `ndof`, `fit_p_value`: goodness of the sidebands, from the deviance.
    """
    mass = checked_values(mass, "mass")
    if span is None:
        if not mass.size:
            raise UserError("sideband fit: expected masses, found none")
        span = (float(np.quantile(mass, 0.01)), float(mass.max()))
    edges = bin_edges(window, span, width)
    if edges[0] > window[0] or len(edges) < 2 or edges[-1] < window[1] - width / 2:
        raise UserError(
            f"sideband fit: expected the window {window[0]:g}-{window[1]:g} TeV inside the range "
            f"of the fit, found {span[0]:.3g}-{span[1]:.3g} TeV"
        )
    counts = np.histogram(mass, edges)[0]
    centres = (edges[1:] + edges[:-1]) / 2
    inside = (centres > window[0]) & (centres < window[1])
    filled = int((counts[~inside] > 0).sum())
    if filled <= n_parameters:
        raise UserError(
            f"sideband fit: expected more than {n_parameters} filled bins of {width} TeV outside "
            f"{window[0]}-{window[1]} TeV, found {filled}: loosen the cut or widen the span"
        )
    basis = _dijet_basis(edges, sqrt_s, n_parameters)
    try:
        p, covariance = _fit(basis[:, ~inside], counts[~inside])
    except np.linalg.LinAlgError:
        p, covariance = np.full(n_parameters, np.nan), np.eye(n_parameters)
    fit, gradient = _expected(basis, p)
    slope = gradient[inside].sum(0)
    expected, error = fit[inside].sum(), np.sqrt(slope @ covariance @ slope)
    if not 0 < error < expected:
        raise UserError(
            f"sideband fit: {counts[~inside].sum()} events outside the window do not fix the dijet "
            "function inside it: loosen the cut or widen the span"
        )
    z = significance(counts[inside].sum(), expected, error)
    chi2, ndof = _deviance(counts[~inside], fit[~inside]), int((~inside).sum()) - n_parameters
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "fit": fit.tolist(),
        "observed": int(counts[inside].sum()),
        "expected": float(expected),
        "error": float(error),
        "significance": z,
        "p_value": float(ndtr(-z)),
        "chi2": chi2,
        "ndof": ndof,
        "fit_p_value": float(chdtrc(ndof, chi2)),
    }


def sideband_fits(
    mass: ArrayLike,
    score: ArrayLike,
    window: tuple[float, float],
    efficiencies: Sequence[float] = EFFICIENCIES,
    **options: Any,
) -> dict[str, dict[str, Any]]:
    """`sideband_fit` before ("1") and after cuts on the score, by efficiency in the sidebands.

    mass [TeV], score: (N,) of all data. Where there is too little to fit, {"reason": why}.
    """
    score = checked_scores(score, "data")
    mass = checked_values(mass, "mass", score.shape)
    span = options.pop("span", (float(np.quantile(mass, 0.01)), float(mass.max())))
    outside = (mass < window[0]) | (mass > window[1])
    fits = {}
    for efficiency in (1, *efficiencies):
        threshold = np.quantile(score[outside], 1 - efficiency) if efficiency < 1 else -np.inf
        try:
            found = sideband_fit(mass[score >= threshold], window, span=span, **options)
        except UserError as error:
            found = {"reason": str(error)}
        fits[f"{efficiency:g}"] = found
    return fits


# Look-elsewhere


def look_elsewhere(
    scan: ArrayLike, reference: ArrayLike | None = None, level: float = 0.0
) -> dict[str, Any]:
    """Global p-value of the largest significance in a scan of windows (Gross, Vitells, 1005.1891).

    p_global = p_local + <N(level)> exp(-(z^2 - level^2) / 2), N the upward crossings of a low
    level by the significance along the scan, an upper bound that is tight for small p. scan: (W,)
    significances in order of mass; reference: (T, W) of background-only scans to average N over, by
    default the scan itself (one scan counts few crossings: a rough N). At least one half crossing
    is assumed.
    """
    scan = checked_values(scan, "scan")
    if not scan.size:
        raise UserError("scan: expected significances, found none")
    rows = np.atleast_2d(scan if reference is None else np.asarray(reference, np.float64))
    crossings = ((rows[:, :-1] <= level) & (rows[:, 1:] > level)).sum(1).mean()
    best = int(np.argmax(scan))
    z = float(scan[best])
    p_local = float(ndtr(-z))
    excess = max(z, level)
    p_global = p_local + max(crossings, 0.5) * np.exp(-(excess**2 - level**2) / 2)
    p_global = float(min(p_global, 1.0))
    return {
        "best": best,
        "z_local": z,
        "p_local": p_local,
        "upcrossings": float(crossings),
        "p_global": p_global,
        "z_global": float(-ndtri(p_global)) if p_global < 1 else None,
        "trials_factor": p_global / p_local if p_local else None,
    }
