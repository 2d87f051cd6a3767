"""Autoencoders whose latent lies on the unit sphere: those of normalised autoencoders.

Yoon, Noh, Park (arXiv:2105.05735, section 4) put the code on a sphere, where a chain can neither
leave nor get lost. `SphericalAutoencoder` is dense, for vectors and small images;
`JetAutoencoder` is the convolutional one of jet images of 40 x 40 pixels (Dillon, Favaro, Plehn,
Sorrenson, Kraemer, arXiv:2206.14225): 84,429 weights and biases and a slope for each of eleven
PReLUs, every layer with a spectral norm of one (`jaxad.models.spectral`).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from jaxad.models.convolution import Conv
from jaxad.models.dense import Reconstruction

SIDE = 40  # pixels of `JetAutoencoder`


def project(z: Array) -> Array:
    """Vectors (n, d) divided by their length: points of the unit sphere.

    Examples:
        >>> print(project(jnp.array([[3.0, 4.0]])))
        [[0.6 0.8]]
    """
    return z * lax.rsqrt(jnp.sum(z**2, axis=-1, keepdims=True) + 1e-12)


class Slope(nn.Module):
    """Leaky rectifier with one trained slope, the PReLU of one number a layer."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        slope = self.param("slope", nn.initializers.constant(0.25), ())
        return nn.relu(x) - slope * nn.relu(-x)


class _Spherical(nn.Module):
    """`encode` x -> z on the sphere, `decode` z -> x; the call is one after the other."""

    def encode(self, x: Array) -> Array:
        """Latent (n, n_latent) on the unit sphere of inputs (n, *shape)."""
        return project(self.encoder(x))

    def decode(self, z: Array) -> Array:
        """Inputs (n, *shape) of latents (n, n_latent)."""
        return self.decoder(z)

    def __call__(self, x: Array) -> Reconstruction:
        z = self.encode(x)
        return Reconstruction(self.decode(z), z)


class _Layers(nn.Module):
    """Dense ELU layers, then a linear one: chains need a gradient that does not jump."""

    widths: Sequence[int]
    n_out: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.widths:
            x = nn.elu(nn.Dense(width)(x))
        return nn.Dense(self.n_out)(x)


class _Flat(nn.Module):
    """Dense layers from inputs (n, *shape)."""

    widths: Sequence[int]
    n_out: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return _Layers(tuple(self.widths), self.n_out)(x.reshape(len(x), -1))


class _Shaped(nn.Module):
    """Dense layers to outputs (n, *shape), in (0, 1) if `bounded`."""

    widths: Sequence[int]
    shape: tuple[int, ...]
    bounded: bool

    @nn.compact
    def __call__(self, z: Array) -> Array:
        size = 1
        for side in self.shape:
            size *= side
        y = _Layers(tuple(self.widths), size)(z).reshape(len(z), *self.shape)
        return nn.sigmoid(y) if self.bounded else y


class SphericalAutoencoder(_Spherical):
    """Inputs (n, *shape) -> reconstruction and latent; `widths` are those of the encoder.

    bounded: outputs lie in (0, 1), as pixels do.
    """

    shape: tuple[int, ...]
    widths: Sequence[int] = (128, 32)
    n_latent: int = 3
    bounded: bool = False

    spectral = False

    def setup(self) -> None:
        self.encoder = _Flat(self.widths, self.n_latent)
        self.decoder = _Shaped(tuple(reversed(self.widths)), self.shape, self.bounded)


class _JetEncoder(nn.Module):
    n_latent: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        n, h, w, _ = x.shape
        for _ in range(2):
            x = Slope()(Conv(8)(x))
        x = x.reshape(n, h // 2, 2, w // 2, 2, 8).max(axis=(2, 4))
        for features in (8, 8, 1):
            x = Slope()(Conv(features)(x))
        x = Slope()(nn.Dense(100)(x.reshape(n, -1)))
        return nn.Dense(self.n_latent)(x)


class _JetDecoder(nn.Module):
    @nn.compact
    def __call__(self, z: Array) -> Array:
        half = SIDE // 2
        for features in (100, half**2):
            z = Slope()(nn.Dense(features)(z))
        y = z.reshape(len(z), half, half, 1)
        # A transposed convolution of stride 1 is a convolution, its kernel turned around.
        for _ in range(2):
            y = Slope()(Conv(8)(y))
        y = jnp.repeat(jnp.repeat(y, 2, axis=1), 2, axis=2)
        return nn.sigmoid(Conv(1)(Slope()(Conv(8)(y))))


class JetAutoencoder(_Spherical):
    """Images (n, 40, 40, 1) -> reconstruction in (0, 1) and latent (n, n_latent).

    Its enlargement repeats pixels, where the original interpolates: that exports.
    """

    n_latent: int = 3

    spectral = True

    def setup(self) -> None:
        self.encoder = _JetEncoder(self.n_latent)
        self.decoder = _JetDecoder()
