"""Autoencoders of trigger events (n, 19, 3) = (pT [GeV], eta, phi); the dense ones of any vector.

The 57-8-57 network of the Nikhef exercise (977 parameters), the 57-16-3-16-57 network of the
ADC2021 challenge (1,977), and the dense and convolutional networks of Govorkova et al.
(arXiv:2108.03986, section 3), each as autoencoder or as variational one.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxad.observables.trigger import N_OBJECTS


class Encoded(NamedTuple):
    """Output (n, inputs), latent mean (n, d), log-variance (n, d) or None of an autoencoder."""

    output: Array
    mean: Array
    log_var: Array | None = None


def _flat(x: Array) -> Array:
    return x.reshape(x.shape[0], -1)


Dense = partial(nn.Dense, kernel_init=nn.initializers.glorot_uniform())
leaky_relu = partial(nn.leaky_relu, negative_slope=0.3)
NORM_EPS = 1e-3
"""Added to variances by batch normalisation."""


class ExerciseAutoencoder(nn.Module):
    """57-8-57, ReLU everywhere: the output cannot be negative."""

    @nn.compact
    def __call__(self, x: Array, noise: Array, training: bool, mask: Array) -> Encoded:
        latent = nn.relu(Dense(8)(_flat(x)))
        return Encoded(nn.relu(Dense(_flat(x).shape[1])(latent)), latent)


class ChallengeAutoencoder(nn.Module):
    """57-16-3-16-57: ReLU layers without bias, linear output."""

    @nn.compact
    def __call__(self, x: Array, noise: Array, training: bool, mask: Array) -> Encoded:
        y = nn.relu(Dense(16, use_bias=False)(_flat(x)))
        latent = nn.relu(Dense(3, use_bias=False)(y))
        y = nn.relu(Dense(16, use_bias=False)(latent))
        return Encoded(Dense(_flat(x).shape[1])(y), latent)


def _norm(y: Array, training: bool, mask: Array) -> Array:
    """Batch normalisation as Keras', over the events of `mask` (n,) bool."""
    layer = nn.BatchNorm(use_running_average=not training, momentum=0.99, epsilon=NORM_EPS)
    return layer(y, mask=mask.reshape(-1, *[1] * (y.ndim - 1)))


class _Bottleneck(nn.Module):
    """(n, k) -> latent sample, mean and, of a variational one, log-variance, each (n, d)."""

    n_latent: int
    variational: bool

    @nn.compact
    def __call__(self, y: Array, noise: Array) -> tuple[Array, Array, Array | None]:
        mean = Dense(self.n_latent, name="mean")(y)
        if not self.variational:
            return mean, mean, None
        log_var = jnp.clip(Dense(self.n_latent, name="log_var")(y), -20.0, 20.0)
        return mean + jnp.exp(0.5 * log_var) * noise, mean, log_var


class DenseTrigger(nn.Module):
    """57-32-16-latent and its mirror image, batch normalisation and LeakyReLU(0.3)."""

    n_latent: int = 3
    variational: bool = False

    @nn.compact
    def __call__(self, x: Array, noise: Array, training: bool, mask: Array) -> Encoded:
        """`noise` (n, d) is standard normal in training, zero decodes the mean; mask (n,) bool."""
        y = _norm(_flat(x), training, mask)
        for width in (32, 16):
            y = leaky_relu(_norm(Dense(width)(y), training, mask))
        y, mean, log_var = _Bottleneck(self.n_latent, self.variational)(y, noise)
        for width in (16, 32):
            y = leaky_relu(_norm(Dense(width)(y), training, mask))
        return Encoded(Dense(_flat(x).shape[1])(y), mean, log_var)


