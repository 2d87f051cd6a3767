"""The mass spectrum of a search: what its sidebands expect in a window, before and after cuts."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.false_windows import Window
from jaxad.data.table import Table
from jaxad.errors import UserError
from jaxad.metrics import bumphunter, spectrum
from jaxad.metrics.families import Family
from jaxad.search import weights
from jaxad.search.analysis import Normalisation
from jaxad.training import streams
from jaxad.training.streams import Purpose

N_SCANS = 2000  # pseudo-experiments of BumpHunter


def _range(mass: np.ndarray, window: Window) -> dict[str, Any]:
    """Range and bins of a fit: where the spectrum falls, the window's borders among the edges."""
    width = (window.high - window.low) / spectrum.N_BINS_INSIDE
    low, high = spectrum.fit_span(mass, width)
    return {"span": (min(low, window.low - 2 * width), max(high, window.high + 2 * width))}


def family_of(
    config: ConfigDict, table: Table, window: Window, scored: np.ndarray
) -> spectrum.Order:
    """The smooth function of `search.spectrum`, of the order that the sidebands ask for.

    Args:
        scored: (N,) bool, events of the table that are scored.

    Raises:
        UserError: no such function, or masses that it does not take.
    """
    mass, weight = _only(table, scored)
    return spectrum.choose_order(
        *(mass, window, config.search.spectrum),
        **_range(mass, window),
        weights=weight,
        sqrt_s=config.search.sqrt_s,
        seed=config.seed,
    )


def normalisation(
    config: ConfigDict,
    table: Table,
    window: Window,
    family: Family,
    n_toys: int,
    scored: np.ndarray,
) -> Normalisation:
    """Events expected in the window, and those of toy spectra of the same function.

    They are events of the likelihood: sums of weights over the event weight of the window's data.

    Args:
        scored: (N,) bool, events of the table that are scored, and therefore counted: of a
            half-split one half, whose spectrum is fitted.

    Raises:
        UserError: the sidebands do not fix the function.
    """
    mass, weight = _only(table, scored)
    found = spectrum.expectation(
        *(mass, window, family),
        **_range(mass, window),
        weights=weight,
    )
    edges, smooth = np.array(found["edges"]), np.array(found["fit"])
    rng = streams.generator(config.seed, Purpose.TOY_SPECTRUM, window.name)
    unit, scale = found["event_weight"], 1
    if table.weight is not None:
        scale = np.array(found["bin_weights"]) / unit
    toys = rng.poisson(smooth / unit / scale, (n_toys, len(smooth))) * scale
    fits = spectrum.refit(toys, edges, window, family, scale)
    inside = window.holds((edges[1:] + edges[:-1]) / 2)
    refitted = np.where(np.isfinite(fits.expected), fits.expected, found["expected"] / unit)
    events = toys[:, inside].sum(axis=1)
    if table.weight is None:
        return Normalisation(found["expected"], found["error"], events, refitted)
    own = weights.event_weight(table.weight[window.holds(table.mass)])
    return Normalisation(
        *(found["expected"] / own, found["error"] / own, events * unit / own, refitted * unit / own)
    )


def _only(table: Table, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    return table.mass[scored], None if table.weight is None else table.weight[scored]


def after_cuts(
    config: ConfigDict, table: Table, window: Window, row: np.ndarray, u: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Fits before ("1") and after cuts, by efficiency, or {"reason": why}; BumpHunter beside.

    row: (N,) numbers in the table of all events, in any order; u: (N,) of theirs.
    """
    weight = None if table.weight is None else table.weight[row]
    cuts = {f"{e:g}": u <= e for e in (1.0, *config.search.efficiencies)}
    options = {"sqrt_s": config.search.sqrt_s, "seed": config.seed, "n_toys": 200}
    fits = spectrum.fits_of_cuts(
        *(table.mass[row], cuts, window, config.search.spectrum),
        **_range(table.mass, window),
        weights=weight,
        **options,
    )
    return {name: one | _bump(one, config.seed) for name, one in fits.items()}


def _bump(one: dict[str, Any], seed: int) -> dict[str, Any]:
    """The cross-check on a spectrum: the least likely excess over its fit, anywhere in it.

    It counts events: of sums of weights, these over `event_weight`, rounded.
    """
    if "fit" not in one:
        return {}
    # With the scale taken as exact, windows that hold most of a falling spectrum hide all others.
    options = {"exact_scale": False, "n_toys": N_SCANS, "seed": seed}
    counts = np.round(np.array(one["counts"]) / one["event_weight"])
    try:
        return {"bumphunter": bumphunter.bump_hunter(counts, one["fit"], one["edges"], **options)}
    except UserError as error:
        return {"bumphunter": {"reason": str(error)}}
