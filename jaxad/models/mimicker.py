"""The network of interpretable mimickers (Bradshaw, Chang, Ostdiek, arXiv:2203.01343, section III).

Seven thousand parameters on a handful of physics observables stand in for an image autoencoder.
"""

import flax.linen as nn
from jax import Array


class Mimicker(nn.Module):
    """Four dense ELU layers of 50 and one output: 7,851 parameters for two observables."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Score (n,) of standardised observables `x` (n, d)."""
        for _ in range(4):
            x = nn.elu(nn.Dense(50, kernel_init=nn.initializers.glorot_normal())(x))
        return nn.Dense(1, kernel_init=nn.initializers.glorot_normal())(x)[..., 0]
