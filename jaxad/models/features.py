"""Self-supervised features, and an autoencoder of them: the layout of CMS's trigger since its v5.

57-29-10 with ReLU, then 10-9-6-4-6-9-10, linear in the middle and at the end (repository
cms-hls4ml/AXOL1TL for the widths). The expander is what the features are trained through and is
left out of the scorer (Bardes, Ponce, LeCun, arXiv:2105.04906).
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


class Encoder(nn.Module):
    """Vectors (n, d) -> features (n, widths[-1]), none of them negative."""

    widths: tuple[int, ...] = (29, 10)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
        return x


class Expander(nn.Module):
    """Features (n, f) -> embedding (n, width)."""

    width: int = 64

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Dense(self.width)(nn.relu(nn.Dense(self.width)(x)))


class FeatureAutoencoder(nn.Module):
    """Features (n, f) -> their reconstruction (n, f); `widths` are those of its encoder."""

    widths: tuple[int, ...] = (9, 6)
    n_latent: int = 4

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = x
        for width in self.widths:
            y = nn.relu(nn.Dense(width)(y))
        y = nn.Dense(self.n_latent)(y)
        for width in reversed(self.widths):
            y = nn.relu(nn.Dense(width)(y))
        return nn.Dense(x.shape[-1])(y)


def covariance(z: Array, weight: Array) -> Array:
    """Covariance (d, d) of rows z (n, d) with weights (n,)."""
    share = weight / jnp.maximum(weight.sum(), 1e-12)
    centred = z - share @ z
    return (centred * share[:, None]).T @ centred
