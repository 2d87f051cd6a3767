"""Signal to inject, which says how large one would have to be: from a file, or made up.

A made-up signal needs no model: a Gaussian in the mass, and for features the neighbours of one
event of the background, so that it is dense in features that the data have.
"""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.dataset import Rows
from jaxad.data.dequantisation import atoms_of, floored
from jaxad.data.table import GEV, Table
from jaxad.errors import UserError
from jaxad.search.table import search_table
from jaxad.training import streams
from jaxad.training.streams import Purpose

NEIGHBOURS = 0.01  # of the background rows, around the one that is chosen
N_SIGNAL = 20_000


class Gaussian(NamedTuple):
    """The mass of a made-up signal [GeV]."""

    mass: float
    width: float


def _gaussian(text: str, unit: str) -> Gaussian:
    _, *numbers = text.split(":")
    try:
        mass, width = (float(number) * GEV[unit] for number in numbers)
    except ValueError:
        mass = width = 0.0
    if not (mass > 0 and width > 0):
        raise UserError(
            f"search.inject: expected gauss:MASS:WIDTH in {unit}, or a file, found {text!r}"
        )
    return Gaussian(mass, width)


def require(config: ConfigDict, table: Table) -> None:
    """Refuses a signal that cannot be injected, before anything is trained.

    Raises:
        UserError: as `signal`.
    """
    if config.search.inject.startswith("gauss:"):
        _gaussian(config.search.inject, table.mass_unit)
    else:
        _read(config, table)


def _read(config: ConfigDict, table: Table) -> Table:
    text = config.search.inject
    if not text:
        raise UserError(
            f"search.inject: search.power needs a signal: expected gauss:MASS:WIDTH in "
            f"{table.mass_unit}, or a file, found none"
        )
    other = config.copy_and_resolve_references()
    other.data.source = text
    return search_table(other)


def signal(config: ConfigDict, table: Table, background: Rows) -> Rows:
    """Signal rows "x" (n, F), "m" (n,) [GeV] and "fold_key" (n,) of `search.inject`, all masses.

    Rows of one key belong together. Of a file of weighted events a row stays with a probability in
    proportion to its weight. Spikes of the data are such in the signal, too.

    Args:
        background: rows "x" (N, F) of the window, whose neighbours a made-up signal takes.

    Raises:
        UserError: neither a file nor gauss:MASS:WIDTH, or a file with other columns.
    """
    text = config.search.inject
    if not text.startswith("gauss:"):
        found = _read(config, table)
        kept = np.ones(len(found.mass), bool)
        if found.weight is not None:
            rng = streams.generator(config.seed, Purpose.EVENTS, "weighted signal")
            kept = rng.random(len(kept)) < found.weight / found.weight.max()
        rows = {"x": found.x, "m": found.mass, "fold_key": found.fold_key}
        rows = {name: values[kept] for name, values in rows.items()}
        return rows | {"x": floored(rows["x"], atoms_of(table))}
    gaussian = _gaussian(text, table.mass_unit)
    rng = streams.generator(config.seed, Purpose.EVENTS, "injected signal")
    x = background["x"]
    scaled = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12)
    distance = np.square(scaled - scaled[rng.integers(len(x))]).sum(axis=1)
    nearest = np.argsort(distance)[: max(20, round(NEIGHBOURS * len(x)))]
    return {
        "x": x[rng.choice(nearest, N_SIGNAL)],
        "m": rng.normal(*gaussian, N_SIGNAL),
        "fold_key": np.arange(N_SIGNAL),
    }


def dealt(key: np.ndarray, folds: int) -> np.ndarray:
    """The fold (n,) of each row: keys (n,) are dealt in turn, so that rows of one stay together.

    Examples:
        >>> dealt(np.array([7, 8, 8, 9]), 2)
        array([0, 1, 1, 0])
    """
    return np.unique(key, return_inverse=True)[1] % folds
