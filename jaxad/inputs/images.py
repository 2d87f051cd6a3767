"""Images as networks see them, and their augmentation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs.stage import Stage

PIXELS = ("fraction", "mask", "masks", "energy", "energies", "counts")


def stage(config: ConfigDict, layout: Layout, kind: str) -> Stage:
    """Images (n, h, w, c) of raw ones (n, h, w) or (n, h, w, channels).

    `config.pixels` is "fraction" (divided by the sum), "mask" (first channel above zero), "masks"
    (each channel above zero), "energy" (sum of the channels, clipped at `max_energy`, in units of
    that), "energies" (each channel so) or "counts" (the numbers as they are).
    """
    pixels, largest = config.pixels, config.max_energy
    functions = {
        "fraction": unit_sum,
        "mask": lambda x: (x[..., :1] > 0).astype(jnp.float32),
        "masks": lambda x: (x > 0).astype(jnp.float32),
        "energy": lambda x: jnp.minimum(x.sum(-1, keepdims=True), largest) / largest,
        "energies": lambda x: jnp.minimum(x, largest) / largest,
        "counts": lambda x: x.astype(jnp.float32),
    }
    if pixels not in functions:
        raise UserError(f"inputs.pixels: expected one of {', '.join(PIXELS)}, found {pixels!r}")
    soften, softened = softening(config, layout.periodic)
    if softened and pixels != "fraction":
        raise UserError(
            f"inputs.{next(iter(softened))}: of images that sum to one, found inputs.pixels="
            f"{pixels!r}: set inputs.pixels=fraction, or leave it out"
        )
    units = {"fraction": "fraction of the sum", "mask": "hits", "masks": "hits"}
    units["counts"] = layout.picture.get("unit", "counts")

    def values(raw: Array) -> Array:
        return soften(functions[pixels](raw if raw.ndim == 4 else raw[..., None]))

    return Stage(
        kind=kind,
        raw=layout.shape,
        values=values,
        unit_sum=pixels == "fraction",
        periodic=layout.periodic,
        picture={
            **layout.picture,
            "unit": units.get(pixels, f"energy / {largest / 1000:g} TeV"),
        },
        batch=4096 if pixels == "fraction" else 256,
        stored=jnp.uint8 if pixels in ("mask", "masks") else jnp.float32,
        settings={"pixels": pixels, "max_energy": largest, **softened},
    )


def softening(
    config: ConfigDict, periodic: bool = False
) -> tuple[Callable[[Array], Array], dict[str, Any]]:
    """What softens images (n, h, w, c) that sum to one, and its settings where it does anything.

    In this order: a Gaussian filter of the width `config.smear` [pixels], as that of SciPy, with
    pixels reflected at the edges (and the first axis wrapped around where it is `periodic`); every
    pixel to the power `config.power`; division by the sum. Neighbouring pixels then say that they
    are neighbours, which a squared difference of pixels does not know (Dillon et al.,
    arXiv:2206.14225; Finke et al., arXiv:2104.09051).
    """
    smear, power = config.get("smear", 0.0), config.get("power", 1.0)
    settings = ({"smear": smear} if smear else {}) | ({"power": power} if power != 1 else {})

    def soften(images: Array) -> Array:
        if smear:
            rows, columns = (_filter(n, smear) for n in images.shape[1:3])
            rows = _filter(images.shape[1], smear, "wrap") if periodic else rows
            images = jnp.einsum("ih,nhwc->niwc", rows, images, precision="highest")
            images = jnp.einsum("jw,niwc->nijc", columns, images, precision="highest")
        if power != 1:
            lit = images > 0
            images = jnp.where(lit, jnp.where(lit, images, 1) ** power, 0)
        return unit_sum(images)

    return (soften, settings) if settings else (lambda images: images, {})


def _filter(n: int, smear: float, mode: str = "reflect") -> np.ndarray:
    """The Gaussian filter of an axis of n pixels as a matrix (n, n)."""
    from scipy.ndimage import gaussian_filter1d  # takes as long to import as flax

    return gaussian_filter1d(np.eye(n), smear, axis=0, mode=mode).astype(np.float32)


def unit_sum(images: Array) -> Array:
    """Images (n, h, w, c) divided by their sum; empty ones stay zero."""
    total = jnp.sum(images, axis=(1, 2, 3), keepdims=True)
    return images / jnp.where(total > 0, total, 1.0)


def require_augmentable(stage: Stage, shape: tuple[int, ...]) -> None:
    """Refuses `method.augment` for images that `augment` would spoil."""
    if not stage.periodic or shape[0] % 8:
        raise UserError(
            "method.augment: takes images whose first axis is all of phi, in a multiple of 8 "
            f"pixels, found images {shape}{'' if stage.periodic else ' of something else'}: "
            "set method.augment=False"
        )


def augment(images: Array, key: Array) -> Array:
    """Flips eta and rolls phi at random: images (n, 72, 58, c) of any dtype, one choice an event.

    Six equal choices: none, flip eta, roll phi by +a or -a, flip and roll either way, with
    a = 8, 16, ... 56 of 72 pixels.
    """
    n, h, w, c = images.shape
    choice_key, amount_key = jax.random.split(key)
    choice = jax.random.randint(choice_key, (n,), 0, 6)
    blocks = jax.random.randint(amount_key, (n,), 1, 8)
    flip = (choice == 1) | (choice >= 4)
    sign = jnp.where(choice % 2 == 0, 1, -1) * (choice >= 2)
    source = (jnp.arange(h // 8) - (sign * blocks)[:, None]) % (h // 8)
    rolled = jnp.take_along_axis(
        images.reshape(n, h // 8, 8, w, c), source[:, :, None, None, None], axis=1
    ).reshape(images.shape)
    return jnp.where(flip[:, None, None, None], rolled[:, :, ::-1], rolled)


def n_copies(h: int) -> int:
    """Turned and mirrored copies of an image of h pixels in phi, itself among them."""
    return 2 * h


def turned(images: Array, number: Array) -> Array:
    """Copies of images (n, h, w, ...) whose first axis is all of phi and whose second is eta.

    Args:
        number: (n,) below `n_copies(h)`, or one of all: turned by half of it, rounded down, in
            pixels of phi, and eta mirrored where it is odd. 0: the image itself.

    Examples:
        >>> turned(jnp.array([[[1, 2], [3, 4], [5, 6]]]), 3)[0].tolist()
        [[6, 5], [2, 1], [4, 3]]
    """
    n, h = images.shape[:2]
    number = jnp.broadcast_to(number, (n,))
    later = (1,) * (images.ndim - 2)
    rows = (jnp.arange(h) - number[:, None] // 2) % h
    rolled = jnp.take_along_axis(images, rows.reshape(n, h, *later), axis=1)
    odd = (number % 2 == 1).reshape(n, 1, *later)
    return jnp.where(odd, rolled[:, :, ::-1], rolled)


def symmetric_copies(h: int) -> tuple[int, ...]:
    """Numbers of six copies, turned by thirds of h pixels in phi and mirrored: see `turned`.

    A copy of one of them is another one, if 3 divides h.

    Examples:
        >>> symmetric_copies(18)
        (0, 1, 12, 13, 24, 25)
    """
    return tuple(2 * (third * h // 3) + mirrored for third in range(3) for mirrored in (0, 1))


def turned_back(images: Array, number: Array) -> Array:
    """What `turned` made such copies of."""
    h = images.shape[1]
    return turned(images, 2 * ((h - number // 2) % h) + number % 2)


def drawn_copies(key: Array, n: int, h: int) -> Array:
    """Numbers (n,) of copies at random, see `turned`."""
    return jax.random.randint(key, (n,), 0, n_copies(h))


def require_turnable(stage: Stage) -> None:
    """Refuses `method.augment` and `method.symmetric` for images that `turned` would spoil."""
    if not stage.periodic:
        raise UserError(
            "method.augment, method.symmetric: turn images whose first axis is all of phi, found "
            "others: set both to False, and those of a teacher that is trained along"
        )
