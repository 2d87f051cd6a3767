"""Mixture of Gaussians with full covariances on trigger events: the likelihood is the score.

Fitted by scikit-learn on `method.n_fit` random training events, scored as a pure JAX function.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict
from sklearn.mixture import GaussianMixture

from jaxad.data.dataset import Dataset
from jaxad.methods.trigger_events import features, subsample

FLOOR = 1e-3
"""Added to every variance: slots that are nearly always empty would have none."""


def fit(config: ConfigDict, dataset: Dataset, fitter: object) -> dict[str, np.ndarray]:
    """Means times precisions (c, 57), Cholesky precisions (c, 57, 57), log norms (c,)."""
    events = subsample(config, dataset.train["x"], config.method.n_fit)
    x = np.asarray(features(config.inputs)(events), np.float64)
    mixture = GaussianMixture(
        config.method.n_components, reg_covar=FLOOR, random_state=config.seed
    ).fit(x)
    precisions = mixture.precisions_cholesky_
    determinants = np.log(np.diagonal(precisions, axis1=1, axis2=2)).sum(axis=1)
    norms = np.log(mixture.weights_) + determinants - 0.5 * x.shape[1] * np.log(2 * np.pi)
    return {
        "centres": np.einsum("cd,cde->ce", mixture.means_, precisions).astype(np.float32),
        "precisions": precisions.astype(np.float32),
        "norms": norms.astype(np.float32),
    }


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{"nll": (n,)}: minus the log-likelihood of the mixture."""
    prepare = features(config.inputs)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        y = jnp.einsum("nd,cde->nce", prepare(raw), fitted["precisions"]) - fitted["centres"]
        logs = fitted["norms"] - 0.5 * jnp.sum(y**2, axis=-1)
        return {"nll": -jax.nn.logsumexp(logs, axis=-1)}

    return function
