"""Restricted Boltzmann machine with binary units (Hinton, Neural Computation 14 (2002) 1771)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

Params = Mapping[str, Array]  # "weights" (d, h), "visible" (d,), "hidden" (h,) biases


def init(key: Array, v: Array, n_hidden: int) -> dict[str, Array]:
    """Small weights, visible biases log(p / (1 - p)) of the batch `v` (n, d) in [0, 1]."""
    p = jnp.clip(jnp.mean(v, axis=0), 1e-3, 1 - 1e-3)
    return {
        "weights": 0.01 * jax.random.normal(key, (v.shape[1], n_hidden)),
        "visible": jnp.log(p) - jnp.log1p(-p),
        "hidden": jnp.zeros(n_hidden),
    }


def hidden(params: Params, v: Array) -> Array:
    """P(h = 1 | v), (n, h)."""
    return jax.nn.sigmoid(v @ params["weights"] + params["hidden"])


def visible(params: Params, h: Array) -> Array:
    """P(v = 1 | h), (n, d)."""
    return jax.nn.sigmoid(h @ params["weights"].T + params["visible"])


def free_energy(params: Params, v: Array) -> Array:
    """F(v) = -v b - sum_j log(1 + exp(c_j + (v W)_j)), so that p(v) ~ exp(-F(v)): (n,)."""
    energies = jax.nn.softplus(v @ params["weights"] + params["hidden"])
    return -(v @ params["visible"]) - jnp.sum(energies, axis=-1)


def gibbs(params: Params, v: Array, key: Array, k: int) -> Array:
    """`k` steps v -> h -> v of Gibbs sampling from `v` (n, d)."""

    def step(i: int, v: Array) -> Array:
        for_hidden, for_visible = jax.random.split(jax.random.fold_in(key, i))
        h = jax.random.bernoulli(for_hidden, hidden(params, v)).astype(v.dtype)
        return jax.random.bernoulli(for_visible, visible(params, h)).astype(v.dtype)

    return jax.lax.fori_loop(0, k, step, v)
