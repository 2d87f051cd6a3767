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


def image_of(config: ConfigDict) -> Callable[[Array], Array]:
    """Pure function from raw jets to images (n, h, w, 1) that sum to one.

    `config.name` is "jet_image" for particles, (n, particles, 3) as (pT [GeV], eta, phi) or
    (n, particles, 4) as (E, px, py, pz) [GeV], or "image" for images (n, h, w) or (n, h, w, 1).
    Aligned images of four-momenta are made of rapidities, as EnergyFlow's are.
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
        case other:
            raise UserError(f"inputs.name: expected jet_image or image, found {other!r}")


def _jet_image(particles: Array, *, align: bool, **settings: float) -> Array:
    if particles.shape[-1] == 4:
        particles = (epxpypz_to_ptyphi if align else epxpypz_to_ptetaphi)(particles)
    return jet_image(particles, align=align, **settings)[..., None]


def _unit_sum(images: Array) -> Array:
    images = images if images.ndim == 4 else images[..., None]
    total = jnp.sum(images, axis=(1, 2, 3), keepdims=True)
    return images / jnp.where(total > 0, total, 1.0)


def images(config: ConfigDict, x: np.ndarray, name: str, folder: Path | None = None) -> np.ndarray:
    """`image_of(config)` of all raw rows, in bounded memory, with a progress bar of this name.

    With a cache `folder` they are kept there, under the digest of the rows and every setting;
    those of rows on disk are not.
    """

    def make() -> dict[str, np.ndarray]:
        return {"image": in_batches(image_of(config), x, desc=f"images of {name}")}

    if folder is None or on_disk.folder_of(x):
        return make()["image"]
    settings = {"events": digest({}, {"x": x}), **config.to_dict()}
    return cache.cached(folder, "images", settings, make)["image"]
