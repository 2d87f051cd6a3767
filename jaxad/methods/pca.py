"""Principal components of images or features: the linear autoencoder every network has to beat."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict
from sklearn.decomposition import PCA

from jaxad.data.dataset import Dataset
from jaxad.methods.inputs import fit_inputs, inputs_of, prepared

N_COMPONENTS = 2


def fit(config: ConfigDict, dataset: Dataset, fitter: object) -> dict[str, np.ndarray]:
    """Mean (d,) and components (2, d) of the background's d pixels or features (`fit_inputs`)."""
    learnt = fit_inputs(config.inputs, dataset.train["x"])
    x = prepared(config.inputs, learnt, dataset.train["x"], "train")
    pca = PCA(N_COMPONENTS, svd_solver="covariance_eigh").fit(x.reshape(len(x), -1))
    return {
        "mean": pca.mean_.astype(np.float32),
        "components": pca.components_.astype(np.float32),
        **learnt,
    }


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{"mse": (n,)}: squared distance from the components' plane, mean over pixels or features."""
    function = outputs(config)

    def squared_error(fitted: dict, x: Array) -> dict[str, Array]:
        result = function(fitted, x)
        error = (result["input"] - result["reconstruction"]) ** 2
        return {"mse": jnp.mean(error, axis=range(1, error.ndim))}

    return squared_error


def outputs(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """Input, reconstruction (as it) and latent (n, 2)."""
    preprocess = inputs_of(config.inputs)

    def function(fitted: dict, x: Array) -> dict[str, Array]:
        z = preprocess(fitted, x)
        flat = z.reshape(len(z), -1) - fitted["mean"]
        latent = flat @ fitted["components"].T
        output = (latent @ fitted["components"] + fitted["mean"]).reshape(z.shape)
        return {"input": z, "reconstruction": output, "latent": latent}

    return function
