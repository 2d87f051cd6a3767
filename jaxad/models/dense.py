"""Dense networks on vectors: the classifier of weak supervision, the mimicker, the autoencoder."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
from jax import Array


class Reconstruction(NamedTuple):
    """What an autoencoder returns: the output, shaped as the input, and the latent (n, d)."""

    output: Array
    latent: Array


class Classifier(nn.Module):
    """Dense ReLU layers and one logit: 8,705 parameters for four features by default.

    The classifier of weak supervision (Hallin et al., arXiv:2109.00546, section IV).
    """

    hidden: tuple[int, ...] = (64, 64, 64)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Logits (N,) of "data" against "background" for standardised features `x` (N, F)."""
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(1)(x)[..., 0]


class Layers(nn.Module):
    """Dense ReLU layers of the widths `hidden`, then a linear one of `n_out`: (n, d) -> (n, n_out).

    What integer firmware runs: no normalisation, no other activation.
    """

    hidden: tuple[int, ...]
    n_out: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.n_out)(x)


class Mimicker(nn.Module):
    """Four dense ELU layers of 50 and one output: 7,851 parameters for two observables.

    The network of mimickers (Bradshaw, Chang, Ostdiek, arXiv:2203.01343, section III).
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Score (n,) of standardised observables `x` (n, d)."""
        for _ in range(4):
            x = nn.elu(nn.Dense(50, kernel_init=nn.initializers.glorot_normal())(x))
        return nn.Dense(1, kernel_init=nn.initializers.glorot_normal())(x)[..., 0]


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
