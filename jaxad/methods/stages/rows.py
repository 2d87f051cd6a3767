"""Training rows of a method: the network input of the background, once, in bounded memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, Rows
from jaxad.devices import batches, hosts
from jaxad.errors import UserError
from jaxad.inputs import Stage, prepared
from jaxad.models.convolution import on_cpu
from jaxad.storage import cache
from jaxad.training import streams
from jaxad.training.streams import Purpose


def background(
    config: ConfigDict, stage: Stage, dataset: Dataset
) -> tuple[dict[str, np.ndarray], Rows, Rows]:
    """What the stage learns, and {"x": network input} of the training and validation part.

    Beside them their "weight", where they have any.
    """
    parts = {"train": dataset.train["x"], "val": dataset.val["x"]}
    learnt, found = prepared(stage, parts, cache.root(config.data.cache))
    train = {"x": found["train"], **weight_of(dataset.train)}
    return learnt, train, {"x": found["val"], **weight_of(dataset.val)}


def weight_of(rows: Rows) -> Rows:
    """{"weight": (N,)} of rows that have any, else {}."""
    return {"weight": rows["weight"]} if "weight" in rows else {}


def tell_unweighted(dataset: Dataset, method: str, why: str) -> None:
    """Says of a method that each training event counts once, whatever its weight."""
    if "weight" in dataset.train:
        tell(f"{method}: weights of events change nothing here: {why}")


def tell(note: str) -> None:
    """Prints a line, of several processes once."""
    if hosts.leads():
        print(f"note: {note}", flush=True)


def chosen(
    config: ConfigDict, stage: Stage, dataset: Dataset, n: int, at_least: str = ""
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray | None]:
    """What the stage learns of `n` random training events, at most, and their vectors (n, d).

    And their weights (n,) float64, None of events without. The run's seed decides which; they stay
    in their order.

    Args:
        at_least: a setting of `method`; as many events are needed.

    Raises:
        UserError: fewer events than that.
    """
    x, weight = dataset.train["x"], dataset.train.get("weight")
    if at_least and config.method[at_least] > min(n, len(x)):
        raise UserError(
            f"method.{at_least}: expected at most the {min(n, len(x))} training events, found "
            f"{config.method[at_least]}"
        )
    if n < len(x):
        rng = streams.generator(config.seed, Purpose.EVENTS, "training events")
        index = np.sort(rng.choice(len(x), n, replace=False))
        x, weight = x[index], None if weight is None else weight[index]
    learnt, found = prepared(stage, {"train": x})
    return learnt, found["train"], None if weight is None else weight.astype(np.float64)


def shape_of(stage: Stage) -> tuple[int, ...]:
    """Shape (1, ...) of the network input of one event."""
    event = jax.ShapeDtypeStruct((1, *(size or 1 for size in stage.raw)), jnp.float32)
    return jax.eval_shape(stage.values, event).shape


def in_cache(scores: Callable[[Array], dict[str, Array]], x: Array, n: int) -> dict[str, Array]:
    """`scores` {name: (members, N)} of rows x (N, ...), in their order.

    On a CPU `n` rows at a time, whose activations stay in its cache; all at once elsewhere, for an
    `n` of 0, and where a batch is spread over several devices.
    """
    if not (n and on_cpu() and jax.local_device_count() == 1):
        return scores(x)
    names: list[str] = []

    def part(x: Array) -> tuple[Array, ...]:
        found = scores(x)
        names[:] = found  # of JAX a dictionary comes back sorted, and the first is the default
        return tuple(values.T for values in found.values())

    found = batches.in_chunks(part, x, n)
    return {name: values.T for name, values in zip(names, found, strict=True)}


def squared_distances(a: Array, b: Array) -> Array:
    """Squared Euclidean distances (n, m) of the rows of `a` (n, d) and `b` (m, d)."""
    products = jnp.matmul(a, b.T, precision="highest")
    return jnp.maximum(jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * products, 0.0)
