"""The smooth mass spectrum of background: sideband fits, and the order of their function.

A family of functions (`jaxad.metrics.families`) is fitted to the bins outside a mass window by
Poisson regression (`jaxad.metrics.regression`), and read off inside. Masses, windows and sqrt(s)
have one unit, whichever it is.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from jaxad.errors import UserError
from jaxad.metrics import Array, checked_values, regression
from jaxad.metrics.families import Family, basis, orders

N_BINS_INSIDE = 4  # of the window, where no width of the bins is given
_POOLED = 50  # weighted events, to know the ratio of their variance to their sum


class Interpolation(NamedTuple):
    """Fits of T spectra to their sidebands."""

    expected: Array  # (T,) events in the window; NaN where the sidebands do not fix them
    error: Array  # (T,) of `expected`, from the fit alone; NaN likewise
    fit: Array  # (T, K) events in every bin
    deviance: Array  # (T,) of the bins outside the window
    ndof: int
    parameters: Array  # (T, P), of the columns of `basis`


def bin_edges(window: tuple[float, float], span: tuple[float, float], width: float) -> Array:
    """Bins of about `width` that have the window's borders among their edges and fill the span."""
    low, high = window
    inside = np.linspace(low, high, max(round((high - low) / width), 1) + 1)
    step = inside[1] - inside[0]
    n_below, n_above = int((low - span[0]) / step + 1e-9), int((span[1] - high) / step + 1e-9)
    return low + step * np.arange(-n_below, len(inside) + n_above)


# Spectra and their sidebands


def fit_span(mass: ArrayLike, width: float) -> tuple[float, float]:
    """Range where the spectrum of masses (N,) falls smoothly: clear of the trigger's turn-on.

    From two bins of `width` above the fullest one to the 99.9 % quantile.
    """
    mass = checked_values(mass, "mass")
    if not mass.size:
        raise UserError("sideband fit: expected masses, found none")
    counts, edges = np.histogram(mass, np.arange(mass.min(), mass.max() + width, width))
    return float(edges[counts.argmax() + 1] + 2 * width), float(np.quantile(mass, 0.999))


def _inside(edges: Array, window: tuple[float, float]) -> Array:
    centres = (edges[1:] + edges[:-1]) / 2
    return (centres > window[0]) & (centres < window[1])


def refit(
    counts: ArrayLike,
    edges: Array,
    window: tuple[float, float],
    family: Family,
    scale: ArrayLike = 1.0,
    start: Array | None = None,
) -> Interpolation:
    """The family fitted to the bins of T spectra outside a window, and what it expects inside.

    counts: (T, K); edges: (K + 1,), the window's borders among them, see `bin_edges`. scale: (K,),
    variance / mean of the counts, 1 where each event counts 1: the function comes from the Poisson
    likelihood all the same, which is unbiased, its error from the true variance,
    I^-1 (sum scale g g^T / mu) I^-1 with g the gradient of the events mu of a bin. start: (P,)
    parameters near which those of all spectra lie, as of the spectrum that toys are drawn from.
    """
    counts = np.asarray(counts, np.float64)
    scale = np.broadcast_to(np.asarray(scale, np.float64), counts.shape[1:])
    inside = _inside(edges, window)
    columns = basis(edges, family)
    parameters, inverse = regression.fit(columns[:, ~inside], counts[:, ~inside], start)
    mean, gradient = regression.expected(columns, parameters)
    slope = np.einsum("tpr,tr->tp", inverse, gradient[..., inside].sum(-1))
    response = np.einsum("tpk,tp->tk", gradient[..., ~inside], slope)
    variance = (response**2 * scale[~inside] / mean[:, ~inside]).sum(-1)
    inside_mean, error = mean[:, inside].sum(-1), np.sqrt(variance)
    fixed = (error > 0) & (error < inside_mean)
    misfit = regression.deviance(counts[:, ~inside], mean[:, ~inside]) / scale[~inside]
    return Interpolation(
        expected=np.where(fixed, inside_mean, np.nan),
        error=np.where(fixed, error, np.nan),
        fit=mean,
        deviance=misfit.sum(-1),
        ndof=int((~inside).sum()) - family.n_parameters,
        parameters=parameters,
    )


class _Spectrum(NamedTuple):
    edges: Array  # (K + 1,)
    counts: Array  # (K,) sums of weights
    unit: float  # sum(w^2) / sum(w): one event of the likelihood
    scale: Array  # (K,) the same of a bin and its neighbours, in this unit


def _pooled(n_events: Array, squares: Array, counts: Array) -> Array:
    """sum(w^2) / sum(w) (K,) of the fewest neighbours that hold `_POOLED` events, else of all.

    Of few events the ratio would follow the fluctuation of the count itself.
    """
    ratios = np.ones(len(counts))
    for i in range(len(counts)):
        for reach in range(len(counts)):
            near = slice(max(i - reach, 0), i + reach + 1)
            if n_events[near].sum() >= _POOLED:
                break
        if n_events[near].any():
            ratios[i] = squares[near].sum() / counts[near].sum()
    return ratios


