"""Principal components of images or vectors: the linear autoencoder every network has to beat."""

from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.methods import Bench
from jaxad.storage import blockwise, on_disk

KINDS = ("image", "vector")
BLOCK = 4096  # events
WIDE = 2048
"""Numbers an event above which components are found by a randomised decomposition."""
N_COMPONENTS = 2
"""Without `pca.components`, and of which fewer are taken of events of two numbers."""


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Mean (d,) and components (k, d) of the background's d pixels or components; {"inputs"}.

    k is `pca.components`, or 2; one component of two numbers, which two would reproduce.

    Raises:
        UserError: one number an event, or so many components that they reproduce every event.
    """
    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "pca")
    learnt, found = inputs.prepared(stage, {"train": dataset.train["x"]})
    x = found["train"].reshape(len(found["train"]), -1)
    if x.shape[1] < 2:
        raise UserError("pca: takes two or more numbers an event, found 1: choose another method")
    n = config.get("pca", {}).get("components", N_COMPONENTS)
    if n > max(N_COMPONENTS, x.shape[1] - 1):
        raise UserError(
            f"pca.components: expected at most {x.shape[1] - 1} of {x.shape[1]} numbers an event, "
            f"found {n}"
        )
    n, weight = min(n, x.shape[1] - 1, len(x)), dataset.train.get("weight")
    if weight is not None:
        return {**_weighted(x, weight, n), "inputs": learnt}
    from sklearn.decomposition import PCA  # half a second, for a fit alone

    solver = "covariance_eigh" if x.shape[1] <= WIDE else "randomized"
    pca = PCA(n, svd_solver=solver, random_state=config.seed)
    pca.fit(x.astype(np.float32, copy=False))
    return {
        "mean": pca.mean_.astype(np.float32),
        "components": pca.components_.astype(np.float32),
        "inputs": learnt,
    }


def _weighted(x: np.ndarray, weight: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Mean and the first n components of the covariance of weighted rows (N, d)."""
    total = blockwise.total(weight)

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(x), BLOCK):
            here = slice(start, start + BLOCK)
            yield x[here].astype(np.float64), weight[here].astype(np.float64)[:, None]
            on_disk.release(x)
            on_disk.release(weight)

    mean = sum((rows * w).sum(axis=0) for rows, w in blocks()) / total
    moment = sum((rows - mean).T @ ((rows - mean) * w) for rows, w in blocks())
    _, axes = np.linalg.eigh(moment / total)
    return {
        "mean": mean.astype(np.float32),
        "components": axes.T[::-1][:n].astype(np.float32),
    }


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"mse": (n,)}: squared distance from the components' plane, mean over pixels or features."""
    function = outputs(config, layout)

    def squared_error(fitted: dict, x: Array) -> dict[str, Array]:
        result = function(fitted, x)
        error = (result["input"] - result["reconstruction"]) ** 2
        return {"mse": jnp.mean(error, axis=range(1, error.ndim))}

    return squared_error


def outputs(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """Input, reconstruction (as it) and latent (n, k)."""
    stage = inputs.stage(config.inputs, layout, KINDS, "pca")

    def function(fitted: dict, x: Array) -> dict[str, Array]:
        z = stage.apply(fitted, x)
        flat = z.reshape(len(z), -1) - fitted["mean"]
        latent = flat @ fitted["components"].T
        output = (latent @ fitted["components"] + fitted["mean"]).reshape(z.shape)
        return {"input": z, "reconstruction": output, "latent": latent}

    return function
