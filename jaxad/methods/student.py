"""Distillation: a small network learns the score of any trained scorer.

The student regresses ln(score + 1) of its teacher on background events, as the convolutional
teacher and its student in the trigger of CMS do (CICADA). `method.teacher` is the work directory of
a trained run; the student's own scorer does not need it any more.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, Rows
from jaxad.errors import UserError
from jaxad.methods.teacher import load_teacher
from jaxad.methods.trigger_events import N_INPUTS, features
from jaxad.models.classifier import Classifier
from jaxad.scorer import Scorer
from jaxad.training import Fitted, Task, weighted_mean


def model(config: ConfigDict) -> Classifier:
    """Dense ReLU layers of the widths `config.model.hidden`, and one number."""
    return Classifier(tuple(config.model.hidden))


def targets(teacher: Scorer, x: np.ndarray) -> np.ndarray:
    """ln(score + 1) (n,) of raw events.

    Raises:
        UserError: scores of -1 and below, which have no logarithm.
    """
    found = teacher(x)
    if found.min() <= -1:
        raise UserError(
            f"method.teacher: expected scores above -1, found {found.min():.4g} of "
            f"{teacher.method}: ln(score + 1) is not defined; choose another teacher"
        )
    return np.log1p(found)


def task(config: ConfigDict) -> Task:
    """Training on rows with raw events "x" and "target" (n,): mean squared difference."""
    network, prepare = model(config), features(config.inputs)

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return network.init(key, jnp.zeros((1, N_INPUTS)))["params"], {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        found = network.apply({"params": params}, prepare(batch["x"]))
        return weighted_mean((found - batch["target"]) ** 2, batch["weight"]), ({}, state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, fitter: Callable[..., Fitted]) -> dict:
    """Train on the teacher's scores of background: {"params"} (members, best epochs)."""
    teacher = load_teacher(config.method.teacher, dataset)

    def rows(part: Rows) -> Rows:
        return {"x": part["x"], "target": targets(teacher, part["x"])}

    train, val = rows(dataset.train), rows(dataset.val)
    fitted = fitter(task(config), train, val, config.train, config.seed, stage="student")
    return {"params": fitted.params}


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{"student": (members, n)}: ln(score + 1) as the student guesses it."""
    network, prepare = model(config), features(config.inputs)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = prepare(raw)

        def one(params: Any) -> Array:
            return network.apply({"params": params}, x)

        return {"student": jnp.mean(jax.vmap(jax.vmap(one))(fitted["params"]), axis=1)}

    return function