class Encoder(nn.Module):
    """57-32-16-latent with ReLU alone, and its mirror image: what a trigger computes in integers.

    The encoder is of the size of the one that CMS deployed (AXOL1TL, arXiv:2411.19506); it has no
    normalisation of its inputs, and none at all unless `normalised`, after its own layers, where it
    folds into them.
    """

    n_latent: int = 8
    normalised: bool = False

    @nn.compact
    def __call__(self, x: Array, noise: Array, training: bool, mask: Array) -> Encoded:
        """`noise` (n, d) is standard normal in training, zero decodes the mean; mask (n,) bool."""
        y = _flat(x)
        for width in (32, 16):
            y = Dense(width)(y)
            y = nn.relu(_norm(y, training, mask) if self.normalised else y)
        y, mean, log_var = _Bottleneck(self.n_latent, True)(y, noise)
        for width in (16, 32):
            y = nn.relu(Dense(width)(y))
        return Encoded(Dense(_flat(x).shape[1])(y), mean, log_var)


class _Conv(nn.Module):
    """Convolution without bias, (n, h, w, c) -> (n, h, w, features), or smaller without `same`.

    One matrix product a tap: images as small as these are far slower in XLA's CPU convolutions
    (under `vmap`) and as patches.
    """

    features: int
    kernel_size: tuple[int, int]
    same: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        (kh, kw), (h, w, c) = self.kernel_size, x.shape[1:]
        shape = (kh, kw, c, self.features)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape)
        if self.same:
            x = jnp.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
        else:
            h, w = h - kh + 1, w - kw + 1
        return sum(x[:, i : i + h, j : j + w] @ kernel[i, j] for i in range(kh) for j in range(kw))


def _pool(y: Array) -> Array:
    """Mean over three rows, (n, h, w, c) -> (n, h / 3, w, c)."""
    return y.reshape(y.shape[0], -1, 3, *y.shape[2:]).mean(axis=2)


class ConvTrigger(nn.Module):
    """Events as images (19, 3, 1): two convolutions with pooling, latent, and the way back."""

    n_latent: int = 8
    variational: bool = False

    @nn.compact
    def __call__(self, x: Array, noise: Array, training: bool, mask: Array) -> Encoded:
        """`noise` (n, d) is standard normal in training, zero decodes the mean; mask (n,) bool."""
        y = jnp.pad(x.reshape(len(x), N_OBJECTS, 3, 1), ((0, 0), (1, 0), (0, 0), (0, 0)))
        y = _norm(y, training, mask)
        y = _Conv(16, (3, 3), same=False)(y)  # (18, 1, 16)
        y = _pool(nn.relu(_norm(y, training, mask)))
        y = _Conv(32, (3, 1))(y)  # (6, 1, 32)
        y = _pool(nn.relu(_norm(y, training, mask)))
        y = y.reshape(len(x), -1)
        y, mean, log_var = _Bottleneck(self.n_latent, self.variational)(y, noise)
        y = nn.relu(Dense(64)(y)).reshape(len(x), 2, 1, 32)
        y = nn.relu(_norm(_Conv(32, (3, 1))(y), training, mask))
        y = jnp.pad(jnp.repeat(y, 3, axis=1), ((0, 0), (0, 0), (1, 1), (0, 0)))  # (6, 3, 32)
        y = nn.relu(_norm(_Conv(16, (3, 1))(y), training, mask))
        y = jnp.pad(jnp.repeat(y, 3, axis=1), ((0, 0), (1, 0), (0, 0), (0, 0)))  # (19, 3, 16)
        return Encoded(_Conv(1, (3, 3))(y).reshape(len(x), -1), mean, log_var)


MODELS = {
    "exercise": ExerciseAutoencoder(),
    "challenge": ChallengeAutoencoder(),
    "dense_ae": DenseTrigger(),
    "dense_vae": DenseTrigger(variational=True),
    "encoder": Encoder(),
    "encoder_norm": Encoder(normalised=True),
    "conv_ae": ConvTrigger(),
    "conv_vae": ConvTrigger(variational=True),
}
VARIATIONAL = ("dense_vae", "conv_vae", "encoder", "encoder_norm")
"""Those whose loss has the divergence of the code."""
CONVOLUTIONAL = ("conv_ae", "conv_vae")
"""Those that take events alone, as sets (n, 19, 3) or as vectors (n, 57) of the same order."""
