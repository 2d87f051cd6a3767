"""The autoencoder of "QCD or What?" on event images (Heimel et al., arXiv:1808.08979).

Loss and default score are the sum over pixels of the squared difference.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.codae import augment
from jaxad.data.dataset import Dataset
from jaxad.methods import event_images
from jaxad.methods.event_images import bce, in_chunks, network_input, reconstruction_scores, ssim
from jaxad.models.qcd_or_what import QCDOrWhat
from jaxad.training import Fitted, Task, weighted_mean


def task(config: ConfigDict) -> Task:
    """Training on rows with images "x" (n, 72, 58, c)."""
    network = QCDOrWhat(latent=config.model.latent)

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return network.init(key, batch["x"][:1].astype(jnp.float32))["params"], {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        x = augment(batch["x"], key) if training and config.method.augment else batch["x"]
        x = x.astype(jnp.float32)
        y = jax.nn.sigmoid(network.apply({"params": params}, x)[0])
        errors = jnp.sum((x - y) ** 2, axis=(1, 2, 3))
        metrics = {"ssim": weighted_mean(ssim(x, y), batch["weight"])}
        return weighted_mean(errors, batch["weight"]), (metrics, state)

    return Task(init, loss, cpu_rows=8)


def fit(config: ConfigDict, dataset: Dataset, fitter: Callable[..., Fitted]) -> dict:
    """Train on QCD: {"params"} with leading axes (members, best epochs)."""
    train, val = (event_images.stored(config.inputs, r) for r in (dataset.train, dataset.val))
    result = fitter(task(config), train, val, config.train, config.seed, stage="autoencoder")
    return {"params": result.params}


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{score: (members, n)}: mse (default), dice, abs, bce, pixels_in, pixels_out."""
    network = QCDOrWhat(latent=config.model.latent)

    def one(fitted: dict, x: Array) -> dict[str, Array]:
        logits, _ = network.apply({"params": fitted["params"]}, x)
        return reconstruction_scores(x, jax.nn.sigmoid(logits)) | {"bce": bce(x, logits)}

    return event_images.scorer(config.inputs, one, "mse")


def outputs(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """Input and reconstruction (n, 72, 58) and latent (n, 32) of the first member."""
    network = QCDOrWhat(latent=config.model.latent)
    preprocess = network_input(config.inputs)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        params = event_images.first_member(fitted)["params"]

        def chunk(images: Array) -> dict[str, Array]:
            x = preprocess(images)
            logits, z = network.apply({"params": params}, x)
            reconstruction = jax.nn.sigmoid(logits).sum(-1)
            return {"input": x.sum(-1), "reconstruction": reconstruction, "latent": z}

        return in_chunks(chunk, raw)

    return function
