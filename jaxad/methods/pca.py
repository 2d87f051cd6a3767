"""Principal components of jet images: the linear autoencoder every network has to beat."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict
from sklearn.decomposition import PCA

from jaxad.data.dataset import Dataset
from jaxad.methods.inputs import image_of, images

N_COMPONENTS = 2


def fit(config: ConfigDict, dataset: Dataset, fitter: object) -> dict[str, np.ndarray]:
    """Mean (h * w,) and components (2, h * w) of the background's training images."""
    x = images(config.inputs, dataset.train["x"], "train")
    pca = PCA(N_COMPONENTS, svd_solver="covariance_eigh").fit(x.reshape(len(x), -1))
    return {
        "mean": pca.mean_.astype(np.float32),
        "components": pca.components_.astype(np.float32),
    }


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{"mse": (n,)}: mean over pixels of the squared distance from the plane of components."""
    function = outputs(config)

    def squared_error(fitted: dict, x: Array) -> dict[str, Array]:
        result = function(fitted, x)
        return {"mse": jnp.mean((result["input"] - result["reconstruction"]) ** 2, axis=(1, 2))}

    return squared_error


def outputs(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """Input and reconstruction (n, h, w) and latent (n, 2)."""
    preprocess = image_of(config.inputs)

    def function(fitted: dict, x: Array) -> dict[str, Array]:
        image = preprocess(x)[..., 0]
        flat = image.reshape(len(image), -1) - fitted["mean"]
        latent = flat @ fitted["components"].T
        output = (latent @ fitted["components"] + fitted["mean"]).reshape(image.shape)
        return {"input": image, "reconstruction": output, "latent": latent}

    return function
