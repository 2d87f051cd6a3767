"""From ADC2021 trigger events to what a network sees: the part before the network of every scorer.

Events are (n, 19, 3) = (pT [GeV], eta, phi) of the MET, 4 electrons or photons, 4 muons and 10
jets, zero padded (arXiv:2107.02157). An object is there where its raw pT is above 0; whatever else
stands in a padded slot is ignored.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.adc2021 import CLASS, N_OBJECTS, mask
from jaxad.errors import UserError

N_INPUTS = 3 * N_OBJECTS
ETA_LIMIT = np.array([0.0, 3.0, 2.1, 4.0], np.float32)[CLASS - 1]
"""Largest |eta| (19,) of each object: none for the MET, then e/gamma, muons, jets."""
PT_SCALE = 1000.0
MIN_OBJECTS = 10  # objects in a slot from which its own mean and spread are taken


def clean(config: ConfigDict) -> Callable[[Array], Array]:
    """Pure function raw (n, 19, 3) -> the same with zeros in padded slots.

    With `config.rotate` the event is turned so that the MET points to phi = 0.
    """
    if config.name != "trigger_event":
        raise UserError(f"inputs.name: expected trigger_event, found {config.name!r}")

    def function(raw: Array) -> Array:
        there = mask(raw)
        x = jnp.where(there[..., None], raw, 0.0)
        if not config.rotate:
            return x
        phi = jnp.mod(x[..., 2] - x[:, :1, 2] + np.pi, 2 * np.pi) - np.pi
        return x.at[..., 2].set(jnp.where(there, phi, 0.0))

    return function


def features(config: ConfigDict) -> Callable[[Array], Array]:
    """Pure function raw (n, 19, 3) -> (n, 57): log pT, eta and phi, of the order of one.

    log(1 + pT / GeV) / log(1001), eta over its limit, phi / pi; 0 in padded slots. The scales are
    fixed: standard deviations of slots that are nearly always empty would be tiny.
    """
    prepare = clean(config)
    limits = np.where(ETA_LIMIT > 0, ETA_LIMIT, 1.0)

    def function(raw: Array) -> Array:
        pt, eta, phi = jnp.moveaxis(prepare(raw), -1, 0)
        scaled = (jnp.log1p(pt) / np.log1p(PT_SCALE), eta / limits, phi / np.pi)
        return jnp.stack(scaled, -1).reshape(-1, N_INPUTS)

    return function


def unit_features(config: ConfigDict) -> Callable[[Array], Array]:
    """Pure function raw (n, 19, 3) -> (n, 57) in [0, 1]: `features`, angles mapped to (1 + a) / 2.

    0 in padded slots.
    """
    scaled = features(config)

    def function(raw: Array) -> Array:
        x = scaled(raw).reshape(-1, N_OBJECTS, 3)
        x = x.at[..., 1:].set((1 + x[..., 1:]) / 2) * mask(raw)[..., None]
        return jnp.clip(x, 0.0, 1.0).reshape(-1, N_INPUTS)

    return function


def subsample(config: ConfigDict, x: np.ndarray, n: int) -> np.ndarray:
    """At most `n` random events of `x`, in their order; the run's seed decides which."""
    if n >= len(x):
        return x
    return x[np.sort(np.random.default_rng(config.seed).choice(len(x), n, replace=False))]


def squared_distances(a: Array, b: Array) -> Array:
    """Squared Euclidean distances (n, m) of the rows of `a` (n, d) and `b` (m, d)."""
    products = jnp.matmul(a, b.T, precision="highest")
    return jnp.maximum(jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * products, 0.0)


def pt_scale(x: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation (19,) [GeV] of the pT of the objects in each slot.

    A slot with fewer than 10 objects takes those of its kind (all electrons, muons or jets), and a
    kind that is missing altogether 0 and 1.
    """
    there, pt = mask(x), x[..., 0].astype(np.float64)
    mean, std = np.zeros(N_OBJECTS, np.float32), np.ones(N_OBJECTS, np.float32)
    for slot in range(N_OBJECTS):
        values = pt[:, slot][there[:, slot]]
        if len(values) < MIN_OBJECTS:
            kind = CLASS[slot] == CLASS
            values = pt[:, kind][there[:, kind]]
        if len(values) and values.std() > 0:
            mean[slot], std[slot] = values.mean(), values.std()
    return {"mean": mean, "std": std}


def squared_error(loss: str, scale: dict[str, Array], x: Array, output: Array) -> Array:
    """Reconstruction error (n,) of events `x` (n, 19, 3) and a network's `output` (n, 57).

    "plain": mean over the 57 inputs of (output - x)^2, pT in GeV.
    "masked" (arXiv:2108.03986): the target pT is standardised per slot with `scale`; the output is
        read as pT, limit x tanh for eta and pi x tanh for phi; both vanish where the raw pT is 0.
    "masked_per_object": the same sum, over the inputs of the objects that are there.
    """
    output = output.reshape(x.shape)
    if loss == "plain":
        return jnp.mean((output - x) ** 2, axis=(1, 2))
    there = mask(x)
    pt = jnp.where(there, (x[..., 0] - scale["mean"]) / scale["std"], 0.0)
    angles = jnp.tanh(output[..., 1:]) * jnp.stack(
        [jnp.asarray(ETA_LIMIT), jnp.full(N_OBJECTS, jnp.pi)], -1
    )
    difference = jnp.concatenate([output[..., :1] - pt[..., None], angles - x[..., 1:]], -1)
    total = jnp.sum(jnp.where(there[..., None], difference, 0.0) ** 2, axis=(1, 2))
    if loss == "masked":
        return total / N_INPUTS
    if loss == "masked_per_object":
        return total / (3 * jnp.maximum(jnp.sum(there, axis=1), 1))
    raise UserError(f"method.loss: expected plain, masked or masked_per_object, found {loss!r}")
