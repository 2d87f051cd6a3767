"""Paired networks: mimickers that learn which of two jets the teacher finds more anomalous.

Bradshaw, Chang, Ostdiek (arXiv:2203.01343, section III): p = sigmoid(f(b) - f(a)) is trained with
binary cross-entropy, and f alone is the score. The original keeps one fixed set of pairs; here
every batch of freshly shuffled jets contributes all of its pairs, for one evaluation of f a jet.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.methods import Bench
from jaxad.methods.stages import mimicker
from jaxad.models.dense import Mimicker
from jaxad.training import Task

KINDS, scores = mimicker.KINDS, mimicker.scores


def task(network: Mimicker) -> Task:
    """Ordering of rows by "y" (n,) from observables "x" (n, d); equal "y" have label 1/2."""

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return network.init(key, batch["x"]), {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        f, y, weight = network.apply(params, batch["x"]), batch["y"], batch["weight"]
        label = 0.5 + 0.5 * jnp.sign(y[:, None] - y[None, :])
        losses = optax.sigmoid_binary_cross_entropy(f[:, None] - f[None, :], label)
        pairs = weight[:, None] * weight[None, :] * (1 - jnp.eye(len(y)))
        return jnp.sum(pairs * losses) / jnp.maximum(jnp.sum(pairs), 1e-30), ({}, state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """As `mimicker.fit`; only the order of the teacher's scores counts."""
    return mimicker.fit(config, dataset, bench, task, np.asarray)
