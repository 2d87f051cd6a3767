"""What a pool is to the compiled programs of `jaxad.search.network`: tables on the device."""

from typing import NamedTuple

import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.search.plan import Plan, feature_masks
from jaxad.search.pool import DATA, TRAINING, places_of_data
from jaxad.training import streams
from jaxad.training.streams import Purpose

UNIT = 512
"""Rows, to a multiple of which tables are filled up: windows of like sizes share a program."""


class Batches(NamedTuple):
    """Places of all steps; `weight` (steps, B) is 0 on the padding of an epoch."""

    places: np.ndarray  # (epochs, steps, B) int32
    weight: np.ndarray


def batches(plan: Plan, epochs: int, batch_size: int) -> Batches:
    """Batches of which a classifier, which skips its own fold, sees about `batch_size` rows."""
    pool = plan.pool
    seen = np.stack([pool.fold != k for k in plan.folds]) & np.isin(pool.role, (DATA, TRAINING))
    places = np.flatnonzero(seen.any(axis=0)).astype(np.int32)
    steps = max(1, round(seen.sum(axis=1).mean() / batch_size))
    width = -(-len(places) // steps)
    order = np.zeros((epochs, steps * width), np.int32)
    for epoch in range(epochs):
        rng = streams.generator(plan.seed, Purpose.TOY_ORDER, epoch)
        order[epoch, : len(places)] = rng.permutation(places)
    weight = (np.arange(steps * width) < len(places)).astype(np.float32)
    return Batches(order.reshape(epochs, steps, width), weight.reshape(steps, width))


class Tables(NamedTuple):
    """Tables of the pool on the device; P and n are filled up to a multiple of `UNIT`."""

    x: Array  # (P, F)
    data: Array  # (P,) bool, places of data
    number: Array  # (P,) of a data place among those of its fold
    fold: Array  # (P,)
    places: Array  # (epochs, steps, B)
    weight: Array  # (steps, B)
    scored: Array  # (folds scored, n) places, filled up with the last one
    n_training: Array  # (folds scored,) template rows that train its classifiers
    counting: Array  # (groups, n) bool, which of those scored are a group's template
    own: Array  # (groups, n) bool, and which are its data
    ranks: Array  # (groups, n_eff)
    seed: Array
    masks: Array | None  # (folds scored, members, F) features that each sees, where not all
    weight_of: Array | None  # (P,) float32 of data places, where they differ
    up_to: Array | None  # (folds, n + 1) their sums of the first 0 ... n data places of a fold


def filled(values: np.ndarray, n: int) -> np.ndarray:
    """`values` (..., m) with the last one repeated up to (..., n)."""
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, n - values.shape[-1])], mode="edge")


def _up(n: int) -> int:
    return -(-n // UNIT) * UNIT


def tables(plan: Plan, recipe: ConfigDict, scored: list[np.ndarray]) -> Tables:
    """Of a pool, and the places that each fold scores."""
    pool, size, n = plan.pool, _up(len(plan.pool.m)), _up(max(map(len, scored)))
    data, number = places_of_data(pool)
    masks = None
    if recipe.feature_fraction < 1:
        masks = feature_masks(plan, recipe.members, recipe.feature_fraction)[list(plan.folds)]
        masks = masks.astype(np.float32)
    n_training = np.bincount(pool.fold[pool.role == TRAINING], minlength=pool.folds)
    groups = [(scored[plan.folds.index(group.fold)], group) for group in plan.groups]
    counting, own = (
        np.stack([np.pad(np.isin(places, part(g)), (0, n - len(places))) for places, g in groups])
        for part in (lambda g: g.counting, lambda g: g.data)
    )
    weight_of, up_to = _weights(plan)
    return Tables(
        x=filled(pool.x.T, size).T,
        data=filled(data, size),
        number=filled(np.where(data, number, 0).astype(np.int32), size),
        fold=filled(pool.fold, size),
        **batches(plan, recipe.epochs, recipe.batch_size)._asdict(),
        scored=np.stack([filled(places, n) for places in scored]).astype(np.int32),
        n_training=(n_training.sum() - n_training)[list(plan.folds)],
        counting=counting,
        own=own,
        ranks=np.stack([group.ranks for group in plan.groups]),
        seed=np.asarray(plan.seed, np.uint32),
        masks=masks,
        weight_of=None if weight_of is None else filled(weight_of, size),
        up_to=up_to,
    )


def _weights(plan: Plan) -> tuple[np.ndarray | None, np.ndarray | None]:
    """`weight_of` and `up_to` of `Tables`."""
    if plan.weight is None:
        return None, None
    pool = plan.pool
    each = [plan.weight[(pool.fold == k) & (pool.role == DATA)] for k in range(pool.folds)]
    up_to = np.zeros((pool.folds, 1 + max(map(len, each))), np.float32)
    for sums, own in zip(up_to, each, strict=True):
        sums[1 : 1 + len(own)] = np.cumsum(own)
    return plan.weight.astype(np.float32), up_to
