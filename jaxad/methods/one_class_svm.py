"""One-class support vector machine (Schölkopf et al., Neural Computation 13
(2001) 1443): fitted by scikit-learn on `method.n_fit` random training events, since the time grows
with their square; scored as a pure JAX function of the support vectors.
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
from jaxad.methods.stages import rows

KINDS = ("vector",)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict[str, np.ndarray]:
    """Support vectors (v, d), their coefficients (v,), offset () and kernel width gamma ()."""
    from sklearn.svm import OneClassSVM  # half a second, for a fit alone

    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "one_class_svm")
    learnt, x, weight = rows.chosen(config, stage, dataset, config.method.n_fit)
    machine = OneClassSVM(nu=config.method.nu, gamma="scale")
    machine.fit(x.astype(np.float64), sample_weight=weight)
    return {
        "vectors": machine.support_vectors_.astype(np.float32),
        "coefficients": machine.dual_coef_[0].astype(np.float32),
        "offset": np.float32(machine.intercept_[0]),
        "gamma": np.float32(machine._gamma),
        "inputs": learnt,
    }


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"distance": (n,)}: minus the signed distance from the surface around the background."""
    stage = inputs.stage(config.inputs, layout, KINDS, "one_class_svm")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        distances = rows.squared_distances(stage.apply(fitted, raw), fitted["vectors"])
        kernel = jnp.exp(-fitted["gamma"] * distances)
        return {"distance": -(kernel @ fitted["coefficients"] + fitted["offset"])}

    return function
