"""Self-supervised features: 57-29-10 with ReLU, the layout of CMS's trigger since its v5.

Widths: repository cms-hls4ml/AXOL1TL.
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


def covariance(z: Array, weight: Array) -> Array:
    """Covariance (d, d) of rows z (n, d) with weights (n,)."""
    share = weight / jnp.maximum(weight.sum(), 1e-12)
    centred = z - share @ z
    return (centred * share[:, None]).T @ centred
