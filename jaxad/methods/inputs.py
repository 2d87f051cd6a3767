"""From raw input to what a network sees: the part of every scorer before the network."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.observables.batching import in_batches
from jaxad.observables.images import jet_image
from jaxad.observables.kinematics import epxpypz_to_ptetaphi


def image_of(config: ConfigDict) -> Callable[[Array], Array]:
    """Pure function from raw jets to images (n, h, w, 1) that sum to one.

    `config.name` is "jet_image" for particles, (n, particles, 3) as (pT [GeV], eta, phi) or
    (n, particles, 4) as (E, px, py, pz) [GeV], or "image" for images (n, h, w) or (n, h, w, 1).
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


def _jet_image(particles: Array, **settings: float | bool) -> Array:
    if particles.shape[-1] == 4:
        particles = epxpypz_to_ptetaphi(particles)
    return jet_image(particles, **settings)[..., None]


def _unit_sum(images: Array) -> Array:
    images = images if images.ndim == 4 else images[..., None]
    total = jnp.sum(images, axis=(1, 2, 3), keepdims=True)
    return images / jnp.where(total > 0, total, 1.0)


def images(config: ConfigDict, x: np.ndarray, name: str) -> np.ndarray:
    """`image_of(config)` of all raw rows, in bounded memory, with a progress bar of this name."""
    return in_batches(image_of(config), x, desc=f"images of {name}")
