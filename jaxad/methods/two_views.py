"""A jet seen twice: its neighbours among background in features, and its image beside a PCA's.

Features say how wide and how heavy a jet is, an image where its energy lies. Each view has a score
of its own, `nearest_neighbours` on the vector of `inputs`, `pca` on the jet image of
`inputs.n_pixels` and `inputs.half_width`; their logarithms, in units of their spread about their
mean on validation background, are averaged with equal weights: no signal decides anything.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.devices.batches import in_batches
from jaxad.methods import Bench, mean_image, nearest_neighbours, pca

KINDS = ("vector",)
LEAST = 1e-12
"""What a score of 0, as of an event that is its own neighbours, counts as before the logarithm."""


def _logarithms(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], Array]:
    """Logarithms (n, 2) of the scores of both views."""
    views = {
        "features": nearest_neighbours.scores(config, layout),
        "image": pca.scores(mean_image.with_image(config, layout), layout),
    }

    def function(fitted: dict, raw: Array) -> Array:
        found = [next(iter(score(fitted[view], raw).values())) for view, score in views.items()]
        return jnp.log(jnp.maximum(jnp.stack(found, axis=-1), LEAST))

    return function


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """{"features", "image"}: of both methods; "mean" and "spread" (2,) of the logarithms.

    Raises:
        UserError: events of which there is no image, see `mean_image`; as both methods.
    """
    image = mean_image.with_image(config, dataset.layout)
    fitted = {
        "features": nearest_neighbours.fit(config, dataset, bench),
        "image": pca.fit(image, dataset, bench),
    }
    logarithms = partial(_logarithms(config, dataset.layout), jax.device_put(fitted))
    found = in_batches(logarithms, dataset.val["x"], "two scores", 1024).astype(np.float64)
    spread = np.maximum(found.std(axis=0), 1e-6)
    return fitted | {
        "mean": found.mean(axis=0).astype(np.float32),
        "spread": spread.astype(np.float32),
    }


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"both", "features", "image"}: (n,) each; the mean of both views, and each of them."""
    logarithms = _logarithms(config, layout)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        found = (logarithms(fitted, raw) - fitted["mean"]) / fitted["spread"]
        return {"both": found.mean(axis=-1), "features": found[:, 0], "image": found[:, 1]}

    return function
