"""Spectral normalisation: every kernel divided by its largest singular value.

Miyato, Kataoka, Koyama, Yoshida (arXiv:1802.05957): one step of power iteration a training step,
with a vector that is kept between steps. A kernel (..., features) counts as a matrix of `features`
columns. The normalised parameters are plain ones: what is trained with the norm is stored and
exported without it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array, lax

Vectors = dict[str, Array]  # path of a kernel -> (features,)


def start(params: Any, key: Array) -> Vectors:
    """Random vectors of length one for the kernels among `params`."""
    kernels = {k: v for k, v in flatten_dict(params, sep=".").items() if k.endswith("kernel")}
    keys = jax.random.split(key, len(kernels))
    drawn = (
        jax.random.normal(k, (v.shape[-1],)) for k, v in zip(keys, kernels.values(), strict=True)
    )
    return dict(zip(kernels, map(_unit, drawn), strict=True))


def normalised(params: Any, vectors: Vectors, update: bool) -> tuple[Any, Vectors]:
    """Parameters whose kernels have a largest singular value of one, and the vectors.

    Kernels that have no vector are left as they are.

    Args:
        update: one step of power iteration first, as in training; else the vectors are used as
            they are, so that the same parameters always give the same network.
    """
    flat, found = flatten_dict(params, sep="."), {}
    for name, u in vectors.items():
        w = flat[name].reshape(-1, flat[name].shape[-1])
        fixed = lax.stop_gradient(w)
        found[name] = u = _unit(fixed.T @ _unit(fixed @ u)) if update else u
        flat[name] = flat[name] / (_unit(fixed @ u) @ w @ u)
    return unflatten_dict(flat, sep="."), found


def _unit(x: Array) -> Array:
    return x / (jnp.linalg.norm(x) + 1e-12)
