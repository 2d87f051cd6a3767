"""One-class support vector machine on trigger events (Schölkopf et al., Neural Computation 13
(2001) 1443): fitted by scikit-learn on `method.n_fit` random training events, since the time grows
with their square; scored as a pure JAX function of the support vectors.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict
from sklearn.svm import OneClassSVM

from jaxad.data.dataset import Dataset
from jaxad.methods.trigger_events import features, squared_distances, subsample


def fit(config: ConfigDict, dataset: Dataset, fitter: object) -> dict[str, np.ndarray]:
    """Support vectors (v, 57), their coefficients (v,), offset () and kernel width gamma ()."""
    events = subsample(config, dataset.train["x"], config.method.n_fit)
    x = np.asarray(features(config.inputs)(events), np.float64)
    machine = OneClassSVM(nu=config.method.nu, gamma="scale").fit(x)
    return {
        "vectors": machine.support_vectors_.astype(np.float32),
        "coefficients": machine.dual_coef_[0].astype(np.float32),
        "offset": np.float32(machine.intercept_[0]),
        "gamma": np.float32(machine._gamma),
    }


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{"distance": (n,)}: minus the signed distance from the surface around the background."""
    prepare = features(config.inputs)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        distances = squared_distances(prepare(raw), fitted["vectors"])
        kernel = jnp.exp(-fitted["gamma"] * distances)
        return {"distance": -(kernel @ fitted["coefficients"] + fitted["offset"])}

    return function
