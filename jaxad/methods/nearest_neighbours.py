"""Mean distance of an event's vector to its nearest neighbours among background events.

The reference events are `method.n_fit` random training events: they are kept and compared with
every event scored.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.methods import Bench
from jaxad.methods.stages import rows

KINDS = ("vector",)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict[str, np.ndarray]:
    """The reference events' vectors (n_fit, d)."""
    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "nearest_neighbours")
    n_fit = config.method.n_fit
    learnt, x, _ = rows.chosen(config, stage, dataset, n_fit, at_least="n_neighbours")
    rows.tell_unweighted(dataset, "nearest_neighbours", "distances know no weights")
    return {"reference": x, "inputs": learnt}


def mean_distance(x: Array, reference: Array, k: int) -> Array:
    """Mean Euclidean distance (n,) of rows x (n, d) to the k nearest of `reference` (m, d)."""
    rough = rows.squared_distances(x, reference)
    # All rounding where an event is its own reference: distances of the nearest anew.
    nearest = jax.lax.top_k(-rough, k)[1]
    gaps = x[:, None] - reference[nearest]
    return jnp.mean(jnp.sqrt(jnp.sum(gaps**2, axis=-1)), axis=-1)


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"distance": (n,)}: mean Euclidean distance to the `method.n_neighbours` nearest."""
    stage = inputs.stage(config.inputs, layout, KINDS, "nearest_neighbours")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = stage.apply(fitted, raw)
        return {"distance": mean_distance(x, fitted["reference"], config.method.n_neighbours)}

    return function
