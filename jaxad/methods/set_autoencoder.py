"""Autoencoders on sets of particles, whose loss knows no order of them.

A set network makes a latent of the particles and a decoder slots of (z, eta, phi). The loss is
"chamfer", weighted by z, with |sum z - sum z'| and the squared error of log(1 + number), as
Chamfer conserves neither; "energy_mover", the optimal transport of z, with the latter; or
"summaries", of a decoder that gives the jet's features and energy flow polynomials instead of
slots, by the mean squared error. Scores are the losses, of the transport the debiased one.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.methods import Bench
from jaxad.methods.stages import rows, sets
from jaxad.models.dense import Layers
from jaxad.models.sets import SlotDecoder, Slots
from jaxad.observables import set_distances
from jaxad.storage import cache
from jaxad.training import Task, weighted_mean

KINDS = sets.KINDS
LOSSES = ("chamfer", "energy_mover", "summaries")


class SetAutoencoder(nn.Module):
    """Sets (n, M, 5), the last column their mask, to what `decoder` makes of their latent."""

    encoder: nn.Module
    decoder: nn.Module

    def __call__(self, x: Array) -> Any:
        return self.decoder(self.encoder(x, x[..., -1]))


def summaries_of(config: ConfigDict, layout: Layout) -> inputs.Stage:
    """The vectors that "summaries" reconstructs: features and EFPs of `inputs.efp_degree`."""
    own = config.inputs.copy_and_resolve_references()
    own.name = "jet_features"
    return inputs.stage(own, layout, ("vector",), "set_autoencoder")


def model(config: ConfigDict, layout: Layout) -> SetAutoencoder:
    """The network of `config.model` and `config.method.loss`.

    Raises:
        UserError: no such network or loss.
    """
    if config.method.loss not in LOSSES:
        raise UserError(
            f"method.loss: expected one of {', '.join(LOSSES)}, found {config.method.loss!r}"
        )
    encoder = sets.encoder(config.model, config.model.n_latent)
    if config.method.loss == "summaries":
        (_, n) = rows.shape_of(summaries_of(config, layout))
        return SetAutoencoder(encoder, Layers((64, 64), n))
    return SetAutoencoder(encoder, SlotDecoder(config.model.n_slots, config.method.radius))


def count_error(x: Array, found: Slots) -> Array:
    """(n,) squared error of log(1 + number) of particles of sets (n, M, 5)."""
    return (jnp.log1p(x[..., 4].sum(axis=-1)) - found.log_count) ** 2


def reconstruction_error(config: ConfigDict, x: Array, found: Slots) -> dict[str, Array]:
    """Errors (n,) of slots against sets (n, M, 5) by name, that of `method.loss` among them."""
    truth, radius = sets.physical(x), config.method.radius
    count = count_error(x, found)
    missing = jnp.abs(truth[..., 0].sum(axis=-1) - found.particles[..., 0].sum(axis=-1))
    near = set_distances.chamfer(truth, found.particles, radius)
    errors = {"chamfer": near + missing + count}
    if config.method.loss == "energy_mover":
        moved = set_distances.debiased(truth, found.particles, radius)
        errors["energy_mover"] = moved + count
    return errors


def task(config: ConfigDict, network: SetAutoencoder, scaled: Callable[[Array], Array]) -> Task:
    """Training on rows with sets "x" (n, M, 5), and with "summaries" vectors "y" (n, d).

    Args:
        scaled: what the network sees of "x".
    """

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return network.init(key, scaled(batch["x"]))["params"], {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        x = batch["x"]
        found = network.apply({"params": params}, scaled(x))
        if config.method.loss == "summaries":
            errors = jnp.mean((found - batch["y"]) ** 2, axis=-1)
        elif config.method.loss == "energy_mover":
            truth, radius = sets.physical(x), config.method.radius
            errors = set_distances.energy_mover(truth, found.particles, radius)
            errors += count_error(x, found)
        else:
            errors = reconstruction_error(config, x, found)["chamfer"]
        return weighted_mean(errors, batch["weight"]), ({}, state)

    return Task(init, loss, cpu_rows=sets.CPU_ROWS)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on the background's training rows; {"params": leading axes (members, best epochs)}.

    Beside them what the "inputs" learnt, and the "summaries" where they are the loss.
    """
    stage = sets.stage_of(config, dataset.layout, "set_autoencoder")
    network = model(config, dataset.layout)
    learnt, train, val = sets.background(config, stage, dataset)
    fitted = {"inputs": learnt}
    if config.method.loss == "summaries":
        parts = {"train": dataset.train["x"], "val": dataset.val["x"]}
        summaries = summaries_of(config, dataset.layout)
        fitted["summaries"], found = inputs.prepared(
            summaries, parts, cache.root(config.data.cache)
        )
        train, val = train | {"y": found["train"]}, val | {"y": found["val"]}
    result = bench.fit(
        task(config, network, lambda x: stage.scale(learnt, x)),
        train,
        val,
        config.train,
        config.seed,
        stage="set_autoencoder",
    )
    return fitted | {"params": result.params}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"chamfer"}, {"energy_mover", "chamfer"} or {"mse"}: (members, n), mean over best epochs."""
    stage = sets.stage_of(config, layout, "set_autoencoder")
    network = model(config, layout)
    summaries = summaries_of(config, layout) if config.method.loss == "summaries" else None

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = stage.values(raw)
        seen = stage.scale(fitted["inputs"], x)

        def slots(params: Any) -> dict[str, Array]:
            found = network.apply({"params": params}, seen)
            return reconstruction_error(config, x, found)

        if summaries is None:
            found = sets.each_network(slots, fitted["params"])
            return {name: found[name] for name in dict.fromkeys((config.method.loss, "chamfer"))}
        y = summaries.scale(fitted["summaries"], summaries.values(raw))

        def vectors(params: Any) -> Array:
            return jnp.mean((network.apply({"params": params}, seen) - y) ** 2, axis=-1)

        return {"mse": sets.each_network(vectors, fitted["params"])}

    return sets.few_at_once(function)
