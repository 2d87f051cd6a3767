"""Windows of the mass, and false ones in the sidebands, where there is no signal to find."""

import itertools
from typing import NamedTuple

import numpy as np

from jaxad.errors import UserError

MIN_EVENTS = 50  # of a window, below which no classifier learns anything


class Window(NamedTuple):
    """A signal region: masses [GeV] above `low` and below `high`."""

    low: float
    high: float

    @property
    def name(self) -> str:
        """Its borders in GeV, as folders and tables call it."""
        return f"{self.low:g}-{self.high:g}"

    def holds(self, mass: np.ndarray) -> np.ndarray:
        """Which masses (N,) [GeV] lie inside."""
        return (mass > self.low) & (mass < self.high)


def false_windows(
    window: Window, mass: np.ndarray, n: int, setting: str = "search.closure_windows"
) -> list[Window]:
    """`n` windows in the sidebands of about as many events each as `window`, the nearest ones.

    They are disjoint, clear of the window by its width, and have half as many events between
    themselves and the ends of the spectrum, so that a density is asked to interpolate. Of less
    data they hold fewer events.

    Args:
        mass: (N,) [GeV] of all data.
        setting: that asks for them.

    Raises:
        UserError: not even `MIN_EVENTS` each.
    """
    width = window.high - window.low
    inside = int(window.holds(mass).sum())
    below = np.sort(mass[mass < window.low - width])[::-1]
    above = np.sort(mass[mass > window.high + width])
    size = inside
    while size >= MIN_EVENTS:
        chosen = _nearest(below, size) + _nearest(above, size)
        if len(chosen) >= n:
            middle = (window.low + window.high) / 2
            chosen.sort(key=lambda w: abs((w.low + w.high) / 2 - middle))
            return sorted(chosen[:n])
        size = int(size * 0.9)
    raise UserError(
        f"{setting}: expected {n} windows of {MIN_EVENTS} or more events beside "
        f"{window.name} GeV and clear of it by its width, found too few events there: ask for "
        "fewer, or 0 for none"
    )


def _nearest(mass: np.ndarray, size: int) -> list[Window]:
    """Windows of `size` events along masses that lead away from the true window."""
    n = max(0, (len(mass) - size // 2) // size)
    edges = [
        float(mass[0] if i == 0 else (mass[i * size - 1] + mass[i * size]) / 2)
        for i in range(n + 1)
        if i * size < len(mass)
    ]
    return [Window(*sorted(pair)) for pair in itertools.pairwise(edges)]