def _spectrum(
    mass: ArrayLike,
    window: tuple[float, float],
    span: tuple[float, float],
    width: float | None,
    weights: ArrayLike | None,
) -> _Spectrum:
    mass = checked_values(mass, "mass")
    if width is None:
        width = (window[1] - window[0]) / N_BINS_INSIDE
    edges = bin_edges(window, span, width)
    if edges[0] > window[0] or len(edges) < 2 or edges[-1] < window[1] - width / 2:
        raise UserError(
            f"sideband fit: expected the window {window[0]:g}-{window[1]:g} inside the range of "
            f"the fit, found {span[0]:.3g}-{span[1]:.3g}"
        )
    n_events = np.histogram(mass, edges)[0]
    if weights is None:
        counts, unit, scale = n_events, 1.0, np.ones(len(n_events))
    else:
        weights = checked_values(weights, "weights", mass.shape)
        if not (weights > 0).all():
            raise UserError(f"weights: expected values above 0, found {weights.min():g}")
        counts, squares = (np.histogram(mass, edges, weights=weights**i)[0] for i in (1, 2))
        unit = squares.sum() / counts.sum() if counts.any() else 1.0
        scale = _pooled(n_events, squares, counts) / unit
    return _Spectrum(edges, counts, float(unit), scale)


def _check_filled(
    edges: Array, counts: Array, window: tuple[float, float], n_parameters: int
) -> None:
    filled = int((counts[~_inside(edges, window)] > 0).sum())
    if filled <= n_parameters:
        raise UserError(
            f"sideband fit: expected more than {n_parameters} filled bins of "
            f"{edges[1] - edges[0]:.3g} outside {window[0]:g}-{window[1]:g}, found {filled}: "
            "loosen the cut or widen the span"
        )


def expectation(
    mass: ArrayLike,
    window: tuple[float, float],
    family: Family,
    *,
    span: tuple[float, float],
    width: float | None = None,
    weights: ArrayLike | None = None,
) -> dict[str, Any]:
    """Events expected in a mass window by a smooth function fitted to the bins outside it.

    mass: (N,); window: (low, high); span: (low, high) of the fit; width: of the bins, by default a
    quarter of the window: all in the unit of the mass. weights: (N,) > 0: counts are sums of them,
    and sum(w^2) / sum(w) of them is one event of the likelihood. The spectrum after a cut is that
    of the masses that pass it; the same span and width give the same bins. Empty bins take part.

    Returns a dict of numbers and lists: "edges" (K + 1,), "counts" and "fit" (K,); of the window
    "observed", "expected" (B_fit) and its "error" by the fit alone (sigma_fit); of the sidebands
    "chi2" (the deviance), "ndof" and "fit_p_value"; "family", "n_parameters", and "event_weight",
    sum(w^2) / sum(w), of weighted events with that of every bin and its neighbours, "bin_weights"
    (K,).

    Examples:
        >>> mass = 2600 + np.random.default_rng(0).exponential(450, 20_000)  # GeV
        >>> family = Family("exponential", n_parameters=2)
        >>> fit = expectation(mass, (3300, 3700), family, span=(2600, 5000))
        >>> print(fit["observed"], round(fit["expected"]), round(fit["error"]))
        2414 2479 30

    Raises:
        UserError: a window outside the span, or sidebands that do not fix the function.
    """
    edges, counts, unit, scale = _spectrum(mass, window, span, width, weights)
    name, n_parameters, _ = family
    inside = _inside(edges, window)
    _check_filled(edges, counts, window, n_parameters)
    interpolation = refit(counts[None] / unit, edges, window, family, scale)
    if np.isnan(interpolation.expected[0]):
        raise UserError(
            f"sideband fit: {counts[~inside].sum():g} events outside the window do not fix the "
            f"{name} function inside it: loosen the cut or widen the span"
        )
    chi2 = float(interpolation.deviance[0])
    found = {} if weights is None else {"bin_weights": (scale * unit).tolist()}
    return found | {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "fit": (interpolation.fit[0] * unit).tolist(),
        "observed": counts[inside].sum().item(),
        "expected": float(interpolation.expected[0]) * unit,
        "error": float(interpolation.error[0]) * unit,
        "chi2": chi2,
        "ndof": interpolation.ndof,
        "fit_p_value": float(chdtrc(interpolation.ndof, chi2)),
        "family": name,
        "n_parameters": n_parameters,
        "event_weight": unit,
    }


# The order


def spurious_signal(
    truth: Array,
    edges: Array,
    window: tuple[float, float],
    family: Family,
    n_toys: int,
    seed: int,
    scale: ArrayLike = 1.0,
) -> dict[str, Any]:
    """Excess that a family finds in toys of a smooth spectrum (K,) without one.

    The pull of a toy is (n - b) / sqrt(b + sigma_fit^2). Returns the "mean", its "error" by the
    number of toys, the "width" of the pulls, all None where there are none, and the number "failed"
    of toys whose sidebands do not fix the function.
    """
    scale = np.broadcast_to(np.asarray(scale, np.float64), truth.shape)
    toys = np.random.default_rng(seed).poisson(truth / scale, (n_toys, len(truth))) * scale
    start = refit(truth[None], edges, window, family, scale).parameters[0]
    fits = refit(toys, edges, window, family, scale, start)
    inside = _inside(edges, window)
    variance = (fits.fit * scale)[:, inside].sum(1) + fits.error**2
    pulls = (toys[:, inside].sum(1) - fits.expected) / np.sqrt(variance)
    pulls = pulls[np.isfinite(pulls)]
    failed = n_toys - len(pulls)
    if not len(pulls):
        return {"mean": None, "error": None, "width": None, "failed": failed}
    mean, width = float(pulls.mean()), float(pulls.std())
    return {"mean": mean, "error": width / len(pulls) ** 0.5, "width": width, "failed": failed}


