"""Whole numbers and spikes of features, as a density of the background knows them.

Kept as its "atoms", of the sidebands that it learned from; a density without has none.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data import dequantisation
from jaxad.data.dequantisation import Atoms
from jaxad.training import streams
from jaxad.training.streams import Purpose


def found_in(x: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """{"atoms"} of sideband features (N, F); {} where there are none."""
    atoms = dequantisation.atoms_in(x)
    return {"atoms": atoms._asdict()} if atoms.any else {}


def spread(config: ConfigDict, background: dict, x: np.ndarray, stage: str) -> np.ndarray:
    """Features (n, F) for a density to learn from; `stage` names what they are for."""
    if "atoms" not in background:
        return x
    rng = streams.generator(config.seed, Purpose.SPREAD, stage)
    return dequantisation.dequantised(x, Atoms(**background["atoms"]), rng)


def put_back(background: dict, x: np.ndarray) -> np.ndarray:
    """Features (n, F), drawn or of data, as a classifier may compare them."""
    return x if "atoms" not in background else np.asarray(floored(background, x))


def floored(background: dict, x: Array) -> Array:
    """The same inside of functions of JAX."""
    if "atoms" not in background:
        return x
    return dequantisation.floored(x, Atoms(**background["atoms"]), jnp)


def centred(background: dict, x: Array) -> Array:
    """Features (n, F) whose density is evaluated, in the middle of what they are spread over."""
    if "atoms" not in background:
        return x
    return dequantisation.centred(x, Atoms(**background["atoms"]), jnp)
