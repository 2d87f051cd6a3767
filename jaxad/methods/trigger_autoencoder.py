"""Autoencoders of trigger events: trained on the Standard Model, they flag what they do not know.

The exercise's and the challenge's dense networks, and the (variational) autoencoders of Govorkova
et al. (arXiv:2108.03986) with their masked loss: (1 - beta) squared error + beta KL.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.methods.trigger_events import clean, pt_scale, squared_error
from jaxad.models.trigger import MODELS
from jaxad.models.vae import gaussian_kl
from jaxad.training import Fitted, Task, weighted_mean

SCORES = ("kl", "r_z", "mse", "loss")


def model(config: ConfigDict) -> nn.Module:
    """The network of `config.model`."""
    if config.model.name not in MODELS:
        known = ", ".join(MODELS)
        raise UserError(f"model.name: expected one of {known}, found {config.model.name!r}")
    return MODELS[config.model.name]


def _noise_width(network: nn.Module) -> int:
    return getattr(network, "n_latent", 1)


def _parts(config: ConfigDict, scale: dict, variables: dict, x: Array) -> dict[str, Array]:
    """Scores (n,) of cleaned events x (n, 19, 3)."""
    network = model(config)
    noise = jnp.zeros((1, _noise_width(network)))
    found = network.apply(variables, x, noise, False, jnp.ones(len(x), bool))
    error = squared_error(config.method.loss, scale, x, found.output)
    if found.log_var is None:
        return {"mse": error}
    divergence = gaussian_kl(found.mean, found.log_var, 0.0, 1.0)
    return {
        "kl": divergence,
        "r_z": jnp.sum(found.mean**2 * jnp.exp(-found.log_var), axis=-1),
        "mse": error,
        "loss": (1 - config.method.beta) * error + config.method.beta * divergence,
    }


def task(config: ConfigDict, scale: dict) -> Task:
    """Training on rows with raw events "x" (n, 19, 3); `scale` as from `pt_scale`."""
    network, prepare = model(config), clean(config.inputs)
    beta, width = config.method.beta, _noise_width(network)

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        x = prepare(batch["x"][:1])
        variables = network.init(key, x, jnp.zeros((1, width)), False, jnp.ones(1, bool))
        return variables["params"], {k: v for k, v in variables.items() if k != "params"}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        x, weight = prepare(batch["x"]), batch["weight"]
        noise = jax.random.normal(key, (len(x), width)) * training
        found, updated = network.apply(
            {"params": params, **state}, x, noise, training, weight > 0, mutable=["batch_stats"]
        )
        error = squared_error(config.method.loss, scale, x, found.output)
        mse = weighted_mean(error, weight)
        state = updated if training else state
        if found.log_var is None:
            return mse, ({}, state)
        divergence = weighted_mean(gaussian_kl(found.mean, found.log_var, 0.0, 1.0), weight)
        return (1 - beta) * mse + beta * divergence, ({"mse": mse, "kl": divergence}, state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, fitter: Callable[..., Fitted]) -> dict:
    """Train on the background: {"params", "state"} (members, best epochs), {"scale"} (19,)."""
    scale = pt_scale(dataset.train["x"])
    train, val = ({"x": rows["x"]} for rows in (dataset.train, dataset.val))
    result = fitter(task(config, scale), train, val, config.train, config.seed, stage="autoencoder")
    return {"params": result.params, "state": result.state, "scale": scale}


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{score: (members, n)}, the mean over the best epochs.

    mse: the reconstruction error of the loss. Of a variational network also kl, the default, the
    divergence of the code from its prior; r_z = sum mu^2 / sigma^2, which as kl needs the encoder
    alone; loss, the sum that was trained.
    """
    prepare = clean(config.inputs)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = prepare(raw)

        def one(params: Any, state: dict) -> dict[str, Array]:
            return _parts(config, fitted["scale"], {"params": params, **state}, x)

        found = jax.vmap(jax.vmap(one))(fitted["params"], fitted.get("state", {}))
        # vmap sorts the names
        return {name: jnp.mean(found[name], axis=1) for name in SCORES if name in found}

    return function
