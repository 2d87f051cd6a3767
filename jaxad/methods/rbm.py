"""Restricted Boltzmann machine on trigger events: the free energy is the anomaly score.

Contrastive divergence (Hinton, Neural Computation 14 (2002) 1771) is the gradient of a difference
of free energies, that of the events minus that of a short Gibbs chain held fixed: an ordinary loss.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.methods.trigger_events import unit_features
from jaxad.models import rbm
from jaxad.training import Fitted, Task, weighted_mean


def task(config: ConfigDict) -> Task:
    """CD-k training on rows with raw events "x"; metric "reconstruction", to choose epochs by.

    The loss may have any sign and need not fall. The reconstruction error is that of the mean
    field, without noise.
    """
    prepare, k = unit_features(config.inputs), config.method.k

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return rbm.init(key, prepare(batch["x"]), config.model.n_hidden), {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        v, weight = prepare(batch["x"]), batch["weight"]
        chain = lax.stop_gradient(rbm.gibbs(params, v, key, k))
        difference = rbm.free_energy(params, v) - rbm.free_energy(params, chain)
        again = rbm.visible(params, rbm.hidden(params, v))
        error = weighted_mean(jnp.mean((again - v) ** 2, axis=1), weight)
        return weighted_mean(difference, weight), ({"reconstruction": error}, state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, fitter: Callable[..., Fitted]) -> dict:
    """Train on the background: {"params": leading axes (members, best epochs)}."""
    train, val = ({"x": rows["x"]} for rows in (dataset.train, dataset.val))
    fitted = fitter(task(config), train, val, config.train, config.seed, stage="rbm")
    return {"params": fitted.params}


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{"free_energy": (members, n)}: -log p up to a constant, mean over the best epochs."""
    prepare = unit_features(config.inputs)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        one = jax.vmap(jax.vmap(rbm.free_energy, (0, None)), (0, None))
        return {"free_energy": jnp.mean(one(fitted["params"], prepare(raw)), axis=1)}

    return function
