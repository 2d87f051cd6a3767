"""Supervised reference on event images: a compact convolutional transformer of all classes.

Anzalone et al., arXiv:2306.12955. It is told what the signals look like, so it bounds what an
anomaly detector can reach on them.
"""

import dataclasses
from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, Rows
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs import prepared
from jaxad.inputs.images import augment, require_augmentable
from jaxad.methods import Bench
from jaxad.methods.stages import event_images, rows
from jaxad.models.cct import CCT
from jaxad.training import Task, weighted_mean

KINDS = ("image",)


def model(config: ConfigDict, n_classes: int) -> CCT:
    """The network of `config.model`."""
    return CCT(
        classes=n_classes,
        features=tuple(config.model.features),
        layers=config.model.layers,
        heads=config.model.heads,
        learned_position=config.model.learned_position,
    )


def task(config: ConfigDict, n_classes: int) -> Task:
    """Training on rows with images "x" and classes "y" (0: background)."""
    network = model(config, n_classes)

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        variables = network.init(key, batch["x"][:1])
        return variables["params"], {k: v for k, v in variables.items() if k != "params"}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        augment_key, dropout_key = jax.random.split(key)
        x, weight = batch["x"], batch["weight"]
        x = augment(x, augment_key) if training and config.method.augment else x
        rngs = {"dropout": dropout_key}
        logits = network.apply({"params": params, **state}, x, training, rngs=rngs)
        target = optax.smooth_labels(jax.nn.one_hot(batch["y"], n_classes), config.method.smooth)
        right = (logits.argmax(-1) == batch["y"]).astype(jnp.float32)
        losses = optax.softmax_cross_entropy(logits, target)
        return weighted_mean(losses, weight), ({"accuracy": weighted_mean(right, weight)}, state)

    return Task(init, loss, cpu_rows=8)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on the supervised set: {"params", "state"} with leading axes (members, best epochs)."""
    if "supervised_train" not in dataset.extra:
        raise UserError("data.supervised: expected True for the supervised network, found False")

    def labelled(part: str) -> Rows:
        events = dataset.extra[part]
        layout = dataclasses.replace(dataset.layout, shape=events["x"].shape[1:])
        stage = event_images.stage_of(config, layout, "cct")
        if config.method.augment:
            require_augmentable(stage, rows.shape_of(stage)[1:])
        _, found = prepared(stage, {part: events["x"]})
        return {"x": found[part], "y": events["label"].astype(np.int32), **rows.weight_of(events)}

    train, val = labelled("supervised_train"), labelled("supervised_val")
    network = task(config, len(dataset.layout.classes))
    result = bench.fit(network, train, val, config.train, config.seed, stage="classifier")
    return {"params": result.params, "state": result.state}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{score: (members, n)}, log odds against background: signal (any, default), each class.

    Classes by their names in small letters; one class alone is "signal".
    """
    network = model(config, len(layout.classes))
    names = [name.lower() for name in layout.classes[1:]]

    def one(fitted: dict, x: Array) -> dict[str, Array]:
        logits = network.apply({"params": fitted["params"], **fitted.get("state", {})}, x)
        background, *signals = jnp.moveaxis(logits, -1, 0)
        each = {name: values - background for name, values in zip(names, signals, strict=True)}
        return {"signal": reduce(jnp.logaddexp, signals) - background} | each

    return event_images.scorer(event_images.stage_of(config, layout, "cct"), one, "signal")
