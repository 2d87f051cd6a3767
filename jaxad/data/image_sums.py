"""Trivial scores of event images: how much is lit, how evenly, and both at a given energy.

A network of dark showers that only counts has learnt nothing, and energy that is spread over many
pixels separates light soft bombs better than their number (the published sample of
arXiv:2306.12955).
"""

import numpy as np

from jaxad.data.dataset import Rows

LABELS = {
    "hits": ("number of hit pixels", ""),
    "sum_pt": ("sum of pT", "GeV"),
    "spread": ("1 - sum of squared pT shares", ""),
    "hits_at_energy": ("log hits at given energy", ""),
}
"""Observables that are trivial scores."""


def of(images: np.ndarray) -> Rows:
    """Sums (N,) of images (N, h, w, channels) [GeV], three channels of which the first is tracks.

    hits, pixels with a track; sum_pt [GeV], of the tracks; spread, 1 - sum of the squared shares of
    pixels in that, low where few pixels have it all; sum_energy [GeV], of all channels. Images
    without tracks have no hits and a spread of 1.
    """
    tracks = images[..., 0] if images.shape[-1] == 3 else np.zeros_like(images[..., 0])
    sum_pt = tracks.sum((1, 2))
    return {
        "hits": (tracks > 0).sum((1, 2)).astype(np.float32),
        "sum_pt": sum_pt,
        "spread": 1 - (tracks**2).sum((1, 2)) / np.maximum(sum_pt, np.float32(1e-15)) ** 2,
        "sum_energy": images.sum((1, 2, 3)),
    }


def hits_line(rows: Rows) -> np.ndarray:
    """Slope and constant of log hits as a linear function of log sum_energy, least squares.

    Where all energies are alike the slope is 0.

    Examples:
        >>> energies = np.float32([100, 200, 400])
        >>> print(hits_line({"hits": energies / 50, "sum_energy": energies}).round(3))
        [ 1.    -3.912]
    """
    energy, hits = _logarithms(rows)
    if np.ptp(energy) == 0:
        return np.array([0.0, hits.mean()])
    return np.polyfit(energy, hits, 1)


def with_hits_at_energy(rows: Rows, line: np.ndarray) -> Rows:
    """The rows, and "hits_at_energy": log hits above the `line` of `hits_line`."""
    energy, hits = _logarithms(rows)
    return rows | {"hits_at_energy": (hits - np.polyval(line, energy)).astype(np.float32)}


def _logarithms(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of sum_energy [GeV] and hits, each at least 1."""
    return tuple(np.log(np.maximum(rows[name], 1)) for name in ("sum_energy", "hits"))
