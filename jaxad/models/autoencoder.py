"""Autoencoders of images.

`ConvAutoencoder` is the two-dimensional bottleneck network of the top-tagging exercise after
Farina, Nakai, Shih (arXiv:1808.08992) and Heimel et al. (arXiv:1808.08979): 307,843 parameters on
16 x 16 images. `PooledAutoencoder` is that of Bradshaw, Chang, Ostdiek (arXiv:2203.01343, section
II): 88,709 parameters on 40 x 40 images. `CountsAutoencoder` is the teacher of CICADA in the
calorimeter trigger of CMS (arXiv:2310.06047, CMS-DP-2024-121): 323,731 parameters on 18 x 14
images.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxad.models.convolution import Conv, ConvTranspose
from jaxad.models.dense import Reconstruction


class ConvAutoencoder(nn.Module):
    """Images (n, h, w, c) -> reconstruction of unit sum per image, and latent (n, n_latent).

    Two 3 x 3 stride-2 convolutions, a dense bottleneck, and the mirror image with transposed
    convolutions; a softmax over all pixels, since the images sum to one.
    """

    n_latent: int = 2
    width: int = 128

    @nn.compact
    def __call__(self, x: Array) -> Reconstruction:
        n, h, w, channels = x.shape
        y = nn.relu(Conv(self.width, stride=2)(x))
        y = nn.relu(Conv(self.width, stride=2)(y))
        inner = y.shape[1:]
        latent = nn.Dense(self.n_latent)(y.reshape(n, -1))
        y = nn.relu(nn.Dense(inner[0] * inner[1] * inner[2])(latent)).reshape(n, *inner)
        y = nn.relu(ConvTranspose(self.width)(y))
        y = ConvTranspose(channels)(y)[:, :h, :w]
        return Reconstruction(nn.softmax(y.reshape(n, -1)).reshape(x.shape), latent)


class PooledAutoencoder(nn.Module):
    """Images (n, h, w, c), h and w even, -> reconstruction of unit sum per image, and latent.

    Five-channel 3 x 3 convolutions around one 2 x 2 max-pooling, a dense bottleneck, and one
    transposed convolution back up; ELU but for the latent, the upsampling and the softmax.
    """

    n_latent: int = 32

    @nn.compact
    def __call__(self, x: Array) -> Reconstruction:
        n, h, w, channels = x.shape
        y = x
        for _ in range(2):
            y = nn.elu(Conv(5)(y))
        y = y.reshape(n, h // 2, 2, w // 2, 2, 5).max(axis=(2, 4))
        for features in (5, 5, 5, 1):
            y = nn.elu(Conv(features)(y))
        inner = y.shape[1:]
        y = nn.elu(nn.Dense(100)(y.reshape(n, -1)))
        latent = nn.Dense(self.n_latent)(y)
        y = nn.elu(nn.Dense(100)(latent))
        y = nn.elu(nn.Dense(inner[0] * inner[1])(y)).reshape(n, *inner)
        for _ in range(2):
            y = nn.elu(Conv(5)(y))
        y = nn.elu(Conv(5)(ConvTranspose(5, kernel_size=2)(y)))
        y = Conv(channels)(y)
        return Reconstruction(nn.softmax(y.reshape(n, -1)).reshape(x.shape), latent)


class CountsAutoencoder(nn.Module):
    """Images of counts (n, h, w, c), h and w even, -> reconstruction of counts, and latent.

    Two 3 x 3 convolutions around a mean-pooling of 2, a dense bottleneck, and the way back with an
    upsampling of 2; ReLU after every layer, the output too.
    """

    n_latent: int = 80

    @nn.compact
    def __call__(self, x: Array) -> Reconstruction:
        n, h, w, channels = x.shape
        y = nn.relu(Conv(20)(x))
        y = y.reshape(n, h // 2, 2, w // 2, 2, 20).mean(axis=(2, 4))
        y = nn.relu(Conv(30)(y))
        inner = y.shape[1:]
        glorot = nn.initializers.glorot_uniform()
        latent = nn.relu(nn.Dense(self.n_latent, kernel_init=glorot)(y.reshape(n, -1)))
        y = nn.relu(nn.Dense(inner[0] * inner[1] * 30, kernel_init=glorot)(latent))
        y = nn.relu(Conv(30)(y.reshape(n, *inner)))
        y = nn.relu(Conv(20)(jnp.repeat(jnp.repeat(y, 2, axis=1), 2, axis=2)))
        return Reconstruction(nn.relu(Conv(channels)(y)), latent)
