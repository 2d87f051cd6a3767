"""Dense and small convolutional autoencoders, variational or not, of trigger events or any vector.

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

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs.trigger import mask
from jaxad.methods import Bench
from jaxad.methods.stages import rows
from jaxad.models.convolution import on_gpu
from jaxad.models.trigger import CONVOLUTIONAL, MODELS
from jaxad.models.vae import gaussian_kl
from jaxad.observables.trigger import ETA_LIMIT, N_OBJECTS
from jaxad.training import Task, weighted_mean

KINDS = ("set", "vector")
SCORES = ("kl", "r_z", "mu2", "mse", "loss")
LOSSES = ("plain", "masked", "masked_per_object")


def model(config: ConfigDict) -> nn.Module:
    """The network of `config.model`."""
    if config.model.name not in MODELS:
        known = ", ".join(MODELS)
        raise UserError(f"model.name: expected one of {known}, found {config.model.name!r}")
    return MODELS[config.model.name]


def stage_of(config: ConfigDict, layout: Layout) -> inputs.Stage:
    """Sets of trigger objects, or vectors.

    Raises:
        UserError: sets of other objects; loss or network take sets, and the input is a vector.
    """
    stage = inputs.stage(config.inputs, layout, KINDS, "trigger_autoencoder")
    if stage.kind == "set" and config.inputs.name != "trigger_event":
        raise UserError(
            f"inputs.name={config.inputs.name}: gives sets of any particles, trigger_autoencoder "
            "takes those of a trigger event, or vectors: choose trigger_event or another input"
        )
    if config.method.loss not in LOSSES:
        raise UserError(
            f"method.loss: expected one of {', '.join(LOSSES)}, found {config.method.loss!r}"
        )
    if stage.kind == "vector" and config.method.loss != "plain":
        raise UserError(
            f"method.loss={config.method.loss}: is for sets of trigger objects, found "
            f"inputs.name={config.inputs.name}: set method.loss=plain"
        )
    of_events = config.inputs.name == "trigger_integer"
    if config.model.name in CONVOLUTIONAL and not (
        of_events or rows.shape_of(stage)[1:] == (N_OBJECTS, 3)
    ):
        raise UserError(
            f"model.name={config.model.name}: takes sets ({N_OBJECTS}, 3), found "
            f"{rows.shape_of(stage)[1:]}: set model.name=dense_ae or dense_vae"
        )
    return stage


def squared_error(loss: str, scale: dict[str, Array], x: Array, output: Array) -> Array:
    """Reconstruction error (n,) of sets (n, 19, 3) or vectors x and an `output` (n, inputs).

    "plain": mean over the inputs of (output - x)^2, pT in GeV.
    "masked" (arXiv:2108.03986): the target pT is standardised per slot with `scale`; the output is
        read as pT, limit x tanh for eta and pi x tanh for phi; both vanish where the raw pT is 0.
    "masked_per_object": the same sum, over the inputs of the objects that are there.
    """
    output = output.reshape(x.shape)
    if loss == "plain":
        return jnp.mean((output - x) ** 2, axis=range(1, x.ndim))
    there = mask(x)
    pt = jnp.where(there, (x[..., 0] - scale["mean"]) / scale["std"], 0.0)
    angles = jnp.tanh(output[..., 1:]) * jnp.stack(
        [jnp.asarray(ETA_LIMIT), jnp.full(N_OBJECTS, jnp.pi)], -1
    )
    difference = jnp.concatenate([output[..., :1] - pt[..., None], angles - x[..., 1:]], -1)
    total = jnp.sum(jnp.where(there[..., None], difference, 0.0) ** 2, axis=(1, 2))
    if loss == "masked":
        return total / (3 * N_OBJECTS)
    return total / (3 * jnp.maximum(jnp.sum(there, axis=1), 1))


def noise_width(network: nn.Module) -> int:
    """Numbers of noise that the network takes an event."""
    return getattr(network, "n_latent", 1)


def _parts(config: ConfigDict, scale: dict, variables: dict, x: Array) -> dict[str, Array]:
    """Scores (n,) of network inputs x."""
    network = model(config)
    noise = jnp.zeros((1, noise_width(network)))
    found = network.apply(variables, x, noise, False, jnp.ones(len(x), bool))
    error = squared_error(config.method.loss, scale, x, found.output)
    if found.log_var is None:
        return {"mse": error}
    divergence = gaussian_kl(found.mean, found.log_var, 0.0, 1.0)
    return {
        "kl": divergence,
        "r_z": jnp.sum(found.mean**2 * jnp.exp(-found.log_var), axis=-1),
        "mu2": jnp.sum(found.mean**2, axis=-1),
        "mse": error,
        "loss": (1 - config.method.beta) * error + config.method.beta * divergence,
    }


def task(config: ConfigDict, scale: dict) -> Task:
    """Training on rows with network inputs "x"; `scale` is what the inputs learnt."""
    network = model(config)
    beta, width = config.method.beta, noise_width(network)

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        x = batch["x"][:1]
        variables = network.init(key, x, jnp.zeros((1, width)), False, jnp.ones(1, bool))
        return variables["params"], {k: v for k, v in variables.items() if k != "params"}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        x, weight = batch["x"], batch["weight"]
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


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on the background: {"params", "state"} (members, best epochs), {"inputs"}."""
    scale, train, val = rows.background(config, stage_of(config, dataset.layout), dataset)
    result = bench.fit(
        task(config, scale), train, val, config.train, config.seed, stage="autoencoder"
    )
    return {"params": result.params, "state": result.state, "inputs": scale}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{score: (members, n)}, the mean over the best epochs.

    mse: the reconstruction error of the loss. Of a variational network also kl, the default, the
    divergence of the code from its prior; r_z = sum mu^2 / sigma^2, and mu2 = sum mu^2, the score
    of firmware, which as kl need the encoder alone, mu2 without its sigma; loss, the sum that was
    trained.
    """
    stage = stage_of(config, layout)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x, scale = stage.apply(fitted, raw), fitted.get("inputs", {})

        def one(params: Any, state: dict) -> dict[str, Array]:
            return _parts(config, scale, {"params": params, **state}, x)

        found = jax.vmap(jax.vmap(one))(fitted["params"], fitted.get("state", {}))
        # vmap sorts the names
        return {name: jnp.mean(found[name], axis=1) for name in SCORES if name in found}

    return function


def kernel(
    config: ConfigDict, layout: Layout, name: str, plain: Callable[[Any, Array], Array]
) -> Callable[[Any, Array], Array]:
    """`plain`, the score `name` (params, raw) -> (n,), or the same as one kernel of a GPU.

    There is one of the KL of the dense variational network on events of a trigger in GeV.
    """
    is_kl = name in ("", "kl") and config.model.name == "dense_vae"
    as_read = config.inputs.name == "trigger_event" and not config.inputs.rotate
    if not (on_gpu() and is_kl and as_read and layout.unit == 1):
        return plain
    from jaxad.models import fused  # Pallas takes a second to import

    if not fused.is_here():
        return plain

    def of_members(fitted: dict, raw: Array) -> Array:
        return fused.kl(fitted["params"], fitted["state"], raw).mean(axis=(0, 1))

    return fused.or_plain(of_members, plain)
