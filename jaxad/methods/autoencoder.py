"""Autoencoders on images or vectors: trained on background, they reconstruct all else badly.

Farina, Nakai, Shih (arXiv:1808.08992) and Heimel et al. (arXiv:1808.08979); larger images in
Bradshaw, Chang, Ostdiek (arXiv:2203.01343); counts as they are in the teacher of CICADA
(arXiv:2310.06047). Loss and score are the mean over pixels, or components of the vector, of the
squared difference. With `method.augment` each step sees copies of the images that are turned in phi
and mirrored in eta at random; with `method.symmetric` the reconstruction is the mean of those of
six copies, turned back: one network serves as an ensemble, and copies have the same score.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs.images import (
    drawn_copies,
    require_turnable,
    symmetric_copies,
    turned,
    turned_back,
    unit_sum,
)
from jaxad.methods import Bench
from jaxad.methods.stages import rows
from jaxad.models.autoencoder import ConvAutoencoder, CountsAutoencoder, PooledAutoencoder
from jaxad.models.dense import DenseAutoencoder, Reconstruction
from jaxad.training import Task, weighted_mean

KINDS = ("image", "vector")
CPU_ROWS = {ConvAutoencoder: 32, CountsAutoencoder: 32, PooledAutoencoder: 8}
"""Images whose patches a processor's cache holds; those of a whole batch do not fit."""


def model(config: ConfigDict) -> nn.Module:
    """The network of `config.model`.

    Raises:
        UserError: no such network.
    """
    match config.model.name:
        case "conv":
            return ConvAutoencoder(n_latent=config.model.n_latent, width=config.model.width)
        case "pooled":
            return PooledAutoencoder(n_latent=config.model.n_latent)
        case "counts":
            return CountsAutoencoder(n_latent=config.model.n_latent)
        case "dense":
            return DenseAutoencoder(tuple(config.model.widths), config.model.n_latent)
        case other:
            raise UserError(f"model.name: expected conv, pooled, counts or dense, found {other!r}")


def stage_of(config: ConfigDict, layout: Layout) -> inputs.Stage:
    """Vectors, or images that sum to one, as those of the networks do, but for those of counts.

    Raises:
        UserError: the network does not take the input, or images of this size.
    """
    stage = inputs.stage(config.inputs, layout, KINDS, "autoencoder")
    if (config.model.name == "dense") != (stage.kind == "vector"):
        raise UserError(
            "model.name: dense is for vectors, conv, pooled and counts are for images, found "
            f"{config.model.name!r} and inputs.name={config.inputs.name!r}"
        )
    if config.model.name in ("pooled", "counts"):
        _, h, w, _ = rows.shape_of(stage)
        if h % 2 or w % 2:
            raise UserError(
                f"model.name={config.model.name}: takes images of even sides, found ({h}, {w})"
            )
    if stage.kind == "vector" or stage.unit_sum or config.model.name == "counts":
        return stage
    return dataclasses.replace(
        stage, values=lambda x: unit_sum(stage.values(x)), stored=jnp.float32, unit_sum=True
    )


def squared_error(x: Array, reconstruction: Reconstruction) -> Array:
    """Mean over pixels or components of (output - x)^2, (n,)."""
    return jnp.mean((reconstruction.output - x) ** 2, axis=range(1, x.ndim))


def reconstruction(network: nn.Module, params: Any, x: Array, symmetric: bool) -> Reconstruction:
    """Of x (n, ...); `symmetric`: the mean output of its six copies, and the latent of its own."""
    apply = partial(network.apply, {"params": params})
    if not symmetric:
        return apply(x)
    numbers = symmetric_copies(x.shape[1])
    # One network in the program, instead of six that take six times as long to compile.
    copies = jnp.stack([turned(x, number) for number in numbers])
    outputs = jax.lax.map(lambda copy: apply(copy).output, copies)
    total = sum(turned_back(o, number) for o, number in zip(outputs, numbers, strict=True))
    return Reconstruction(total / len(numbers), apply(x).latent)


def is_symmetric(config: ConfigDict) -> bool:
    """Whether copies of an image have the same score, which `method.symmetric` asks for."""
    return config.method.get("symmetric", False)


def task(network: nn.Module, augment: bool = False) -> Task:
    """Training of an autoencoder on rows with images or vectors "x"; `augment`: on copies."""

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return network.init(key, batch["x"])["params"], {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        x = batch["x"]
        if augment and training:
            x = turned(x, drawn_copies(key, *x.shape[:2]))
        errors = squared_error(x, network.apply({"params": params}, x))
        return weighted_mean(errors, batch["weight"]), ({}, state)

    return Task(init, loss, cpu_rows=CPU_ROWS.get(type(network), 0))


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on the background's training rows; {"params": leading axes (members, best epochs)}.

    Beside them what the "inputs" learnt.

    Raises:
        UserError: images that cannot be turned as `method.augment` or `method.symmetric` asks.
    """
    stage, augment = stage_of(config, dataset.layout), config.method.get("augment", False)
    if augment or is_symmetric(config):
        require_turnable(stage)
    if is_symmetric(config) and (h := rows.shape_of(stage)[1]) % 3:
        raise UserError(
            "method.symmetric: images are turned by thirds: expected a number of pixels in phi "
            f"that 3 divides, found {h}"
        )
    learnt, train, val = rows.background(config, stage, dataset)
    job = task(model(config), augment)
    fitted = bench.fit(job, train, val, config.train, config.seed, stage="autoencoder")
    return {"params": fitted.params, "inputs": learnt}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"mse": (members, n)}: the squared error, mean over the best epochs."""
    network, stage = model(config), stage_of(config, layout)

    def function(fitted: dict, x: Array) -> dict[str, Array]:
        def errors(z: Array) -> dict[str, Array]:
            def one(params: Any) -> Array:
                return squared_error(z, reconstruction(network, params, z, is_symmetric(config)))

            return {"mse": jnp.mean(jax.vmap(jax.vmap(one))(fitted["params"]), axis=1)}

        return rows.in_cache(errors, stage.apply(fitted, x), CPU_ROWS.get(type(network), 0))

    return function


def outputs(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """Input, reconstruction (as it) and latent (n, d) of the first member's best epoch."""
    network, stage = model(config), stage_of(config, layout)

    def function(fitted: dict, x: Array) -> dict[str, Array]:
        z = stage.apply(fitted, x)
        params = jax.tree.map(lambda a: a[0, 0], fitted["params"])
        result = reconstruction(network, params, z, is_symmetric(config))
        return {"input": z, "reconstruction": result.output, "latent": result.latent}

    return function
