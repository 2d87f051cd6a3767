"""Networks on sets of particles: deep sets, a small transformer, and a decoder of slots.

Deep sets: Zaheer et al. (arXiv:1703.06114), as energy flow networks (Komiske, Metodiev, Thaler,
arXiv:1810.05165). Transformer: Vaswani et al. (arXiv:1706.03762) with the norms before (Xiong et
al., arXiv:2002.04745), and a class token as summary. Neither depends on the order of particles nor
on the number of empty slots. Empty slots are kept out of attention by an added -1e9, so that an
event with no particle has a finite summary.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

FAR = 1e9
"""What is taken from the attention to an empty slot; infinity would make NaN of an empty event."""
TYPICAL = 32.0
"""Particles by which sums over a set are divided, so that they are of the size of means."""


class DeepSets(nn.Module):
    """Summary (n, n_out) of sets (n, M, F): a network a particle, masked sum and mean, a layer."""

    n_out: int
    widths: tuple[int, ...] = (64, 64, 64)
    width: int = 64

    @nn.compact
    def __call__(self, x: Array, present: Array) -> Array:
        """`present` (n, M) is 1 where a particle is, 0 in an empty slot."""
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
        total = (x * present[..., None]).sum(axis=1)
        count = jnp.maximum(present.sum(axis=1, keepdims=True), 1)
        pooled = jnp.concatenate([total / TYPICAL, total / count], axis=-1)
        return nn.Dense(self.n_out)(nn.relu(nn.Dense(self.width)(pooled)))


class Block(nn.Module):
    """Transformer layer on tokens (n, k, width); with `summary` the first token alone goes on."""

    heads: int
    summary: bool = False

    @nn.compact
    def __call__(self, x: Array, bias: Array) -> Array:
        """`bias` (n, k) is added to the attention to each token."""
        n, _, width = x.shape
        y = nn.LayerNorm(epsilon=1e-5)(x)
        x = x[:, :1] if self.summary else x
        query = nn.Dense(width, name="query")(y[:, :1] if self.summary else y)
        query, key, value = (
            each.reshape(n, -1, self.heads, width // self.heads)
            for each in (query, nn.Dense(width, name="key")(y), nn.Dense(width, name="value")(y))
        )
        logits = jnp.einsum("nqhd,nkhd->nhqk", query, key) / (width // self.heads) ** 0.5
        attention = jax.nn.softmax(logits + bias[:, None, None, :], axis=-1)
        y = jnp.einsum("nhqk,nkhd->nqhd", attention, value).reshape(x.shape)
        x = x + nn.Dense(width, name="out")(y)
        y = nn.gelu(nn.Dense(2 * width)(nn.LayerNorm(epsilon=1e-5)(x)), approximate=False)
        return x + nn.Dense(width)(y)


class Transformer(nn.Module):
    """Summary (n, n_out) of sets (n, M, F): pre-norm layers, read off a class token."""

    n_out: int
    layers: int = 3
    heads: int = 4
    width: int = 64

    @nn.compact
    def __call__(self, x: Array, present: Array) -> Array:
        """`present` (n, M) is 1 where a particle is, 0 in an empty slot."""
        tokens = nn.Dense(self.width, name="embedding")(x)
        first = self.param("class", nn.initializers.normal(0.02), (1, 1, self.width))
        first = jnp.broadcast_to(first, (len(x), 1, self.width))
        tokens = jnp.concatenate([first, tokens], axis=1)
        bias = FAR * (jnp.concatenate([jnp.ones((len(x), 1)), present], axis=1) - 1)
        for i in range(self.layers):
            tokens = Block(self.heads, summary=i == self.layers - 1)(tokens, bias)
        return nn.Dense(self.n_out)(nn.LayerNorm(epsilon=1e-5)(tokens[:, 0]))


class Slots(NamedTuple):
    """A decoded set: `particles` (n, slots, 3) (z, eta, phi), and log(1 + number) (n,)."""

    particles: Array
    log_count: Array


class SlotDecoder(nn.Module):
    """Latent (n, d) to `Slots`, whose z are above 0; angles come in units of `radius`."""

    n_slots: int
    radius: float
    hidden: tuple[int, ...] = (64, 128)

    @nn.compact
    def __call__(self, latent: Array) -> Slots:
        y = latent
        for width in self.hidden:
            y = nn.relu(nn.Dense(width)(y))
        found = nn.Dense(3 * self.n_slots)(y).reshape(len(y), self.n_slots, 3)
        z = nn.softplus(found[..., :1]) / self.n_slots
        particles = jnp.concatenate([z, self.radius * found[..., 1:]], axis=-1)
        return Slots(particles, nn.Dense(1)(y)[:, 0])
