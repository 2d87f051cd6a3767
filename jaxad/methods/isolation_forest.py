"""Isolation forest on vectors (Liu, Ting, Zhou, ICDM 2008): few random cuts isolate the odd.

Fitted by scikit-learn on `method.n_fit` random training events, of which every tree sees 256;
scored as a pure JAX function of the nodes.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.methods import Bench
from jaxad.methods.stages import rows, trees

KINDS = ("vector",)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict[str, np.ndarray]:
    """Nodes (1, trees, nodes) as `trees.leaf_sums` reads them; leaves hold the depth.

    "norm" (): number of trees times the mean depth of a random tree.
    """
    from sklearn.ensemble import IsolationForest  # half a second, for a fit alone

    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "isolation_forest")
    learnt, x, weight = rows.chosen(config, stage, dataset, config.method.n_fit)
    if weight is not None:
        x, weight = x[weight > 0], weight[weight > 0]
    forest = IsolationForest(n_estimators=config.method.n_trees, random_state=config.seed)
    forest.fit(x, sample_weight=weight)
    found = [model.tree_ for model in forest.estimators_]
    shape = (1, len(found), max(tree.node_count for tree in found))
    arrays = {name: np.zeros(shape, dtype) for name, (_, dtype) in trees.FIELDS.items()}
    arrays["left"][:] = arrays["right"][:] = np.arange(shape[2])
    for i, tree in enumerate(found):
        inner = np.flatnonzero(tree.children_left >= 0)
        leaves = np.flatnonzero(tree.children_left < 0)
        # scikit-learn compares doubles: the next lower float keeps x <= threshold exact.
        low = tree.threshold[inner].astype(np.float32)
        exact = np.where(low > tree.threshold[inner], np.nextafter(low, np.float32(-np.inf)), low)
        arrays["feature"][0, i, inner] = tree.feature[inner]
        arrays["threshold"][0, i, inner] = exact
        arrays["left"][0, i, inner] = tree.children_left[inner]
        arrays["right"][0, i, inner] = tree.children_right[inner]
        arrays["value"][0, i, leaves] = _depths(tree)[leaves] + mean_depth(
            tree.n_node_samples[leaves]
        )
    return arrays | {
        "base": np.zeros(1, np.float32),
        "depth": np.int32(max(tree.max_depth for tree in found)),
        "norm": np.float32(len(found) * mean_depth(np.array([forest.max_samples_]))[0]),
        "inputs": learnt,
    }


def _depths(tree: object) -> np.ndarray:
    """Cuts above each node; parents come before their children."""
    depth = np.zeros(tree.node_count)
    for node in np.flatnonzero(tree.children_left >= 0):
        depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
    return depth


def mean_depth(n: np.ndarray) -> np.ndarray:
    """Mean number of cuts that isolate one of `n` events: 2 H(n - 1) - 2 (n - 1) / n, eq. (1)."""
    many = np.maximum(n, 3)
    harmonic = np.log(many - 1.0) + np.euler_gamma
    return np.select([n <= 1, n == 2], [0.0, 1.0], 2.0 * harmonic - 2.0 * (many - 1.0) / many)


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"isolation": (n,)}: 2^(-depth / mean depth) in (0, 1), eq. (2)."""
    stage = inputs.stage(config.inputs, layout, KINDS, "isolation_forest")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        forest = {name: values for name, values in fitted.items() if name != "inputs"}
        depth = trees.leaf_sums(forest, stage.apply(fitted, raw))[0]
        return {"isolation": jnp.exp2(-depth / fitted["norm"])}

    return function
