"""Scores, weights and other numbers of events as callers give them, checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxad.devices.arrays import numbers
from jaxad.errors import UserError
from jaxad.storage import blockwise, on_disk

Array = NDArray[Any]
Weights = tuple[ArrayLike | None, ArrayLike | None]
"""Of the events of background and signal, (N,) each; None: every event counts once."""


def checked_scores(values: ArrayLike, name: str) -> Array:
    """1D floating scores of any real numbers; refuses empty or masked arrays and NaN."""
    scores = own(numbers(values, f"{name} scores", "(N,)"))
    if scores.ndim != 1 or scores.size == 0:
        raise UserError(f"{name} scores: expected a non-empty (N,) array, found {scores.shape}")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = on_disk.mapped(lambda block: block.astype(np.float64), scores)
    n_nan = blockwise.count(np.isnan, scores)
    if n_nan:
        raise UserError(f"{name} scores: expected numbers, found {n_nan} NaN in {scores.size}")
    return scores


def checked_values(values: ArrayLike, name: str, shape: tuple[int, ...] | None = None) -> Array:
    """1D values, such as masses, float64 but on disk; refuses another `shape`, masks and NaN."""
    checked = own(numbers(values, name, "(N,)"))
    if on_disk.folder_of(checked) is None:
        checked = checked.astype(np.float64)
    if checked.ndim != 1 or checked.shape != (shape or checked.shape):
        expected = "shape (N,)" if shape is None else f"shape {shape} of the scores"
        raise UserError(f"{name}: expected {expected}, found {checked.shape}")
    n_others = blockwise.count(lambda block: ~np.isfinite(block), checked)
    if n_others:
        raise UserError(f"{name}: expected finite values, found {n_others} others")
    return checked


def rows_of_members(values: ArrayLike | Sequence[ArrayLike]) -> list[ArrayLike]:
    """What is given of each ensemble member: (N,) gives one, (M, N) or a list of (N_i,) gives M."""
    of_members = not isinstance(values, list | tuple) and np.ndim(values) == 2
    if isinstance(values, list | tuple) and values and np.ndim(values[0]) == 1:
        of_members = True
    return [*values] if of_members else [values]


def members(background: ArrayLike, signal: ArrayLike) -> list[tuple[Array, Array]]:
    """(background, signal) scores of each member: one pair for (N,), M pairs for (M, N)."""
    split = [
        [checked_scores(row, name) for row in rows_of_members(values)]
        for values, name in ((background, "background"), (signal, "signal"))
    ]
    if len(split[0]) != len(split[1]):
        raise UserError(
            f"scores: expected as many ensemble members for background and signal, "
            f"found {len(split[0])} and {len(split[1])}"
        )
    return list(zip(*split, strict=True))


def own(values: Array) -> Array:
    """Of a file that has a name, which is a caller's, as in memory: nothing is put beside it."""
    is_nameless = isinstance(values, np.memmap) and not Path(values.filename or "/").exists()
    return values if is_nameless else np.asarray(values)
