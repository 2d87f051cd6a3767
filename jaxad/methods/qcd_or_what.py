"""The autoencoder of "QCD or What?" on event images (Heimel et al., arXiv:1808.08979).

Loss and default score are the sum over pixels of the squared difference.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs import Stage
from jaxad.inputs.images import augment
from jaxad.methods import Bench
from jaxad.methods.stages import event_images, rows
from jaxad.methods.stages.event_images import (
    SSIM_WINDOW,
    bce,
    in_chunks,
    reconstruction_scores,
    ssim,
)
from jaxad.models.qcd_or_what import MAX_SIDE, QCDOrWhat
from jaxad.training import Task, weighted_mean

KINDS = ("image",)


def stage_of(config: ConfigDict, layout: Layout) -> Stage:
    """Images of a size that the network takes."""
    stage = event_images.stage_of(config, layout, "qcd_or_what")
    h, w = rows.shape_of(stage)[1:3]
    if not (min(h, w) >= SSIM_WINDOW and max(h, w) <= MAX_SIDE):
        raise UserError(
            f"qcd_or_what: takes images of {SSIM_WINDOW} to {MAX_SIDE} pixels a side, "
            f"found ({h}, {w})"
        )
    return stage


def task(config: ConfigDict) -> Task:
    """Training on rows with images "x" (n, h, w, c)."""
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


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on QCD: {"params"} with leading axes (members, best epochs)."""
    stage_of(config, dataset.layout)
    train, val = event_images.background(config, dataset, "qcd_or_what")
    result = bench.fit(task(config), train, val, config.train, config.seed, stage="autoencoder")
    return {"params": result.params}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{score: (members, n)}: mse (default), dice, abs, bce, pixels_in, pixels_out."""
    network = QCDOrWhat(latent=config.model.latent)

    def one(fitted: dict, x: Array) -> dict[str, Array]:
        logits, _ = network.apply({"params": fitted["params"]}, x)
        return reconstruction_scores(x, jax.nn.sigmoid(logits)) | {"bce": bce(x, logits)}

    return event_images.scorer(stage_of(config, layout), one, "mse")


def outputs(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """Input and reconstruction (n, h, w) and latent (n, 32) of the first member."""
    network = QCDOrWhat(latent=config.model.latent)
    stage = stage_of(config, layout)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        params = event_images.first_member(fitted)["params"]

        def chunk(images: Array) -> dict[str, Array]:
            x = stage.values(images)
            logits, z = network.apply({"params": params}, x)
            reconstruction = jax.nn.sigmoid(logits).sum(-1)
            return {"input": x.sum(-1), "reconstruction": reconstruction, "latent": z}

        return in_chunks(chunk, raw)

    return function
