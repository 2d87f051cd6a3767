"""From raw input to what a network sees: the part of every scorer before the network."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data import cache, on_disk
from jaxad.digest import digest
from jaxad.errors import UserError
from jaxad.observables.batching import in_batches
from jaxad.observables.images import jet_image
from jaxad.observables.kinematics import epxpypz_to_ptetaphi, epxpypz_to_ptyphi


def fit_inputs(config: ConfigDict, x: np.ndarray) -> dict[str, np.ndarray]:
    """What `inputs_of` learns from training rows: mean and spread (d,) of features, else {}.

    Raises:
        UserError: a feature is constant.
    """
    if config.name != "features":
        return {}
    shift, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    if (constant := np.flatnonzero(scale <= 1e-6 * np.abs(shift))).size:
        raise UserError(
            f"features: column {constant[0]} is constant in the training background, "
            f"{shift[constant[0]]:g}: leave it out"
        )
    return {"shift": shift.astype(np.float32), "scale": scale.astype(np.float32)}


def inputs_of(config: ConfigDict) -> Callable[[dict, Array], Array]:
    """Pure function (fitted, raw rows) to images (n, h, w, 1) that sum to one, or features (n, d).

    `config.name` is "jet_image" for particles, (n, particles, 3) as (pT [GeV], eta, phi) or
    (n, particles, 4) as (E, px, py, pz) [GeV], "image" for images (n, h, w) or (n, h, w, 1), or
    "features" for (n, d), standardised by what `fit_inputs` put in `fitted`. Aligned images of
    four-momenta are made of rapidities, as EnergyFlow's are.
    """
    match config.name:
        case "jet_image":
            return partial(
                _jet_image,
                n_pixels=config.n_pixels,
                half_width=config.half_width,
                align=config.align,
            )
        case "image":
            return _unit_sum
        case "features":
            return lambda fitted, x: (x - fitted["shift"]) / fitted["scale"]
        case other:
            raise UserError(f"inputs.name: expected jet_image, image or features, found {other!r}")


def _jet_image(fitted: dict, particles: Array, *, align: bool, **settings: float) -> Array:
    if particles.shape[-1] == 4:
        particles = (epxpypz_to_ptyphi if align else epxpypz_to_ptetaphi)(particles)
    return jet_image(particles, align=align, **settings)[..., None]


def _unit_sum(fitted: dict, images: Array) -> Array:
    images = images if images.ndim == 4 else images[..., None]
    total = jnp.sum(images, axis=(1, 2, 3), keepdims=True)
    return images / jnp.where(total > 0, total, 1.0)


def prepared(
    config: ConfigDict, fitted: dict, x: np.ndarray, name: str, folder: Path | None = None
) -> np.ndarray:
    """`inputs_of(config)` of all raw rows, in bounded memory, with a progress bar of this name.

    With a cache `folder` images are kept there, under the digest of the rows and every setting;
    those of rows on disk are not.
    """

    def make() -> dict[str, np.ndarray]:
        return {
            "image": in_batches(partial(inputs_of(config), fitted), x, desc=f"inputs of {name}")
        }

    if folder is None or fitted or on_disk.folder_of(x):
        return make()["image"]
    settings = {"events": digest({}, {"x": x}), **config.to_dict()}
    return cache.cached(folder, "images", settings, make)["image"]
