"""Columns of whole numbers and with spikes, spread for a density and put together again.

A density draws numbers between those that the data have: a classifier would tell data from draws by
that alone.
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from jaxad.data.table import Table, marks

_MOST = np.finfo(np.float32).max


class Atoms(NamedTuple):
    """Where columns have atoms: arrays (F,) float32, all finite.

    Attributes:
        whole: 1 for columns of whole numbers, else 0.
        spike: a value that many rows share; the largest float32 where there is none.
        width: how far above its spike it is spread; 0 where there is none.
        least, most: ends that whole numbers are kept within.
    """

    whole: np.ndarray
    spike: np.ndarray
    width: np.ndarray
    least: np.ndarray
    most: np.ndarray

    @property
    def any(self) -> bool:
        """Whether a column has some."""
        return bool((self.whole > 0).any() or (self.width > 0).any())


def atoms_of(table: Table) -> Atoms:
    """Those of a table; whole numbers are kept in its range."""
    found = _atoms(table.integer, table.spikes, table.spike_widths)
    ends = (np.asarray(end(table.x, axis=0), np.float32) for end in (np.min, np.max))
    kept = [np.where(table.integer, a, b) for a, b in zip(ends, found[3:], strict=True)]
    return found._replace(least=kept[0], most=kept[1])


def atoms_in(x: np.ndarray) -> Atoms:
    """Those of rows (N, F) float32, by the rules of a `Table`."""
    return _atoms(*marks(x))


def _atoms(integer: np.ndarray, spikes: np.ndarray, widths: np.ndarray) -> Atoms:
    return Atoms(
        whole=integer.astype(np.float32),
        spike=np.nan_to_num(spikes, nan=_MOST),
        width=np.nan_to_num(widths, nan=0),
        least=np.full(len(integer), -_MOST),
        most=np.full(len(integer), _MOST),
    )


def dequantised(x: np.ndarray, atoms: Atoms, seed: int | np.random.Generator) -> np.ndarray:
    """Features for a density: whole numbers and spikes spread uniformly, (n, F) float32.

    A whole number k becomes uniform in [k, k + 1), a spike at v uniform in [v, v + its width).
    `floored` gives the same of these as of `x` (n, F). seed: of the draws, or what makes them.
    """
    spread, rng = np.array(x, np.float32), np.random.default_rng(seed)
    for column in np.flatnonzero((atoms.whole > 0) | (atoms.width > 0)):
        values, whole = spread[:, column], atoms.whole[column] > 0
        width = np.float32(1) if whole else atoms.width[column]
        at = np.ones(len(values), bool) if whole else values == atoms.spike[column]
        draws = rng.random(int(at.sum()), np.float32) * width
        end = np.nextafter(values[at] + width, np.float32(-np.inf))
        values[at] = np.minimum(values[at] + draws, np.maximum(end, values[at]))
    return spread


def floored(x: Any, atoms: Atoms, xp: ModuleType = np) -> Any:
    """Features whose whole numbers and spikes are such again, (n, F) float32.

    For what a density draws, and for the data that a classifier tells from them: a value within
    the width above a spike becomes the spike, in both alike. Whole numbers stay within their ends.

    Args:
        x: (n, F).
        xp: `jax.numpy` inside of functions of JAX.
    """
    x = xp.asarray(x, np.float32)
    at = _at_spike(x, atoms)
    whole = xp.clip(xp.floor(x), atoms.least, atoms.most)
    return xp.where(atoms.whole > 0, whole, xp.where(at, atoms.spike, x))


def centred(x: Any, atoms: Atoms, xp: ModuleType = np) -> Any:
    """Features (n, F) float32 in the middle of what `dequantised` spreads them over.

    For the density of an event, which has to be the same every time. Arguments as of `floored`.
    """
    x = xp.asarray(x, np.float32)
    middle = xp.where(_at_spike(x, atoms), atoms.spike + atoms.width / 2, x)
    return xp.where(atoms.whole > 0, xp.floor(x) + 0.5, middle)


def _at_spike(x: Any, atoms: Atoms) -> Any:
    return (atoms.width > 0) & (x >= atoms.spike) & (x < atoms.spike + atoms.width)
