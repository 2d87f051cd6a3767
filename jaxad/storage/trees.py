"""Nested dicts of arrays as one dict of names, and back: what an npz file holds."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """Nested dicts of arrays -> {"a/b/c": array}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(str(k.key) for k in path): np.asarray(leaf) for path, leaf in leaves}


def unflatten(arrays: Mapping[str, np.ndarray]) -> dict:
    """The nested dicts of `flatten`."""
    tree: dict = {}
    for name, array in arrays.items():
        *path, last = name.split("/")
        node = tree
        for key in path:
            node = node.setdefault(key, {})
        node[last] = array
    return tree
