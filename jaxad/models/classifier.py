"""The small classifier of weak supervision (Hallin et al., arXiv:2109.00546, section IV)."""

import flax.linen as nn
from jax import Array


class Classifier(nn.Module):
    """Dense ReLU layers and one logit: 8,705 parameters for four features by default."""

    hidden: tuple[int, ...] = (64, 64, 64)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Logits (N,) of "data" against "background" for standardised features `x` (N, F)."""
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(1)(x)[..., 0]
