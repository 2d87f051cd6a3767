"""High-level networks: mimickers that regress the logarithm of the teacher's score.

Bradshaw, Chang, Ostdiek (arXiv:2203.01343, section III). Mean squared error on background jets; the
logarithm, as the teacher's errors spread over decades.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.methods import Bench
from jaxad.methods.stages import mimicker
from jaxad.models.dense import Mimicker
from jaxad.training import Task, weighted_mean

KINDS, scores = mimicker.KINDS, mimicker.scores


def task(network: Mimicker) -> Task:
    """Regression of "y" (n,) from observables "x" (n, d), starting at the mean of the first "y"."""

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        params = network.init(key, batch["x"])
        last = list(params["params"])[-1]
        params["params"][last]["bias"] = jnp.mean(batch["y"], keepdims=True)
        return params, {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        errors = (network.apply(params, batch["x"]) - batch["y"]) ** 2
        return weighted_mean(errors, batch["weight"]), ({}, state)

    return Task(init, loss)


def log_score(teacher: np.ndarray) -> np.ndarray:
    """ln of the teacher's scores (n,), which must be positive."""
    if not (teacher > 0).all():
        raise UserError(
            f"method.teacher: hln regresses the logarithm of its score, which goes down to "
            f"{teacher.min():.3g}: use pnn, which needs only the order"
        )
    return np.log(teacher)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """As `mimicker.fit`."""
    return mimicker.fit(config, dataset, bench, task, log_score)
