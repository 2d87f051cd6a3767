"""The norm of a velocity: flow matching whose field is read once (arXiv:2508.11594).

A network v(x, t) learns the velocity x1 - x0 of straight paths x_t = (1 - t) x0 + t x1 from noise
x0 to events x1 (Lipman et al., arXiv:2210.02747). Nothing is integrated: the score is |v(x, t*)|^2
at one fixed time t*, `method.time`, whose input folds into the first layer's bias: one pass of a
plain dense network from the vector to as many numbers. Beside it stands z2 = |x|^2 of the network's
own inputs, to which the authors find it close: at t* = 1 the perfect field is the input itself, so
that only other times can say something else.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.methods import Bench
from jaxad.methods.stages import rows
from jaxad.models.dense import Layers
from jaxad.training import Task, weighted_mean

KINDS = ("vector",)


def model(config: ConfigDict, n_features: int) -> Layers:
    """Dense ReLU layers of the widths `config.model.hidden`, and `n_features` numbers."""
    return Layers(tuple(config.model.hidden), n_features)


def at_time(params: dict, t: float) -> dict:
    """The network of (x, t) as one of x alone: the last input, t, becomes part of a bias."""
    first = params["Dense_0"]
    kernel, bias = first["kernel"], first["bias"]
    return params | {"Dense_0": {"kernel": kernel[:-1], "bias": bias + t * kernel[-1]}}


def task(config: ConfigDict) -> Task:
    """Training on rows with vectors "x": mean squared error of the velocity at random times."""

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        n_features = batch["x"].shape[1]
        return model(config, n_features).init(key, jnp.zeros((1, n_features + 1)))["params"], {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        x = batch["x"]
        noise_key, time_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, x.shape)
        t = jax.random.uniform(time_key, (len(x), 1))
        there = jnp.concatenate([(1 - t) * noise + t * x, t], axis=1)
        found = model(config, x.shape[1]).apply({"params": params}, there)
        error = jnp.mean((found - (x - noise)) ** 2, axis=1)
        return weighted_mean(error, batch["weight"]), ({}, state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on the background: {"params"} (members, best epochs), {"inputs"}."""
    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "flow_norm")
    learnt, train, val = rows.background(config, stage, dataset)
    fitted = bench.fit(task(config), train, val, config.train, config.seed, stage="flow")
    return {"params": fitted.params, "inputs": learnt}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"flow_norm": (members, n), "z2": (n,)}: |v(x, t*)|^2, mean over the best epochs; |x|^2."""
    stage = inputs.stage(config.inputs, layout, KINDS, "flow_norm")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = stage.apply(fitted, raw)
        network = model(config, x.shape[1])

        def one(params: Any) -> Array:
            folded = at_time(params, config.method.time)
            return jnp.sum(network.apply({"params": folded}, x) ** 2, axis=1)

        norm = jnp.mean(jax.vmap(jax.vmap(one))(fitted["params"]), axis=1)
        return {"flow_norm": norm, "z2": jnp.sum(x**2, axis=1)}

    return function
