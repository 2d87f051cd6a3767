"""Boosted trees as logic: comparisons, the choice of leaves and their sum, as da4ml counts LUTs."""

from typing import Any

import numpy as np

FRACTION = 10
"""Bits behind the point of a leaf's value."""


def round_leaves(model: Any) -> None:
    """Sets leaves of scikit-learn's boosted regressor, and its start, to multiples of a step."""
    for (tree,) in model._predictors:
        tree.nodes["value"] = on_grid(tree.nodes["value"])
    model._baseline_prediction = on_grid(model._baseline_prediction)


def on_grid(values: np.ndarray) -> np.ndarray:
    """The nearest multiples of 2^-FRACTION."""
    return np.ldexp(np.rint(np.ldexp(values, FRACTION)), -FRACTION)


def total(model: Any, x: Any) -> Any:
    """What the model predicts (1,), of an array of symbolic numbers on one grid.

    Args:
        model: after `round_leaves`.
        x: its features, arrays of da4ml.
    """
    from da4ml.trace import FixedVariable

    step = 2.0 ** -int(np.max(x.kif[2]))

    def value(nodes: np.ndarray, i: int) -> Any:
        node = nodes[i]
        if node["is_leaf"]:
            return FixedVariable.from_const(float(node["value"]), hwconf=x.hwconf)
        above = (np.floor(node["num_threshold"] / step) + 1) * step
        below = (x[node["feature_idx"]] - float(above)).is_negative()
        return below.msb_mux(*(value(nodes, int(node[side])) for side in ("left", "right")))

    leaves = np.array([value(tree.nodes, 0) for (tree,) in model._predictors])
    start = float(np.ravel(model._baseline_prediction)[0])
    return np.sum(type(x)(leaves, hwconf=x.hwconf), keepdims=True) + start
