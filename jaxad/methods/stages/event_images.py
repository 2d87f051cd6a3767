"""What the methods on event images share: network input, reconstruction scores, image similarity.

Anzalone et al., arXiv:2306.12955. Scores grow with the anomaly by their definition, never by
looking at labels. Sums run over the pixels of one event.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset, Rows
from jaxad.data.layout import Layout
from jaxad.devices import batches
from jaxad.inputs.images import require_augmentable
from jaxad.methods.stages import rows
from jaxad.models.convolution import on_cpu

KINDS = ("image",)
EPSILON = 1e-7
SSIM_WINDOW = 11


def stage_of(config: ConfigDict, layout: Layout, method: str) -> inputs.Stage:
    """Images with pixels in [0, 1]."""
    return inputs.stage(config.inputs, layout, KINDS, method)


def shape_of(config: ConfigDict, layout: Layout, method: str) -> tuple[int, int, int]:
    """(h, w, c) of the network input."""
    return rows.shape_of(stage_of(config, layout, method))[1:]


def background(config: ConfigDict, dataset: Dataset, method: str) -> tuple[Rows, Rows]:
    """{"x": network input} of training and validation part, masks as bytes.

    Raises:
        UserError: images that cannot be augmented as `method.augment` asks.
    """
    stage = stage_of(config, dataset.layout, method)
    if config.method.augment:
        require_augmentable(stage, rows.shape_of(stage)[1:])
    _, train, val = rows.background(config, stage, dataset)
    return train, val


def in_chunks(function: Callable[[Array], Any], images: Array) -> Any:
    """`function` of images (n, h, w, c), a pytree of arrays (n, ...), in bounded memory for any n.

    On CPU few at once, whose activations stay in the cache.
    """
    return batches.in_chunks(function, images, 16 if on_cpu() else 256)


def first_member(fitted: dict) -> dict:
    """The first member's best epoch of pytrees with leading axes (members, best epochs)."""
    return jax.tree.map(lambda a: a[0, 0], fitted)


def scorer(
    stage: inputs.Stage, one: Callable[[dict, Array], dict[str, Array]], default: str
) -> Callable[[dict, Array], dict[str, Array]]:
    """Score function {score: (members, n)} of raw images, `default` first.

    Args:
        stage: from raw images to network input.
        one: scores (n,) of one network, (arrays of one member and epoch, network input).
        default: name of the default score.

    The function's first argument has leading axes (members, best epochs) throughout; scores are
    means over the best epochs.
    """

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        n_members, n_epochs = jax.tree.leaves(fitted)[0].shape[:2]

        def chunk(images: Array) -> dict[str, Array]:
            x, members = stage.values(images), []
            for i in range(n_members):
                epochs = [
                    one(jax.tree.map(lambda a, at=(i, j): a[at], fitted), x)
                    for j in range(n_epochs)
                ]
                members.append(jax.tree.map(lambda *each: sum(each) / n_epochs, *epochs))
            return jax.tree.map(lambda *each: jnp.stack(each, axis=1), *members)

        found = {name: values.T for name, values in in_chunks(chunk, raw).items()}
        return {default: found.pop(default), **found}

    return function


def bce(x: Array, logits: Array) -> Array:
    """Binary cross-entropy (n,) of images (n, h, w, c), summed over pixels, clipped as by Keras."""
    q = jnp.clip(jax.nn.sigmoid(logits), EPSILON, 1 - EPSILON)
    loss = x * jnp.log(q + EPSILON) + (1 - x) * jnp.log(1 - q + EPSILON)
    return -jnp.sum(loss, axis=(1, 2, 3))


def reconstruction_scores(x: Array, y: Array) -> dict[str, Array]:
    """Scores (n,) of images (n, h, w, c) against their reconstructions.

    mse: sum of squared differences; dice: (sum x^2 + sum y^2) / (2 sum x y); abs: sum |x - y|;
    pixels_in, pixels_out: content of input and output.
    """

    def total(values: Array) -> Array:
        return jnp.sum(values, axis=(1, 2, 3))

    overlap = jnp.maximum(2 * total(x * y), EPSILON)
    return {
        "mse": total((x - y) ** 2),
        "dice": (total(x**2) + total(y**2)) / overlap,
        "abs": total(jnp.abs(x - y)),
        "pixels_in": total(x),
        "pixels_out": total(y),
    }


def _gaussian_blur(size: int) -> np.ndarray:
    """Matrix (size - 10, size) of an 11-tap Gaussian of sigma 1.5, without padding."""
    taps = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    matrix = np.zeros((size - 10, size), np.float32)
    for i in range(size - 10):
        matrix[i, i : i + 11] = taps / taps.sum()
    return matrix


def ssim(x: Array, y: Array, value_range: float = 1.0) -> Array:
    """Structural similarity (n,) of images (n, h, w, c) (Wang et al., IEEE TIP 13 (2004) 600).

    Gaussian windows of `SSIM_WINDOW` = 11 pixels and sigma 1.5, mean over windows and channels:
    chooses epochs.
    """
    down, across = (_gaussian_blur(size) for size in x.shape[1:3])

    def blur(values: Array) -> Array:
        return jnp.einsum("ih,jw,nhwc->nijc", down, across, values)

    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    mean_x, mean_y = blur(x), blur(y)
    square = mean_x**2 + mean_y**2
    variance = blur(x**2 + y**2) - square
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (square + c1)
    return jnp.mean(luminance * (2 * covariance + c2) / (variance + c2), axis=(1, 2, 3))


def distance_correlation(a: Array, b: Array, weight: Array) -> Array:
    """Squared distance correlation of `a`, `b` (n,) under weights (n,): 1 if linear.

    Szekely, Rizzo, Bakirov, arXiv:0803.4101; as penalty in Kasieczka, Shih, arXiv:2001.05310.
    """
    p = weight / jnp.maximum(weight.sum(), EPSILON)
    pair = p[:, None] * p[None, :]

    def centred(values: Array) -> Array:
        distance = jnp.abs(values[:, None] - values[None, :])
        mean = distance @ p
        return distance - mean[:, None] - mean[None, :] + mean @ p

    da, db = centred(a), centred(b)
    covariance = jnp.sum(pair * da * db)
    variances = jnp.sum(pair * da**2) * jnp.sum(pair * db**2)
    return covariance / jnp.sqrt(jnp.maximum(variances, EPSILON**2))
