"""Thousands of trainings: counts of the data and of pseudo-experiments after cuts on the score.

A toy permutes which rows of a pool are data and which are template, trains all its classifiers
anew, and counts (`jaxad.search.pool`). The observed labelling is toy 0 of the same program. What a
toy counts follows from the pool, the recipe, the seed and its number: neither the number of toys
that train at once nor a restart changes it.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxad.search.pool import Pool

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""(rows (n, F), labels (n,) 1 for data, weights (n,)) -> score: rows (m, F) -> (m,)."""


class Observed(NamedTuple):
    """Scores of one toy; those of the observed data are toy 0.

    Attributes:
        rows: (N,) rows of the pool that are data, as their places stand in the pool.
        score: (N,) mean logit of the classifiers that did not see the event; NaN where not scored.
        u: (N,) (1 + number of the fold's template scores >= score) / (1 + their number), in mass
            bins where the pool has them; NaN where not scored.
        template: (M,) scores of the rows that count, in the order of their places.
    """

    rows: np.ndarray
    score: np.ndarray
    u: np.ndarray
    template: np.ndarray


def get_config(**changes: Any) -> ConfigDict:
    """A recipe of classifiers with its defaults; `changes` override."""
    return ConfigDict(
        {
            "name": "network",  # network | discriminant | trees
            "hidden": (64, 64, 64),
            "members": 1,  # classifiers of a fold
            "half_split": False,  # two folds, and only the second is scored
            "feature_fraction": 1.0,  # of the features, that a member sees
            "max_iter": 200,  # of trees
            "n_cosines": 100,  # of the discriminant
            "epochs": 20,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "average_last": 5,  # epochs, at whose ends the parameters are averaged
        }
        | changes
    )


def counts(
    pool: Pool,
    classifier: ConfigDict | Fit,
    efficiencies: Sequence[float],
    seed: int,
    toys: Sequence[int],
    chunk: int = 8,
    expected: float | None = None,
) -> np.ndarray:
    """Data events that pass each cut, int32 (T, folds, n_eff); -1 in folds that are not scored.

    Args:
        classifier: a recipe of `get_config`, or any function that fits.
        efficiencies: eps, the fraction of background that passes: events with u <= eps.
        toys: their numbers; 0 is the observed data.
        chunk: toys that train at once.
        expected: mean of the Poisson number of data events of a toy; None: that of the data.
    """
    raise NotImplementedError


def observed(
    pool: Pool, classifier: ConfigDict | Fit, efficiencies, seed: int, toy: int = 0, chunk: int = 8
) -> Observed:
    """Scores of one toy, by the program that counts."""
    raise NotImplementedError


def run_toys(
    pool: Pool,
    classifier: ConfigDict | Fit,
    efficiencies: Sequence[float],
    seed: int,
    n_toys: int,
    path: Path,
    chunk: int = 8,
    stop: Callable[[], bool] = lambda: False,
    name: str = "window",
    expected: float | None = None,
) -> np.ndarray:
    """Counts (n_toys + 1, folds, n_eff) of toys 0 ... n_toys, kept in `path` as they come."""
    raise NotImplementedError
