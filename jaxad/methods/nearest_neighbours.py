"""Mean distance of a trigger event to its nearest neighbours among background events.

The reference events are `method.n_fit` random training events: they are kept and compared with
every event scored.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.methods.trigger_events import features, squared_distances, subsample


def fit(config: ConfigDict, dataset: Dataset, fitter: object) -> dict[str, np.ndarray]:
    """The reference events' features (n_fit, 57)."""
    events = subsample(config, dataset.train["x"], config.method.n_fit)
    return {"reference": np.asarray(features(config.inputs)(events))}


def scores(config: ConfigDict) -> Callable[[dict, Array], dict[str, Array]]:
    """{"distance": (n,)}: mean Euclidean distance to the `method.n_neighbours` nearest."""
    prepare = features(config.inputs)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = prepare(raw)
        rough = squared_distances(x, fitted["reference"])  # all rounding where an event is its own
        nearest = jax.lax.top_k(-rough, config.method.n_neighbours)[1]
        gaps = x[:, None] - fitted["reference"][nearest]
        return {"distance": jnp.mean(jnp.sqrt(jnp.sum(gaps**2, axis=-1)), axis=-1)}

    return function
