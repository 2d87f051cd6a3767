"""Autoencoders of jet images and of feature vectors.

`ConvAutoencoder` is the two-dimensional bottleneck network of the top-tagging exercise after
Farina, Nakai, Shih (arXiv:1808.08992) and Heimel et al. (arXiv:1808.08979): 307,843 parameters on
16 x 16 images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
from jax import Array

from jaxad.models.layers import Conv, ConvTranspose


class Reconstruction(NamedTuple):
    """What an autoencoder returns: the output, shaped as the input, and the latent (n, d)."""

    output: Array
    latent: Array


class ConvAutoencoder(nn.Module):
    """Images (n, h, w, 1) -> reconstruction of unit sum per image, and latent (n, n_latent).

    Two 3 x 3 stride-2 convolutions, a dense bottleneck, and the mirror image with transposed
    convolutions; a softmax over all pixels, since the images sum to one.
    """

    n_latent: int = 2
    width: int = 128

    @nn.compact
    def __call__(self, x: Array) -> Reconstruction:
        n, h, w, _ = x.shape
        y = nn.relu(Conv(self.width, stride=2)(x))
        y = nn.relu(Conv(self.width, stride=2)(y))
        inner = y.shape[1:]
        latent = nn.Dense(self.n_latent)(y.reshape(n, -1))
        y = nn.relu(nn.Dense(inner[0] * inner[1] * inner[2])(latent)).reshape(n, *inner)
        y = nn.relu(ConvTranspose(self.width)(y))
        y = ConvTranspose(1)(y)[:, :h, :w]
        return Reconstruction(nn.softmax(y.reshape(n, -1)).reshape(n, h, w, 1), latent)


class DenseAutoencoder(nn.Module):
    """Vectors (n, d) -> reconstruction (n, d) and latent; `widths` are those of the encoder."""

    widths: Sequence[int] = (64, 32)
    n_latent: int = 8

    @nn.compact
    def __call__(self, x: Array) -> Reconstruction:
        y = x
        for width in self.widths:
            y = nn.relu(nn.Dense(width)(y))
        latent = nn.Dense(self.n_latent)(y)
        y = latent
        for width in reversed(self.widths):
            y = nn.relu(nn.Dense(width)(y))
        return Reconstruction(nn.Dense(x.shape[-1])(y), latent)
