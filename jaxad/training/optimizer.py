"""The optimiser of a training, from its settings."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxad.errors import UserError

if TYPE_CHECKING:
    import optax


def _clip_per_tensor(limit: float, each: Callable) -> "optax.GradientTransformation":
    import optax

    def update(updates, state, params=None):
        def clip(g):
            return g * jnp.minimum(1.0, limit / jnp.maximum(jnp.linalg.norm(g.ravel()), 1e-12))

        return each(clip, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(
    config: ConfigDict, n_steps: int, each: Callable = jax.tree.map
) -> "optax.GradientTransformation":
    """Optax transformation of the settings, for a training of `n_steps`.

    `each` maps a function of an array over all parameters, as `jaxad.training.layout` holds them.
    """
    import optax  # here, since who scores or resumes what is trained waits for none of it

    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(
            rate, max(n_steps, 1), alpha=config.min_learning_rate / rate
        )
    elif config.schedule != "constant":
        raise UserError(f"train.schedule: expected constant or cosine, found {config.schedule!r}")
    chain = []
    if config.clip:
        chain.append(optax.clip_by_global_norm(config.clip))
    if config.clip_per_tensor:
        chain.append(_clip_per_tensor(config.clip_per_tensor, each))
    adam = {"b2": config.b2, "eps": config.eps}
    match config.optimizer:
        case "adam":
            chain.append(optax.adam(rate, **adam))
        case "adamw":
            chain.append(optax.adamw(rate, weight_decay=config.weight_decay, **adam))
        case "sgd":
            chain.append(optax.sgd(rate))
        case other:
            raise UserError(f"train.optimizer: expected adam, adamw or sgd, found {other!r}")
    return optax.chain(*chain)
