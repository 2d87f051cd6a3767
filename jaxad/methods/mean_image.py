"""Squared distance of an event from the mean background event: the reference below every network.

Of images it is the mean over pixels of (image - mean image)^2, what an autoencoder reaches that has
learnt nothing but the mean. Of particles of which `inputs` makes no image it is that of the jet
image of `inputs.n_pixels` and `inputs.half_width`, so that it stands beside every method for jets.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import PARTICLES, Layout
from jaxad.errors import UserError
from jaxad.inputs import Stage
from jaxad.methods import Bench

KINDS = inputs.KINDS


def with_image(config: ConfigDict, layout: Layout) -> ConfigDict:
    """The config, its `inputs` making images: jet images where they make no images of particles.

    Raises:
        UserError: events of which there is no image.
    """
    name = config.inputs.name
    if "image" in inputs.INPUTS[name][1]:
        return config
    if layout.format not in PARTICLES:
        raise UserError(
            f"inputs.name={name}: makes no image of {layout.format} {layout.shape}: leave "
            "mean_image out of baselines, or choose another method.name"
        )
    config = config.copy_and_resolve_references()
    config.inputs.name = "jet_image"
    return config


def _stage(config: ConfigDict, layout: Layout) -> Stage:
    return inputs.stage(with_image(config, layout).inputs, layout, ("image",), "mean_image")


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """{"mean": (h, w, c) float32} of the background's training images; {"inputs"}."""
    stage = _stage(config, dataset.layout)
    learnt, found = inputs.prepared(stage, {"train": dataset.train["x"]})
    weight = dataset.train.get("weight")
    if weight is None:
        mean = found["train"].mean(axis=0, dtype=np.float64)
    else:
        mean = np.average(found["train"], axis=0, weights=weight.astype(np.float64))
    return {"mean": mean.astype(np.float32), "inputs": learnt}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"mse": (n,)}: mean over pixels of the squared difference from the mean image."""
    stage = _stage(config, layout)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        return {"mse": jnp.mean((stage.apply(fitted, raw) - fitted["mean"]) ** 2, axis=(1, 2, 3))}

    return function
