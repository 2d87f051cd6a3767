"""Mixture of Gaussians with full covariances on vectors: the likelihood is the score.

Fitted by scikit-learn on `method.n_fit` random training events, scored as a pure JAX function.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict
from threadpoolctl import threadpool_limits

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.methods import Bench
from jaxad.methods.stages import rows

FLOOR = 1e-3
"""Added to every variance: slots that are nearly always empty would have none."""


KINDS = ("vector",)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict[str, np.ndarray]:
    """Means times precisions (c, d), Cholesky precisions (c, d, d), log norms (c,)."""
    from sklearn.mixture import GaussianMixture  # half a second, for a fit alone

    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "gaussian_mixture")
    n_fit = config.method.n_fit
    learnt, x, _ = rows.chosen(config, stage, dataset, n_fit, at_least="n_components")
    rows.tell_unweighted(dataset, "gaussian_mixture", "scikit-learn's mixture takes none")
    mixture = GaussianMixture(config.method.n_components, reg_covar=FLOOR, random_state=config.seed)
    # Threads would share thousands of small products, spinning between them, and order the sums.
    with threadpool_limits(1):
        mixture.fit(x.astype(np.float64))
    precisions = mixture.precisions_cholesky_
    determinants = np.log(np.diagonal(precisions, axis1=1, axis2=2)).sum(axis=1)
    norms = np.log(mixture.weights_) + determinants - 0.5 * x.shape[1] * np.log(2 * np.pi)
    return {
        "centres": np.einsum("cd,cde->ce", mixture.means_, precisions).astype(np.float32),
        "precisions": precisions.astype(np.float32),
        "norms": norms.astype(np.float32),
        "inputs": learnt,
    }


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"nll": (n,)}: minus the log-likelihood of the mixture."""
    stage = inputs.stage(config.inputs, layout, KINDS, "gaussian_mixture")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = stage.apply(fitted, raw)
        y = jnp.einsum("nd,cde->nce", x, fitted["precisions"]) - fitted["centres"]
        logs = fitted["norms"] - 0.5 * jnp.sum(y**2, axis=-1)
        return {"nll": -jax.nn.logsumexp(logs, axis=-1)}

    return function
