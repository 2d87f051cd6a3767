"""Particles by falling pT, and the hardest ones of events that have more than there are slots."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.errors import UserError


def pt_of(x: np.ndarray) -> np.ndarray:
    """pT (N, n) of particles (N, n, 3) = (pT, eta, phi) or (N, n, 4) = (E, px, py, pz)."""
    return x[..., 0] if x.shape[-1] == 3 else np.hypot(x[..., 1], x[..., 2])


def by_pt(x: np.ndarray) -> np.ndarray:
    """The particles of each event by falling pT, stably; NaN, to be refused, first."""
    pt = pt_of(x)
    order = np.argsort(np.where(np.isnan(pt), -np.inf, -pt), axis=1, kind="stable")
    return np.take_along_axis(x, order[..., None], axis=1)


def emptied(x: np.ndarray, zero_is_none: bool = True) -> np.ndarray:
    """The particles (N, n, c), zeros in padding that holds NaN; `x` itself where there is none.

    Padding is a slot of nothing but NaN and 0, and one whose pT, or energy, is 0.

    Args:
        zero_is_none: whether the latter holds: of logarithms it does not.
    """
    nan = np.isnan(x)
    if not nan.any():
        return x
    padding = (nan | (x == 0)).all(axis=-1)
    if zero_is_none:
        padding |= x[..., 0] == 0
    return np.where(padding[..., None], 0, x)


class Hardest:
    """The `n` hardest particles (N, n, c) of events (N, m, c), zero padded.

    Attributes:
        cut: (k,) bool, of which of the events read last particles are left out.
    """

    def __init__(self, x: Any, n: int):
        self._x, self.cut = x, np.zeros(0, bool)
        self.shape, self.dtype = (len(x), n, x.shape[2]), x.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        stop, n = max(start, stop), self.shape[1]
        x = by_pt(emptied(np.asarray(self._x[start:stop])))
        self.cut = x[:, n:].any(axis=(1, 2))
        kept = np.zeros((len(x), n, x.shape[2]), self.dtype)
        kept[:, : x.shape[1]] = x[:, :n]
        return kept


def require_kept(
    n_cut: int, n_events: int, n: int | str, max_cut: float, paths: Sequence[Path], setting: str
) -> None:
    """Tells in how many events particles were left out, and refuses more than a fraction of them.

    Args:
        n_cut: events that were cut, of `n_events` in files that may cut.
        n: the number of slots, for the message.
        setting: that says so.

    Raises:
        UserError: a fraction above `max_cut`.
    """
    if not n_cut:
        return
    share = n_cut / n_events
    what = f"{n_cut:,} of {n_events:,} events ({share:.2%}) have more than {n} particles"
    if share > max_cut:
        raise UserError(
            f"{paths[0]}: {setting}: {what}, expected at most {max_cut:.2%}, data.max_cut: give "
            "more slots, or allow it"
        )
    print(f"note: {paths[0]}: {what}: the hardest are kept", file=sys.stderr)
