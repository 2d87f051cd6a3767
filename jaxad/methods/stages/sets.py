"""What the methods on sets of particles share: their input, their networks, their ensembles."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset, Rows
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs import Stage
from jaxad.inputs.stage import as_it_is
from jaxad.methods.stages import rows
from jaxad.models.sets import DeepSets, Transformer

KINDS = ("set",)
NETWORKS = ("deep_sets", "transformer")
CPU_ROWS = 32
"""Sets whose activations a processor's cache holds; those of a whole batch do not fit."""


def stage_of(config: ConfigDict, layout: Layout, method: str) -> Stage:
    """The input of a method on sets; its `values` have angles and logarithms in their own units.

    Raises:
        UserError: an input without a mask, or events that are no particles.
    """
    stage = inputs.stage(config.inputs, layout, KINDS, method)
    if config.inputs.name != "particle_set":
        raise UserError(
            f"inputs.name={config.inputs.name}: gives momenta in GeV, {method} takes relative ones "
            "with a mask: choose particle_set"
        )
    return stage


def background(
    config: ConfigDict, stage: Stage, dataset: Dataset
) -> tuple[dict[str, np.ndarray], Rows, Rows]:
    """As `rows.background`, of values that are not scaled: losses need angles as they are."""
    return rows.background(config, unscaled(stage), dataset)


def unscaled(stage: Stage) -> Stage:
    """The stage without the last of its steps."""
    return replace(stage, scale=as_it_is)


def encoder(config: ConfigDict, n_out: int) -> nn.Module:
    """The network of the section `model`, sets (n, M, F) and mask (n, M) -> (n, n_out).

    Raises:
        UserError: no such network; a width that its heads do not divide.
    """
    if config.name == "deep_sets":
        return DeepSets(n_out, (config.width,) * 3, config.width)
    if config.name != "transformer":
        raise UserError(f"model.name: expected {' or '.join(NETWORKS)}, found {config.name!r}")
    if config.width % config.heads:
        raise UserError(
            f"model.heads: expected a divisor of model.width={config.width}, found {config.heads}"
        )
    return Transformer(n_out, config.layers, config.heads, config.width)


def physical(x: Array) -> Array:
    """(z, eta, phi) (..., M, 3) of the values of the input (..., M, 5), zeros in empty slots."""
    z = jnp.exp(x[..., :1]) * x[..., 4:]
    return jnp.concatenate([z, x[..., 1:3]], axis=-1)


def few_at_once(
    scores: Callable[[dict, Array], dict[str, Array]],
) -> Callable[[dict, Array], dict[str, Array]]:
    """Scores {name: (members, n)} of what was fitted and raw sets (n, M, 4), as they were given.

    On a CPU of as many sets at once as train, whose activations stay in its cache.
    """

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        return rows.in_cache(partial(scores, fitted), raw, CPU_ROWS)

    return function


def each_network(function: Callable[[Any], Any], params: Any) -> Any:
    """`function` of the parameters of each member's best epochs, (members, n): their mean."""
    return jax.tree.map(lambda a: a.mean(axis=1), jax.vmap(jax.vmap(function))(params))
