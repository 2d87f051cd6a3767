"""Is there a resonance? Counting against a background estimate, sideband fit, look-elsewhere.

One formula serves all counting: the profile-likelihood significance of n events over b +- sigma,
the background being measured by an auxiliary Poisson count tau b with tau = b / sigma^2. It is
eq. 17 of Li and Ma (ApJ 272 (1983) 317) for an on/off measurement and, at n = s + b, the Asimov
significance (Cowan et al., arXiv:1007.1727, eq. 97, where sigma = 0). The smooth spectrum is
fitted by `jaxad.metrics.spectrum`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from jaxad.errors import UserError
from jaxad.metrics import Array, checked_scores, checked_values, closure
from jaxad.metrics.families import Family
from jaxad.metrics.likelihood import profile_z
from jaxad.metrics.spectrum import expectation

MIN_SCANS = 100
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
    data: ArrayLike,
    template: ArrayLike,
    threshold: float,
    n_expected: float,
    n_error: float = 0.0,
    tested: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Cut and count in the signal region, background samples giving the expectation.

    data, template: scores (N,), (M,) of the region's data and of its background samples.
    n_expected: background events in the region before the cut, known to +- n_error. tested: of
    `closure.summary`, what false windows say of the template at this cut: the expectation becomes
    1 + "delta" times as large, and its error holds what they differ by. Without, the template has
    the Poisson error of the samples that pass and no other. "error" is that of the expectation,
    "relative_errors" its parts as fractions; the significance is `profile_z` of them. None with
    the reason if no sample passes.
    """
    data, template = checked_scores(data, "data"), checked_scores(template, "template")
    observed, passed = int((data >= threshold).sum()), int((template >= threshold).sum())
    delta, shape = closure.correction(tested)
    expected = passed * n_expected / len(template) * (1 + delta)
    found = {"observed": observed, "expected": expected, "delta": delta, "reason": None}
    if passed == 0:
        reason = f"none of {len(template)} background samples passes the cut"
        missing = ("error", "relative_errors", "significance", "p_value")
        return found | dict.fromkeys(missing) | {"reason": reason}
    relative = {"template": passed**-0.5, "fit": n_error / n_expected, "closure": shape}
    z = float(profile_z(observed, expected, passed, relative["fit"], shape))
    error = expected * float(np.linalg.norm([*relative.values()]))
    return found | {
        "error": error,
        "relative_errors": relative,
        "significance": z,
        "p_value": float(ndtr(-z)),
    }


# The sideband fit


def sideband_fit(
    mass: ArrayLike,
    window: tuple[float, float],
    *,
    span: tuple[float, float] | None = None,
    width: float = 0.1,
    sqrt_s: float = 13.0,
    n_parameters: int = 4,
    weights: ArrayLike | None = None,
) -> dict[str, Any]:
    """Excess in a mass window over the dijet function fitted to the bins outside it.

    mass: (N,) [TeV]; window: (low, high) [TeV]; span: of the fit, by default from the 1 % quantile
    of the mass to its maximum; width: of the bins [TeV]; n_parameters: 3 leaves p4 out; weights:
    (N,) > 0. The excess counts against the fit with its uncertainty: "significance" and "p_value"
    beside what `jaxad.metrics.spectrum.expectation` gives, which takes any unit and function.
    """
    mass = checked_values(mass, "mass")
    if span is None:
        if not mass.size:
            raise UserError("sideband fit: expected masses, found none")
        span = (float(np.quantile(mass, 0.01)), float(mass.max()))
    family = Family("dijet", n_parameters, sqrt_s)
    fit = expectation(mass, window, family, span=span, width=width, weights=weights)
    observed, expected, error = (
        fit[key] / fit["event_weight"] for key in ("observed", "expected", "error")
    )
    z = significance(observed, expected, error)
    return fit | {"significance": z, "p_value": float(ndtr(-z))}


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


def _upcrossings(scans: Array, level: float) -> tuple[float, float | None]:
    """Mean number of upward crossings of the level by scans (T, W), and its error of T > 1."""
    crossings = ((scans[:, :-1] <= level) & (scans[:, 1:] > level)).sum(1)
    if len(scans) == 1:
        return float(crossings[0]), None
    return float(crossings.mean()), float(crossings.std(ddof=1) / len(scans) ** 0.5)


def _scans(values: ArrayLike, name: str, n_windows: int | None = None) -> Array:
    scans = np.atleast_2d(np.asarray(values, np.float64))
    if scans.ndim != 2 or n_windows not in (None, scans.shape[1]) or not np.isfinite(scans).all():
        windows = "W" if n_windows is None else n_windows
        raise UserError(
            f"{name}: expected finite significances (T, {windows}) of background-only scans, found "
            f"{scans.shape} with {(~np.isfinite(scans)).sum()} others"
        )
    return scans


def look_elsewhere(
    scan: ArrayLike,
    reference: ArrayLike | None = None,
    level: float = 0.0,
    finer: ArrayLike | None = None,
) -> dict[str, Any]:
    """Global p-value of the largest significance in a scan of windows (Gross, Vitells, 1005.1891).

    p_global = p_local + <N(level)> exp(-(z^2 - level^2) / 2), N the upward crossings of a low
    level by the significance along the scan: an upper bound that is tight for small p and windows
    that overlap; of W adjacent ones W p_local is nearer. scan: (W,) significances in order of mass;
    reference: (T, W) of background-only scans to average N over; finer: (T, V) of such scans at a
    finer step, whose N is quoted beside: where it is larger, N is of the step and not of the data.
    At least one half crossing is assumed. "caveat" says why the number is no claim: fewer than
    `MIN_SCANS` reference scans, or none, where N is counted in the observed scan itself.
    """
    scan = checked_values(scan, "scan")
    if not scan.size:
        raise UserError("scan: expected significances, found none")
    rows = scan[None] if reference is None else _scans(reference, "reference", scan.size)
    crossings, error = _upcrossings(rows, level)
    best = int(np.argmax(scan))
    z = float(scan[best])
    p_local = float(ndtr(-z))
    decrease = np.exp(-(max(z, level) ** 2 - level**2) / 2)
    p_global = float(min(p_local + max(crossings, 0.5) * decrease, 1.0))
    counted = "the observed scan itself" if reference is None else f"{len(rows)} scans"
    caveat = f"crossings of {counted}: expected at least {MIN_SCANS} background-only scans"
    result = {
        "best": best,
        "z_local": z,
        "p_local": p_local,
        "upcrossings": crossings,
        "upcrossings_error": error,
        "p_global": p_global,
        "p_global_error": None if error is None else float(error * decrease),
        "z_global": float(-ndtri(p_global)) if p_global < 1 else None,
        "trials_factor": p_global / p_local if p_local else None,
        "caveat": caveat if reference is None or len(rows) < MIN_SCANS else None,
    }
    if finer is None:
        return result
    crossings, error = _upcrossings(_scans(finer, "finer"), level)
    return result | {"upcrossings_finer": crossings, "upcrossings_finer_error": error}