class Order(NamedTuple):
    """The order that was chosen, with the numbers that chose it.

    steps: a dict of every order tried: "n_parameters", "deviance", "ndof", "p_likelihood_ratio" of
    one parameter more, and where that is not called for, "spurious" (`spurious_signal`). passed:
    the last of them met both conditions; if not, `reason` says what is wrong.
    """

    family: Family
    steps: list[dict[str, Any]]
    passed: bool
    reason: str


def order(
    counts: Array,
    edges: Array,
    window: tuple[float, float],
    name: str,
    *,
    sqrt_s: float = 13_000.0,
    scale: ArrayLike = 1.0,
    level: float = 0.05,
    largest: float = 0.2,
    n_toys: int = 1000,
    seed: int = 0,
) -> Order:
    """Fewest parameters of a family that serve a spectrum: only its sidebands are looked at.

    A parameter more is taken where the likelihood ratio calls for it at the `level`, and where the
    mean pull of `n_toys` toys of that larger function, fitted to the sidebands, exceeds `largest`.
    counts: (K,), edges and scale as in `refit`.
    """
    fewest, most = orders(name)
    outside = counts[~_inside(edges, window)]
    filled = int((outside > 0).sum())
    steps: list[dict[str, Any]] = []
    untested = f"no family of more than {most} is known"
    fits = refit(counts[None], edges, window, Family(name, fewest, sqrt_s), scale)
    for n in range(fewest, most + 1):
        family = Family(name, n, sqrt_s)
        steps.append({"n_parameters": n, "deviance": float(fits.deviance[0]), "ndof": fits.ndof})
        if n == most:
            break
        larger = refit(counts[None], edges, window, family._replace(n_parameters=n + 1), scale)
        if n + 1 >= filled or np.isnan(larger.expected[0]):
            untested = f"{outside.sum():.6g} events in {filled} bins do not fix one more"
            break
        p_value = float(chdtrc(1, max(fits.deviance[0] - larger.deviance[0], 0.0)))
        steps[-1]["p_likelihood_ratio"] = p_value
        if p_value >= level:
            spurious = spurious_signal(larger.fit[0], edges, window, family, n_toys, seed, scale)
            steps[-1]["spurious"] = spurious
            if spurious["mean"] is not None and abs(spurious["mean"]) < largest:
                reason = (
                    f"{n} parameters: one more has a likelihood-ratio p of {p_value:.2g}, and toys "
                    f"of it a mean pull of {spurious['mean']:+.2f} +- {spurious['error']:.2f}"
                )
                return Order(family, steps, True, reason)
        fits = larger
    return Order(family, steps, False, f"{n} parameters could not be tested: {untested}")


def choose_order(
    mass: ArrayLike,
    window: tuple[float, float],
    name: str,
    *,
    span: tuple[float, float],
    width: float | None = None,
    weights: ArrayLike | None = None,
    **options: Any,
) -> Order:
    """`order` of a sample of masses (N,); the arguments are those of `expectation`.

    options: `sqrt_s`, `level`, `largest`, `n_toys` and `seed` of `order`.
    """
    edges, counts, unit, scale = _spectrum(mass, window, span, width, weights)
    _check_filled(edges, counts, window, orders(name)[0])
    return order(counts / unit, edges, window, name, scale=scale, **options)


def fits_of_cuts(
    mass: ArrayLike,
    cuts: Mapping[str, ArrayLike],
    window: tuple[float, float],
    name: str,
    *,
    weights: ArrayLike | None = None,
    span: tuple[float, float],
    width: float | None = None,
    **options: Any,
) -> dict[str, dict[str, Any]]:
    """`expectation` of the masses that pass each cut, in bins that all share.

    cuts: (N,) of bool by name; options: those of `choose_order`, which chooses the order anew for
    every cut: "order" says why, "order_passed" whether it met all conditions. Where there is too
    little to fit, {"reason": why}.
    """
    mass = checked_values(mass, "mass")
    shared = {"span": span, "width": width}
    fits = {}
    for cut, passing in cuts.items():
        passes = np.asarray(passing, bool)
        kept = {"weights": None if weights is None else np.asarray(weights)[passes], **shared}
        try:
            chosen = choose_order(mass[passes], window, name, **kept, **options)
            fit = expectation(mass[passes], window, chosen.family, **kept)
            fits[cut] = fit | {"order": chosen.reason, "order_passed": chosen.passed}
        except UserError as error:
            fits[cut] = {"reason": str(error)}
    return fits
