"""Attribute bagging (arXiv:2604.20965): each member of an ensemble sees a part of the features."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad.training import streams
from jaxad.training.streams import Purpose


def feature_mask(key: Array, n_features: int, fraction: float) -> Array:
    """Which features a member sees, (n_features,) bool: a random `fraction` of them, one at least.

    Examples:
        >>> int(feature_mask(streams.key(0, Purpose.TOY_FEATURES), 10, 0.3).sum())
        3
    """
    n = max(1, round(fraction * n_features))
    return jax.random.permutation(key, jnp.arange(n_features) < n)


def member_mask(key: Array, n_features: int, fraction: float) -> Array:
    """That of the member whose parameters start from `key`."""
    return feature_mask(jax.random.split(key)[1], n_features, fraction)


def masks(seed: int, stage: str, n_members: int, n_features: int, fraction: float) -> np.ndarray:
    """Those (members, F) bool of an ensemble: member i is of `seed` + i, as the engine has it."""
    keys = [streams.key(seed + i, Purpose.INITIAL, stage) for i in range(n_members)]
    return np.stack([member_mask(key, n_features, fraction) for key in keys])


def without_unseen(params: Any, masks: np.ndarray) -> Any:
    """Parameters (members, epochs, ...) of classifiers with weights 0 on what a member did not see.

    What scores and exports them need not know of masks.
    """

    def masked(path: tuple, values: np.ndarray) -> np.ndarray:
        first = [entry.key for entry in path[-2:]] == ["Dense_0", "kernel"]
        return values * masks[:, None, :, None] if first else values

    return jax.tree_util.tree_map_with_path(masked, params)
