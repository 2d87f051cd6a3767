"""Supervised reference on event images: a compact convolutional transformer of three classes.

Anzalone et al., arXiv:2306.12955. It is told what the signals look like, so it bounds what an
anomaly detector can reach on them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.codae import LABELS, augment
from jaxad.data.dataset import Dataset, Rows
from jaxad.errors import UserError
from jaxad.methods import event_images
from jaxad.models.cct import CCT
from jaxad.training import Fitted, Task, weighted_mean


def model(config: ConfigDict) -> CCT:
    """The network of `config.model`."""
    return CCT(
        classes=len(LABELS),
        features=tuple(config.model.features),
        layers=config.model.layers,
        heads=config.model.heads,
        learned_position=config.model.learned_position,
    )


def task(config: ConfigDict) -> Task:
    """Training on rows with images "x" and classes "y" (0 QCD, 1 SUEP, 2 SVJ)."""
    network = model(config)

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        variables = network.init(key, batch["x"][:1])
        return variables["params"], {k: v for k, v in variables.items() if k != "params"}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        augment_key, dropout_key = jax.random.split(key)
        x, weight = batch["x"], batch["weight"]
        x = augment(x, augment_key) if training and config.method.augment else x
        rngs = {"dropout": dropout_key}
        logits = network.apply({"params": params, **state}, x, training, rngs=rngs)
        target = optax.smooth_labels(jax.nn.one_hot(batch["y"], len(LABELS)), config.method.smooth)
        right = (logits.argmax(-1) == batch["y"]).astype(jnp.float32)
        losses = optax.softmax_cross_entropy(logits, target)
        return weighted_mean(losses, weight), ({"accuracy": weighted_mean(right, weight)}, state)

    return Task(init, loss, cpu_rows=8)


def fit(config: ConfigDict, dataset: Dataset, fitter: Callable[..., Fitted]) -> dict:
    """Train on the supervised set: {"params", "state"} with leading axes (members, best epochs)."""
    if "supervised_train" not in dataset.extra:
        raise UserError("data.supervised: expected True for the supervised network, found False")

    def rows(part: str) -> Rows:
        events = dataset.extra[part]
        return event_images.stored(config.inputs, events) | {"y": events["label"].astype(np.int32)}

    train, val = rows("supervised_train"), rows("supervised_val")
    result = fitter(task(config), train, val, config.train, config.seed, stage="classifier")
    return {"params": result.params, "state": result.state}


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{score: (members, n)}, log odds against QCD: signal (SUEP or SVJ, default), suep, svj."""
    network = model(config)

    def one(fitted: dict, x: Array) -> dict[str, Array]:
        logits = network.apply({"params": fitted["params"], **fitted.get("state", {})}, x)
        qcd, suep, svj = jnp.moveaxis(logits, -1, 0)
        return {"signal": jnp.logaddexp(suep, svj) - qcd, "suep": suep - qcd, "svj": svj - qcd}

    return event_images.scorer(config.inputs, one, "signal")
