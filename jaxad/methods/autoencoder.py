"""Autoencoders on jet images or features: trained on background, they reconstruct all else badly.

Farina, Nakai, Shih (arXiv:1808.08992) and Heimel et al. (arXiv:1808.08979); larger images in
Bradshaw, Chang, Ostdiek (arXiv:2203.01343). Loss and score are the mean over pixels, or
standardised features, of the squared difference.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from jaxad.data import cache
from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.methods.inputs import fit_inputs, inputs_of, prepared
from jaxad.models.autoencoder import (
    ConvAutoencoder,
    DenseAutoencoder,
    PooledAutoencoder,
    Reconstruction,
)
from jaxad.training import Fitted, Task, weighted_mean


def model(config: ConfigDict) -> nn.Module:
    """The network of `config.model`.

    Raises:
        UserError: no such network, or one that does not take `config.inputs`.
    """
    if (config.model.name == "dense") != (config.inputs.name == "features"):
        raise UserError(
            f"model.name: dense is for inputs.name=features, conv and pooled for images, found "
            f"{config.model.name!r} and inputs.name={config.inputs.name!r}"
        )
    match config.model.name:
        case "conv":
            return ConvAutoencoder(n_latent=config.model.n_latent, width=config.model.width)
        case "pooled":
            return PooledAutoencoder(n_latent=config.model.n_latent)
        case "dense":
            return DenseAutoencoder(tuple(config.model.widths), config.model.n_latent)
        case other:
            raise UserError(f"model.name: expected conv, pooled or dense, found {other!r}")


def squared_error(x: Array, reconstruction: Reconstruction) -> Array:
    """Mean over pixels or features of (output - x)^2, (n,)."""
    return jnp.mean((reconstruction.output - x) ** 2, axis=range(1, x.ndim))


def task(network: nn.Module) -> Task:
    """Training of an autoencoder on rows with images or features "x"."""

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return network.init(key, batch["x"])["params"], {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        errors = squared_error(batch["x"], network.apply({"params": params}, batch["x"]))
        return weighted_mean(errors, batch["weight"]), ({}, state)

    return Task(init, loss, cpu_rows=32 if isinstance(network, ConvAutoencoder) else 0)


def fit(config: ConfigDict, dataset: Dataset, fitter: Callable[..., Fitted]) -> dict:
    """Train on the background's training rows; {"params": leading axes (members, best epochs)}.

    Beside them what the inputs learnt (`fit_inputs`).
    """
    learnt = fit_inputs(config.inputs, dataset.train["x"])
    train, val = (
        {"x": prepared(config.inputs, learnt, rows["x"], name, cache.root(config.data.cache))}
        for name, rows in (("train", dataset.train), ("val", dataset.val))
    )
    fitted = fitter(task(model(config)), train, val, config.train, config.seed, stage="autoencoder")
    return {"params": fitted.params, **learnt}


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{"mse": (members, n)}: the squared error, mean over the best epochs."""
    network, preprocess = model(config), inputs_of(config.inputs)

    def function(fitted: dict, x: Array) -> dict[str, Array]:
        z = preprocess(fitted, x)

        def one(params: Any) -> Array:
            return squared_error(z, network.apply({"params": params}, z))

        return {"mse": jnp.mean(jax.vmap(jax.vmap(one))(fitted["params"]), axis=1)}

    return function


def outputs(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """Input, reconstruction (as it) and latent (n, d) of the first member's best epoch."""
    network, preprocess = model(config), inputs_of(config.inputs)

    def function(fitted: dict, x: Array) -> dict[str, Array]:
        z = preprocess(fitted, x)
        params = jax.tree.map(lambda a: a[0, 0], fitted["params"])
        result = network.apply({"params": params}, z)
        return {"input": z, "reconstruction": result.output, "latent": result.latent}

    return function
