"""Masked particles: a network guesses hidden particles of a set from those that are left.

Part of the particles, `method.hidden_fraction`, is hidden from a set network, whose summary of the
others gives a density of a hidden one's log pT, eta and phi: a mixture of Gaussians, the same for
all hidden ones, as they have no places. Nothing says where in an order of pT a particle stood: its
neighbours would bound its pT, and the task would be solved without learning. After the masked
modelling of particle jets (Golling et al., arXiv:2401.13537), with a density in place of codes.

The score is the mean over particles of -log of the density of each, hidden once, in four folds by
the rank of its pT; not the sum, which would be the multiplicity.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.methods import Bench
from jaxad.methods.stages import sets
from jaxad.models.dense import Layers
from jaxad.training import Task, weighted_mean

KINDS = sets.KINDS
FOLDS = 4
LEAST_SPREAD = 0.1
"""Of a Gaussian, in units of the training particles' spread: files may hold angles on a grid."""


class MaskedParticles(nn.Module):
    """-log density (n, M) of the particles of sets (n, M, 5), given those that are `visible`."""

    encoder: nn.Module
    n_gaussians: int

    @nn.compact
    def __call__(self, x: Array, visible: Array) -> Array:
        """`visible` (n, M): 1 of particles that may be looked at."""
        summary = nn.relu(self.encoder(x, visible))
        found = Layers((64,), 7 * self.n_gaussians)(summary)
        log_weight, mean, spread = jnp.split(found, [self.n_gaussians, 4 * self.n_gaussians], -1)
        shape = (len(x), 1, self.n_gaussians, 3)
        spread = LEAST_SPREAD + nn.softplus(spread).reshape(shape)
        gap = (x[:, :, None, :3] - mean.reshape(shape)) / spread
        logs = -0.5 * (gap**2 + jnp.log(2 * jnp.pi)) - jnp.log(spread)
        log_weight = jax.nn.log_softmax(log_weight, axis=-1)[:, None]
        return -jax.nn.logsumexp(log_weight + logs.sum(axis=-1), axis=-1)


def model(config: ConfigDict) -> MaskedParticles:
    """The network of `config.model`; raises UserError where there is none of its name."""
    encoder = sets.encoder(config.model, config.model.n_latent)
    return MaskedParticles(encoder, config.model.n_gaussians)


def mean_where(values: Array, there: Array) -> Array:
    """Mean (n,) of values (n, M) where `there` (n, M) is 1; 0 where it is nowhere."""
    return (values * there).sum(axis=-1) / jnp.maximum(there.sum(axis=-1), 1)


def task(config: ConfigDict, network: MaskedParticles, scaled: Callable[[Array], Array]) -> Task:
    """Training on rows with sets "x" (n, M, 5), whose hidden particles are drawn in each step."""

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        x = scaled(batch["x"])
        return network.init(key, x, x[..., 4])["params"], {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        x = scaled(batch["x"])
        drawn = jax.random.uniform(key, x.shape[:2]) < config.method.hidden_fraction
        hidden = drawn * x[..., 4]
        values = network.apply({"params": params}, x, x[..., 4] - hidden)
        return weighted_mean(mean_where(values, hidden), batch["weight"]), ({}, state)

    return Task(init, loss, cpu_rows=sets.CPU_ROWS)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on the background's training rows; {"params": leading axes (members, best epochs)}.

    Beside them what the "inputs" learnt.
    """
    stage = sets.stage_of(config, dataset.layout, "masked_particles")
    learnt, train, val = sets.background(config, stage, dataset)
    made = task(config, model(config), lambda x: stage.scale(learnt, x))
    fitted = bench.fit(made, train, val, config.train, config.seed, stage="masked_particles")
    return {"params": fitted.params, "inputs": learnt}


def folds(x: Array) -> Array:
    """The fold (n, M), 0 to 3, of each particle of sets (n, M, 5): its rank in pT, modulo 4.

    Of equal pT that of larger eta, then phi, comes first, so that no order of slots matters.
    """
    mine, other = x[:, :, None, :], x[:, None, :, :]
    before = other[..., 2] > mine[..., 2]
    for column in (1, 0):
        same = other[..., column] == mine[..., column]
        before = (other[..., column] > mine[..., column]) | (same & before)
    rank = jnp.where(before, other[..., 4], 0).sum(axis=-1)
    return rank - FOLDS * jnp.floor(rank / FOLDS)


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"nll": (members, n)}: mean over particles of -log density, mean over the best epochs."""
    stage, network = sets.stage_of(config, layout, "masked_particles"), model(config)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        values = stage.values(raw)
        x = stage.scale(fitted["inputs"], values)
        fold = folds(values)

        def one(params: Any) -> Array:
            def of_fold(number: Array) -> Array:
                hidden = jnp.where(fold == number, x[..., 4], 0)
                return hidden * network.apply({"params": params}, x, x[..., 4] - hidden)

            found = jax.vmap(of_fold)(jnp.arange(FOLDS, dtype=jnp.float32)).sum(axis=0)
            return mean_where(found, x[..., 4])

        return {"nll": sets.each_network(one, fitted["params"])}

    return sets.few_at_once(function)
