"""Training rows of a method: the network input of the background, once, in bounded memory."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, Rows
from jaxad.errors import UserError
from jaxad.inputs import Stage, prepared
from jaxad.storage import cache
from jaxad.training import streams
from jaxad.training.streams import Purpose


def background(
    config: ConfigDict, stage: Stage, dataset: Dataset
) -> tuple[dict[str, np.ndarray], Rows, Rows]:
    """What the stage learns, and {"x": network input} of the training and validation part."""
    parts = {"train": dataset.train["x"], "val": dataset.val["x"]}
    learnt, found = prepared(stage, parts, cache.root(config.data.cache))
    return learnt, {"x": found["train"]}, {"x": found["val"]}


def chosen(
    config: ConfigDict, stage: Stage, dataset: Dataset, n: int, at_least: str = ""
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What the stage learns of `n` random training events, at most, and their vectors (n, d).

    The run's seed decides which; they stay in their order.

    Args:
        at_least: a setting of `method`; as many events are needed.

    Raises:
        UserError: fewer events than that.
    """
    x = dataset.train["x"]
    if at_least and config.method[at_least] > min(n, len(x)):
        raise UserError(
            f"method.{at_least}: expected at most the {min(n, len(x))} training events, found "
            f"{config.method[at_least]}"
        )
    if n < len(x):
        rng = streams.generator(config.seed, Purpose.EVENTS, "training events")
        x = x[np.sort(rng.choice(len(x), n, replace=False))]
    learnt, found = prepared(stage, {"train": x})
    return learnt, found["train"]


def shape_of(stage: Stage) -> tuple[int, ...]:
    """Shape (1, ...) of the network input of one event."""
    event = jax.ShapeDtypeStruct((1, *(size or 1 for size in stage.raw)), jnp.float32)
    return jax.eval_shape(stage.values, event).shape


def squared_distances(a: Array, b: Array) -> Array:
    """Squared Euclidean distances (n, m) of the rows of `a` (n, d) and `b` (m, d)."""
    products = jnp.matmul(a, b.T, precision="highest")
    return jnp.maximum(jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * products, 0.0)
