"""A small training that tests share: a dense autoencoder on a plane of five columns."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.models.dense import DenseAutoencoder
from jaxad.training import Task, weighted_mean

NETWORK = DenseAutoencoder(widths=(8,), n_latent=2)


def init(key, batch):
    return NETWORK.init(key, batch["x"])["params"], {}


def loss(params, state, batch, key, training):
    error = jnp.mean((NETWORK.apply({"params": params}, batch["x"]).output - batch["x"]) ** 2, 1)
    noise = 1 + 0.1 * training * jax.random.normal(key, error.shape)
    return weighted_mean(error * noise, batch["weight"]), ({"rows": batch["weight"].sum()}, state)


def quiet(params, state, batch, key, training):
    return loss(params, state, batch, key, False)


TASK = Task(init, loss)
IN_PARTS = Task(init, quiet, cpu_rows=2)


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": (rng.normal(size=(n, 2)) @ rng.normal(size=(2, 5))).astype(np.float32)}


def assert_equal(a, b, **tolerance):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(left, right, **(tolerance or {"rtol": 0, "atol": 0}))
