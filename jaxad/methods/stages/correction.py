"""Where the sidebands say that a density is wrong: weights of its draws.

Boosted classifiers of sideband data against draws at the same masses give w(x, m) = p / (1 - p)
(Andreassen, Nachman, arXiv:1907.08209). Draws are accepted in proportion to w, in the window too:
a fault of the density's shape is much the same there. The window's data are never seen, for the
weights would absorb a signal.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxad.data.dataset import Rows
from jaxad.methods.stages import trees
from jaxad.training import streams
from jaxad.training.streams import Purpose

LARGEST = 2.0
"""No weight is more than this, or less than one over it."""
BOUND = 0.999
"""Draws whose weight is beyond this quantile count as if it were that."""
ROWS_AT_ONCE, MIN_ROWS = 65_536, 1024
MAX_ROWS = 200_000  # that a classifier learns from
BAG = 0.75
"""Of the rows, that each classifier sees."""
TREES = 16
"""To a multiple of so many trees a forest is filled up."""
_SLOW = {
    "learning_rate": 0.04,
    "max_leaf_nodes": 12,
    "min_samples_leaf": 400,
    "n_iter_no_change": 15,
    "validation_fraction": 0.3,
}
"""A good density errs by a few per cent: hasty trees would add more noise than they take away."""


def fit(members: int, data: Rows, draws: Rows, seed: int, stage: str) -> dict[str, Any]:
    """Weights from sideband data and draws there, both "x" (N, F) and "m" (N,), perhaps "weight".

    Returns:
        {"trees": of `trees.fit`, "members" of them; "bound": () float32, the largest weight}.
    """
    inputs = [_inputs(rows["x"], rows["m"]) for rows in (draws, data)]
    x, y = np.concatenate(inputs), np.repeat([0.0, 1.0], [len(part) for part in inputs])
    share = [rows.get("weight", np.ones(len(rows["m"]))) for rows in (draws, data)]
    weight = np.concatenate([w / w.sum() * len(y) / 2 for w in share])
    size = min(round(BAG * len(y)), MAX_ROWS)
    bags = [
        streams.generator(seed, Purpose.ROWS, stage, i).permutation(len(y))[:size]
        for i in range(members)
    ]
    fitted = _filled(trees.fit(x, y, weight, bags, seed, **_SLOW))
    return {"trees": fitted, "bound": np.float32(np.quantile(_weights(fitted, inputs[0]), BOUND))}


def _filled(fitted: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with few shapes, for each is compiled: more trees and nodes, of value 0."""
    n_trees, n_nodes = fitted["value"].shape[1:]
    missing = (0, 0), (0, -n_trees % TREES), (0, 2 * _SLOW["max_leaf_nodes"] - 1 - n_nodes)
    return fitted | {name: np.pad(fitted[name], missing) for name in trees.FIELDS}


def _inputs(x: np.ndarray, m: np.ndarray) -> np.ndarray:
    return np.column_stack([x, m]).astype(np.float32)


def _weights(fitted: dict, inputs: np.ndarray) -> np.ndarray:
    logits = []
    for start in range(0, len(inputs), ROWS_AT_ONCE):
        rows = inputs[start : start + ROWS_AT_ONCE]
        # Few shapes, for each is compiled.
        size = max(MIN_ROWS, 1 << (len(rows) - 1).bit_length())
        filled = np.pad(rows, ((0, size - len(rows)), (0, 0)))
        found = np.asarray(trees.leaf_sums(fitted, jnp.asarray(filled)))
        logits.append(found[:, : len(rows)].mean(axis=0))
    return np.clip(np.exp(np.concatenate(logits)), 1 / LARGEST, LARGEST)


def accepted(correction: dict, x: np.ndarray, m: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Which draws `x` (N, F) at masses `m` (N,) stay, bool (N,), by uniform numbers `u` (N,)."""
    return u * correction["bound"] < _weights(correction["trees"], _inputs(x, m))
