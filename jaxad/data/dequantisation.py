"""Columns of whole numbers and with spikes, spread for a density and put together again."""

import numpy as np

from jaxad.data.table import Table


def dequantised(x: np.ndarray, table: Table, seed: int) -> np.ndarray:
    """Features for a density: whole numbers and spikes spread uniformly, (n, F) float32.

    A whole number k becomes uniform in [k, k + 1), a spike at v uniform in [v, v + its width).
    `floored` gives the same of these as of `x`.

    Args:
        x: (n, F) rows with the features of the table.
        seed: of the draws.
    """
    spread = np.array(x, np.float32)
    rng = np.random.default_rng(seed)
    for column, low, width, _ in _quantised(table):
        values = spread[:, column]
        at = np.ones(len(values), bool) if low is None else values == low
        draws = rng.random(int(at.sum()), np.float32) * np.float32(width)
        end = np.nextafter(values[at] + np.float32(width), np.float32(-np.inf))
        values[at] = np.minimum(values[at] + draws, np.maximum(end, values[at]))
    return spread


def floored(x: np.ndarray, table: Table) -> np.ndarray:
    """Features whose whole numbers and spikes are such again, (n, F) float32.

    For what a density draws, and for the data that a classifier tells from them: a value within
    the width above a spike becomes the spike, in both alike. Whole numbers stay in the range of the
    table.
    """
    floor = np.array(x, np.float32)
    for column, low, width, ends in _quantised(table):
        values = floor[:, column]
        if low is None:
            np.clip(np.floor(values), *ends, out=values)
        else:
            end = np.float32(low) + np.float32(width)
            values[(values >= low) & (values < end)] = low
    return floor


def _quantised(table: Table) -> list[tuple[int, float | None, float, tuple[float, float]]]:
    """(column, spike or None for whole numbers, width, ends) of the columns that are spread."""
    found = []
    for column, whole in enumerate(table.integer):
        if whole:
            values = table.x[:, column]
            found.append((column, None, 1.0, (values.min(), values.max())))
        elif np.isfinite(table.spikes[column]):
            width = float(table.spike_widths[column])
            found.append((column, float(table.spikes[column]), width, (-np.inf, np.inf)))
    return found
