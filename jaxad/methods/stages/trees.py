"""Ensembles of histogram-gradient-boosted trees as arrays, after "Back to the roots"
(Finke et al., arXiv:2309.13111): fitted by scikit-learn, scored as a pure JAX function.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad.devices.cores import side_by_side

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

FIELDS = {
    "feature": ("feature_idx", np.int32),
    "threshold": ("num_threshold", np.float32),
    "left": ("left", np.int32),
    "right": ("right", np.int32),
    "value": ("value", np.float32),
}


def fit(
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    indices: Sequence[np.ndarray],
    seed: int,
    max_iter: int = 200,
    masks: np.ndarray | None = None,
    **changes: Any,
) -> dict[str, np.ndarray]:
    """One boosted classifier a member, on its rows `indices[i]`, half of them to stop early on.

    Members are fitted side by side, each on one core, and are the same for any number of cores.

    Args:
        x: features (N, F); y: classes (N,) 0 or 1; weight: (N,) weights of the rows.
        masks: (members, F) bool, the features that each sees; None: all.
        changes: other settings of scikit-learn's classifier, `validation_fraction` too.

    Returns:
        Nodes of all trees, arrays (members, trees, nodes), leaves pointing at themselves; "base"
        (members,), the logit to start from; "depth" (), the longest path.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # half a second, for trees alone

    masks = np.ones((len(indices), x.shape[1]), bool) if masks is None else masks

    def member(i: int) -> HistGradientBoostingClassifier:
        rows = indices[i]
        model = HistGradientBoostingClassifier(
            max_iter=max_iter,
            early_stopping=True,
            random_state=seed + i,
            **({"validation_fraction": 0.5} | changes),
        )
        seen = x[rows] if masks[i].all() else x[rows][:, masks[i]]
        return model.fit(seen, y[rows], sample_weight=weight[rows])

    members = side_by_side(member, range(len(indices)), "boosted trees", "member")
    return as_arrays(members, masks)


def as_arrays(
    members: "Sequence[HistGradientBoostingClassifier]", masks: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays of `fit`, of scikit-learn's boosted ensembles and the features of each."""
    nodes = [[step[0].nodes for step in model._predictors] for model in members]
    shape = (len(nodes), max(map(len, nodes)), max(len(t) for trees in nodes for t in trees))
    arrays = {name: np.zeros(shape, dtype) for name, (_, dtype) in FIELDS.items()}
    arrays["left"][:] = arrays["right"][:] = np.arange(shape[2])
    for i, trees in enumerate(nodes):
        columns = np.flatnonzero(masks[i])  # of the features, where those of the trees are a part
        for j, tree in enumerate(trees):
            inner = ~tree["is_leaf"].astype(bool)
            for name, (field, _) in FIELDS.items():
                keep = ~inner if name == "value" else inner
                arrays[name][i, j, : len(tree)][keep] = tree[field][keep]
            arrays["feature"][i, j] = columns[arrays["feature"][i, j]]
            # scikit-learn compares doubles: the next lower float keeps x <= threshold exact.
            exact = tree["num_threshold"][inner]
            low = arrays["threshold"][i, j, : len(tree)][inner]
            arrays["threshold"][i, j, : len(tree)][inner] = np.where(
                low > exact, np.nextafter(low, np.float32(-np.inf)), low
            )
    depth = max(int(tree["depth"].max()) for trees in nodes for tree in trees)
    base = np.array([np.ravel(m._baseline_prediction)[0] for m in members], np.float32)
    return arrays | {"base": base, "depth": np.int32(depth)}


@jax.jit
def leaf_sums(trees: dict[str, Array], x: Array) -> Array:
    """Sums (members, N) of the leaves in which features `x` (N, F) end: logits, once boosted.

    Exports know a forest by the name of this function, and what it reads of `trees` by name.
    """

    def tree_value(tree: dict[str, Array]) -> Array:
        def descend(_: int, node: Array) -> Array:
            value = jnp.take_along_axis(x, tree["feature"][node][:, None], axis=1)[:, 0]
            below = value <= tree["threshold"][node]
            return jnp.where(below, tree["left"][node], tree["right"][node])

        node = jax.lax.fori_loop(0, trees["depth"], descend, jnp.zeros(len(x), jnp.int32))
        return tree["value"][node]

    def member(nodes: dict[str, Array]) -> Array:
        add = lambda total, tree: (total + tree_value(tree), None)  # noqa: E731
        return jax.lax.scan(add, jnp.zeros(len(x)), nodes)[0]

    nodes = {name: trees[name] for name in FIELDS}
    return jax.lax.map(member, nodes) + trees["base"][:, None]
