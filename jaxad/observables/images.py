"""Calorimeter-like images on the device: jet images and whole-event images.

Two jet recipes: the plain one of the top-tagging autoencoders (Farina et al. arXiv:1808.08992,
Heimel et al. arXiv:1808.08979), a pT-weighted histogram around the jet axis; and the aligned one
of Bradshaw et al. (arXiv:2203.01343, section II), centred, rotated and reflected as EnergyFlow's
center, rotate, reflect and pixelate do, with phi wrapped to the hardest particle before anything
else. `from_cells` pools the cells of an event to the images of CoDAE (arXiv:2306.12955, section
III). Rows are phi, columns eta, channels last.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad.observables.kinematics import as_floating, relative, with_columns, wrap_phi


@partial(jax.jit, static_argnames=("n_pixels", "half_width", "align"))
def jet_image(
    particles: Array, n_pixels: int = 16, half_width: float = 0.8, align: bool = False
) -> Array:
    """Images (N, n_pixels, n_pixels) of jets, each divided by its sum.

    Args:
        particles: (N, n, 3) (pT [GeV], eta, phi), zero padded.
        n_pixels: pixels a side.
        half_width: half the side of the image in eta and phi.
        align: False: histogram of the coordinates relative to the four-vector jet axis, with the
            bins of `numpy.histogram2d` on [-half_width, half_width]^2. True: pT-weighted centre,
            principal axis along the rows (axis 1), larger pT at positive coordinates, and
            EnergyFlow's pixels, whose number n_pixels // 2 is centred at 0.

    Returns:
        Rows (axis 1) are phi, columns (axis 2) eta, both increasing. What falls outside is
        dropped before the division; a jet with nothing inside gives zeros.

    Examples:
        >>> jet = jnp.array([[[100.0, 0.4, 0.0], [100.0, -0.4, 0.0], [0.0, 0.0, 0.0]]])
        >>> print(jet_image(jet, n_pixels=3)[0])
        [[0.  0.  0. ]
         [0.5 0.  0.5]
         [0.  0.  0. ]]
    """
    particles = with_columns(particles, 3)
    if align:
        pt, eta, phi = _align(particles)
        column, row = (_centred_pixel(x, n_pixels, half_width) for x in (eta, phi))
    else:
        pt, eta, phi = jnp.moveaxis(relative(particles), -1, 0)
        column, row = (_histogram_bin(x, n_pixels, half_width) for x in (eta, phi))
    inside = (column >= 0) & (column < n_pixels) & (row >= 0) & (row < n_pixels)
    pixel = jnp.where(inside, row * n_pixels + column, n_pixels**2)

    def fill(pixel: Array, pt: Array) -> Array:
        return jnp.zeros(n_pixels**2, pt.dtype).at[pixel].add(pt, mode="drop")

    image = jax.vmap(fill)(pixel, pt)
    total = image.sum(axis=1, keepdims=True)
    return (image / jnp.where(total > 0, total, 1)).reshape(-1, n_pixels, n_pixels)


@jax.jit
def from_cells(tracker: Array, ecal: Array, hcal: Array) -> Array:
    """Event images (N, 72, 58, 3) = (phi, eta, channel) [GeV] of cells (N, 286, 360) = (eta, phi).

    Sum pooling 5x5 with stride 5 and 'SAME' padding: 360 -> 72 in phi, and 286 -> 58 in eta with
    two columns of zeros on each side.
    """
    cells = as_floating(jnp.stack([tracker, ecal, hcal], axis=-1)).swapaxes(1, 2)
    n, n_phi, n_eta, channels = cells.shape
    cells = jnp.pad(cells, ((0, 0), _same_padding(n_phi), _same_padding(n_eta), (0, 0)))
    return cells.reshape(n, -(-n_phi // 5), 5, -(-n_eta // 5), 5, channels).sum(axis=(2, 4))


def _same_padding(size: int) -> tuple[int, int]:
    missing = -size % 5
    return missing // 2, missing - missing // 2


def _histogram_bin(x: Array, n_bins: int, half_width: float) -> Array:
    """Bin index of `numpy.histogram` on [-half_width, half_width], outside 0..n_bins-1 if outside.

    The bins are closed below, the last one on both sides. The edges are rounded to the type of x
    in the direction that keeps every comparison as it is in float64.
    """
    edges = _round_up(np.linspace(-half_width, half_width, n_bins + 1), x.dtype)
    edges[-1] = np.nextafter(-_round_up(-np.array([half_width]), x.dtype)[0], np.inf, dtype=x.dtype)
    edges = jnp.asarray(edges)
    scaled = jnp.floor((x + half_width) * (n_bins / (2 * half_width)))
    guess = jnp.clip(scaled, 0, n_bins - 1).astype(jnp.int32)
    return guess - (x < edges[guess]) + (x >= edges[guess + 1])


def _round_up(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float64 numbers as the smallest numbers of `dtype` that are not below them."""
    rounded = x.astype(dtype)
    return np.where(rounded < x, np.nextafter(rounded, np.inf, dtype=dtype), rounded)


def _centred_pixel(x: Array, n_pixels: int, half_width: float) -> Array:
    """Pixel index as in EnergyFlow's `pixelate`: pixel n_pixels // 2 is centred at x = 0."""
    index = jnp.ceil(x * (n_pixels / (2 * half_width)) - 0.5) + n_pixels // 2
    return jnp.clip(index, -1, n_pixels).astype(jnp.int32)


def _align(particles: Array) -> tuple[Array, Array, Array]:
    """pT, eta, phi (N, n) centred, principal axis along phi, larger pT at positive coordinates."""
    pt, eta, phi = jnp.moveaxis(particles, -1, 0)
    hardest = jnp.take_along_axis(phi, pt.argmax(axis=1, keepdims=True), axis=1)
    phi = wrap_phi(phi - hardest)
    total = pt.sum(axis=1, keepdims=True)
    weight = pt / jnp.where(total > 0, total, 1)
    eta = eta - (weight * eta).sum(axis=1, keepdims=True)
    phi = phi - (weight * phi).sum(axis=1, keepdims=True)
    moment_ee = (weight * eta**2).sum(axis=1, keepdims=True)
    moment_pp = (weight * phi**2).sum(axis=1, keepdims=True)
    moment_ep = (weight * eta * phi).sum(axis=1, keepdims=True)
    angle = 0.5 * jnp.arctan2(2 * moment_ep, moment_ee - moment_pp)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    across, along = phi * cos - eta * sin, eta * cos + phi * sin
    return pt, _reflect(pt, across), _reflect(pt, along)


def _reflect(pt: Array, x: Array) -> Array:
    """x (N, n), with the sign of each jet turned so that more pT has x > 0."""
    balance = (pt * jnp.sign(x)).sum(axis=1, keepdims=True)
    return jnp.where(balance < 0, -x, x)
