"""A linear discriminant on random cosines, in closed form: a toy costs a few matrix products.

The features are cos(W x + b) of the standardised rows (Rahimi and Recht, 2007), and their
covariance is that of the whole pool, which knows no labels. The direction of a fold is the
covariance's inverse times the difference of the means of data and template in all other folds,
that of data weighted.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import ThreadpoolController

from jaxad.search.plan import Engine, Plan, count
from jaxad.search.pool import DATA, OTHER, TRAINING
from jaxad.training import streams
from jaxad.training.streams import Purpose

BLOCK = 16
"""Toys whose products are taken at once, 16 i ... 16 i + 15: what a toy scores has the same last
bits whichever toys are asked for."""
RIDGE = 1e-3
"""Added to the diagonal of the covariance, in units of its mean."""


class _Fold(NamedTuple):
    """Of one fold of the pool, whose rows begin at `first`."""

    first: int
    data: np.ndarray  # places of data, from the first on
    weight: np.ndarray  # float32 of these places of data
    training: np.ndarray
    phi: np.ndarray  # (P_fold, D) cosines of its rows
    solved: np.ndarray  # (D, P_fold) inverse covariance times these


def cosines(x: np.ndarray, n: int, seed: int) -> np.ndarray:
    """`n` random cosines (P, n) float32 of rows (P, F)."""
    rng = streams.generator(seed, Purpose.TOY_FEATURES)
    frequencies, phases = rng.normal(size=(x.shape[1], n)), rng.uniform(0, 2 * np.pi, n)
    return np.cos(x @ frequencies.astype(np.float32) + phases.astype(np.float32))


def inverse_covariance(phi: np.ndarray) -> np.ndarray:
    """Of features (P, D), with the ridge, float32 (D, D)."""
    covariance = np.cov(phi, rowvar=False)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return cho_solve(cho_factor(covariance), np.eye(len(covariance))).astype(np.float32)


def engine(plan: Plan, recipe: ConfigDict) -> Engine:
    """With `recipe.n_cosines` features."""
    pool = plan.pool
    # Products as small as these are slower where threads share them.
    one_thread = partial(ThreadpoolController().limit, limits=1, user_api="blas")
    with one_thread():
        phi = cosines(pool.x, recipe.n_cosines, plan.seed)
        pooled = phi[pool.role != OTHER]
        phi -= pooled.mean(axis=0)
        inverse = inverse_covariance(pooled)
    edges = np.searchsorted(pool.fold, np.arange(pool.folds + 1))
    folds = []
    for start, stop in itertools.pairwise(edges):
        data, training = (np.flatnonzero(pool.role[start:stop] == r) for r in (DATA, TRAINING))
        own = np.ascontiguousarray(phi[start:stop])
        with one_thread():
            solved = inverse @ own.T
        weight = np.ones(len(data)) if plan.weight is None else plan.weight[start + data]
        folds.append(_Fold(start, data, weight.astype(np.float32), training, own, solved))
    up_to = [np.append(0.0, np.cumsum(fold.weight, dtype=np.float64)) for fold in folds]

    def block(number: int, wanted: Sequence[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Scores (P,) by place and numbers of data of the `wanted` toys of a block."""
        toys = range(number * BLOCK, (number + 1) * BLOCK)
        rows = [plan.rows(toy) for toy in toys]
        n_data = np.stack([plan.numbers(toy) for toy in toys])  # (BLOCK, folds)
        n_training = np.array([len(fold.training) for fold in folds])
        w_data = np.stack([up_to[k][n] for k, n in enumerate(n_data.T)], axis=1)
        sums = np.stack([_sums(f, rows, n_data[:, k]) for k, f in enumerate(folds)])
        other = sums.sum(axis=0) - sums  # (folds, 2, BLOCK, D)
        scores = {toy: np.full(len(pool.m), np.nan) for toy in wanted}
        for k in plan.folds:
            w_others = w_data.sum(axis=1) - w_data[:, k]
            difference = other[k, 0] / w_others[:, None]
            difference -= other[k, 1] / (n_training.sum() - n_training[k])
            by_row = difference.astype(np.float32) @ folds[k].solved  # (BLOCK, P_fold)
            places = plan.scored(k)
            for toy in wanted:
                i, first = toy - toys[0], folds[k].first
                scores[toy][places] = by_row[i][rows[i][places] - first]
        return {toy: (scores[toy], n_data[toy - toys[0]]) for toy in wanted}

    def counts(parts: Iterable[Sequence[int]]) -> Iterator[np.ndarray]:
        for part in parts:
            found: dict[int, np.ndarray] = {}
            for number in sorted({toy // BLOCK for toy in part}):
                wanted = [toy for toy in part if toy // BLOCK == number]
                with one_thread():
                    scored = block(number, wanted)
                for toy, (values, n_data) in scored.items():
                    found[toy] = count(plan, values, n_data)
            yield np.stack([found[toy] for toy in part])

    def scores(toy: int) -> np.ndarray:
        with one_thread():
            return block(toy // BLOCK, [toy])[toy][0]

    return Engine(counts, scores)


def _sums(fold: _Fold, rows: Sequence[np.ndarray], n_data: np.ndarray) -> np.ndarray:
    """Sums (2, toys, D) float64 of a fold's features: of data by their weights, and of template."""
    chosen = np.zeros((2, len(rows), len(fold.phi)), np.float32)
    for i, row in enumerate(rows):
        own = row[fold.first : fold.first + len(fold.phi)] - fold.first
        chosen[0, i, own[fold.data[: n_data[i]]]] = fold.weight[: n_data[i]]
        chosen[1, i, own[fold.training]] = 1
    total = chosen.reshape(-1, len(fold.phi)) @ fold.phi
    return total.reshape(2, len(rows), -1).astype(np.float64)
