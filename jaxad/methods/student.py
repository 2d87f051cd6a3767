"""Distillation: a small network learns the score of any trained scorer.

The student regresses ln(score + 1) of its teacher on background events, as the convolutional
teacher and its student in the trigger of CMS do (CICADA). `method.teacher` is the work directory of
a trained run; without one the method of the section `teacher` is trained first, where the config
has that section. The student's own scorer does not need its teacher any more.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.methods import Bench
from jaxad.methods.stages import rows
from jaxad.methods.stages.teacher import teach
from jaxad.models.dense import Classifier
from jaxad.training import Task, weighted_mean

KINDS = ("vector",)


def model(config: ConfigDict) -> Classifier:
    """Dense ReLU layers of the widths `config.model.hidden`, and one number."""
    return Classifier(tuple(config.model.hidden))


def targets(teacher: Any, x: np.ndarray) -> np.ndarray:
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
    """Training on rows with vectors "x" and "target" (n,): mean squared difference."""
    network = model(config)

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return network.init(key, batch["x"][:1])["params"], {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        found = network.apply({"params": params}, batch["x"])
        return weighted_mean((found - batch["target"]) ** 2, batch["weight"]), ({}, state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on the teacher's scores: {"params"} (members, best epochs), {"inputs"}."""
    teacher = teach(config, dataset, bench)
    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "student")
    learnt, train, val = rows.background(config, stage, dataset)
    train["target"] = targets(teacher, dataset.train["x"])
    val["target"] = targets(teacher, dataset.val["x"])
    fitted = bench.fit(task(config), train, val, config.train, config.seed, stage="student")
    return {"params": fitted.params, "inputs": learnt}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"student": (members, n)}: ln(score + 1) as the student guesses it."""
    network = model(config)
    stage = inputs.stage(config.inputs, layout, KINDS, "student")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = stage.apply(fitted, raw)

        def one(params: Any) -> Array:
            return network.apply({"params": params}, x)

        return {"student": jnp.mean(jax.vmap(jax.vmap(one))(fitted["params"]), axis=1)}

    return function
