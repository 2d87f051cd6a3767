"""Compact convolutional transformer, the supervised reference of dark-shower searches.

Hassani et al. (arXiv:2104.05704) in the size of Anzalone et al. (arXiv:2306.12955). The original
drops residual branches with the inverted probability and leaves the positional embedding
untrained; here stochastic depth drops a branch with its rate, and the embedding is trained unless
asked not to.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxad.models.codae import max_pool
from jaxad.models.convolution import Conv


class Tokenizer(nn.Module):
    """Images (n, 72, 58, c) -> tokens (n, 270, 128)."""

    features: tuple[int, ...] = (64, 128)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for features in self.features:
            x = Conv(
                features,
                use_bias=False,
                padding="VALID",
                kernel_init=nn.initializers.he_normal(),
            )(x)
            x = jnp.pad(nn.relu(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
            x = max_pool(x)
        return x.reshape(x.shape[0], -1, x.shape[-1])


class StochasticDepth(nn.Module):
    """Drops a residual branch of an event with probability `rate`, scaling the others up."""

    rate: float

    @nn.compact
    def __call__(self, x: Array, training: bool) -> Array:
        if not training or self.rate == 0:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, shape)
        return jnp.where(keep, x / (1 - self.rate), 0.0)


class Block(nn.Module):
    """Pre-norm transformer layer: attention, then a network of two layers on every token."""

    heads: int
    hidden: tuple[int, ...]
    drop_path: float
    attention_dropout: float = 0.1
    dropout: float = 0.2

    @nn.compact
    def __call__(self, x: Array, training: bool) -> Array:
        features = x.shape[-1]
        glorot = nn.initializers.glorot_uniform()
        h = nn.MultiHeadDotProductAttention(
            num_heads=self.heads,
            qkv_features=self.heads * features,
            out_features=features,
            dropout_rate=self.attention_dropout,
            deterministic=not training,
            kernel_init=glorot,
        )(nn.LayerNorm(epsilon=1e-5)(x))
        x = x + StochasticDepth(self.drop_path)(h, training)
        h = nn.LayerNorm(epsilon=1e-5)(x)
        for units in self.hidden:
            h = nn.gelu(nn.Dense(units, kernel_init=glorot)(h), approximate=False)
            h = nn.Dropout(self.dropout, deterministic=not training)(h)
        return x + StochasticDepth(self.drop_path)(h, training)


class CCT(nn.Module):
    """Logits (n, classes) of images (n, 72, 58, c).

    Without `learned_position` the embedding keeps its initial values, in the collection "fixed".
    """

    classes: int = 3
    features: tuple[int, ...] = (64, 128)
    layers: int = 2
    heads: int = 2
    drop_path: float = 0.1
    learned_position: bool = True

    @nn.compact
    def __call__(self, x: Array, training: bool = False) -> Array:
        x = Tokenizer(self.features)(x)
        shape, init = x.shape[1:], nn.initializers.uniform(0.05)
        if self.learned_position:
            position = self.param("position", init, shape)
        else:
            fixed = self.variable(
                "fixed", "position", lambda: init(self.make_rng("params"), shape, jnp.float32)
            )
            position = fixed.value
        x = x + position
        for i in range(self.layers):
            rate = self.drop_path * i / max(self.layers - 1, 1)
            x = Block(self.heads, 2 * self.features[-1:], rate)(x, training)
        x = nn.LayerNorm(epsilon=1e-5)(x)
        glorot = nn.initializers.glorot_uniform()
        attention = jax.nn.softmax(nn.Dense(1, kernel_init=glorot, name="pool")(x), axis=1)
        pooled = jnp.sum(attention * x, axis=1)
        return nn.Dense(self.classes, kernel_init=glorot, name="logits")(pooled)
