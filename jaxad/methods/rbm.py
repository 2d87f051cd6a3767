"""Restricted Boltzmann machine on vectors in [0, 1]: the free energy is the anomaly score.

Contrastive divergence (Hinton, Neural Computation 14 (2002) 1771) is the gradient of a difference
of free energies, that of the events minus that of a short Gibbs chain held fixed: an ordinary loss.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.methods import Bench
from jaxad.methods.stages import rows
from jaxad.models import rbm
from jaxad.training import Task, weighted_mean

KINDS = ("vector",)


def task(config: ConfigDict) -> Task:
    """CD-k training on vectors "x" in [0, 1]; metric "reconstruction", to choose epochs by.

    The loss may have any sign and need not fall. The reconstruction error is that of the mean
    field, without noise.
    """
    k = config.method.k

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return rbm.init(key, batch["x"], config.model.n_hidden), {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        v, weight = batch["x"], batch["weight"]
        chain = lax.stop_gradient(rbm.gibbs(params, v, key, k))
        difference = rbm.free_energy(params, v) - rbm.free_energy(params, chain)
        again = rbm.visible(params, rbm.hidden(params, v))
        error = weighted_mean(jnp.mean((again - v) ** 2, axis=1), weight)
        return weighted_mean(difference, weight), ({"reconstruction": error}, state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on the background: {"params": leading axes (members, best epochs)}, {"inputs"}."""
    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "rbm")
    in_unit = dataclasses.replace(stage, scale=stage.unit)
    learnt, train, val = rows.background(config, in_unit, dataset)
    fitted = bench.fit(task(config), train, val, config.train, config.seed, stage="rbm")
    return {"params": fitted.params, "inputs": learnt}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"free_energy": (members, n)}: -log p up to a constant, mean over the best epochs."""
    stage = inputs.stage(config.inputs, layout, KINDS, "rbm")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        one = jax.vmap(jax.vmap(rbm.free_energy, (0, None)), (0, None))
        v = stage.unit(fitted.get("inputs", {}), stage.values(raw))
        return {"free_energy": jnp.mean(one(fitted["params"], v), axis=1)}

    return function
