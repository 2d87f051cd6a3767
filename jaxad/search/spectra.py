"""The mass spectrum of a search: what its sidebands expect in a window, before and after cuts."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.table import Table
from jaxad.errors import UserError
from jaxad.metrics import spectrum
from jaxad.metrics.families import Family
from jaxad.search.analysis import Normalisation
from jaxad.search.windows import Window


def _span(mass: np.ndarray, window: Window) -> tuple[float, float]:
    """Range of the fit [GeV]: from the 1 % quantile to the largest mass."""
    return min(float(np.quantile(mass, 0.01)), window.low), max(float(mass.max()), window.high)


def family_of(config: ConfigDict, table: Table, window: Window) -> spectrum.Order:
    """The smooth function of `search.spectrum` whose order the sidebands ask for.

    Raises:
        UserError: no such function, or masses that it does not take.
    """
    section = config.search
    return spectrum.choose_order(
        table.mass,
        window,
        section.spectrum,
        span=_span(table.mass, window),
        weights=table.weight,
        sqrt_s=section.sqrt_s,
        seed=config.seed,
    )


def normalisation(
    config: ConfigDict, table: Table, window: Window, family: Family, n_toys: int
) -> Normalisation:
    """Events expected in the window, and those of toy spectra of the same function.

    Raises:
        UserError: the sidebands do not fix the function.
    """
    found = fit(table.mass, table, window, family)
    edges = np.array(found["edges"])
    rng = np.random.default_rng([config.seed, 2])
    toys = rng.poisson(np.array(found["fit"]), (n_toys, len(edges) - 1))
    fits = spectrum.refit(toys, edges, window, family)
    inside = (edges[1:] + edges[:-1]) / 2
    inside = (inside > window.low) & (inside < window.high)
    refitted = np.where(np.isfinite(fits.expected), fits.expected, found["expected"])
    return Normalisation(found["expected"], found["error"], toys[:, inside].sum(axis=1), refitted)


def fit(mass: np.ndarray, table: Table, window: Window, family: Family) -> dict[str, Any]:
    """`spectrum.expectation` of masses [GeV], in the bins of the whole table."""
    return spectrum.expectation(mass, window, family, span=_span(table.mass, window))


def after_cuts(
    mass: np.ndarray, u: np.ndarray, table: Table, window: Window, family: Family, cuts: tuple
) -> dict[str, dict[str, Any]]:
    """Fits before ("1") and after cuts, by efficiency; {"reason": why} where there is too little.

    mass, u: (N,) of all events.
    """
    found: dict[str, dict[str, Any]] = {}
    for efficiency in (1.0, *cuts):
        try:
            found[f"{efficiency:g}"] = fit(mass[u <= efficiency], table, window, family)
        except UserError as error:
            found[f"{efficiency:g}"] = {"reason": str(error)}
    return found
