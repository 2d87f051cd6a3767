"""Particles as a set: the hardest ones of an event, relative to its axis, with a mask.

A network sees of each particle log(pT / sum pT), eta and phi relative to the four-vector axis, and
log(E / sum E); behind them 1 where there is a particle and 0 in a padded slot, found by pT > 0 of
the raw event and by no value that a column may have. Nothing depends on the order of particles,
on padding, or on a rotation about the beam.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.layout import Layout
from jaxad.inputs.particles import invariant_mass, momenta_of
from jaxad.inputs.stage import Stage
from jaxad.observables.kinematics import epxpypz_to_ptetaphi, jet_p4, jet_ptetaphi, wrap_phi

COLUMNS = ("log_pt_rel", "eta_rel", "phi_rel", "log_e_rel", "present")
"""Of a particle in the set."""
ROWS = 65_536
"""Events whose spread is taken at once."""


def stage(config: ConfigDict, layout: Layout, kind: str) -> Stage:
    """Sets (n, n_particles, 5) of `COLUMNS`, the first four standardised where a particle is."""
    in_gev, n = momenta_of(layout), config.n_particles
    return Stage(
        kind=kind,
        raw=(None, layout.shape[-1]),
        values=lambda raw: relative_set(in_gev(raw), n),
        fit=fit,
        scale=standardised,
        mass=invariant_mass(layout),
        settings={"n_particles": n, "format": layout.format, "unit": layout.unit},
    )


def relative_set(x: Array, n: int) -> Array:
    """`COLUMNS` (..., n, 5) of the n hardest particles; 0 in slots without one.

    Sums and axis are those of all particles.

    Args:
        x: (..., any, 3) (pT [GeV], eta, phi) or (..., any, 4) (E, px, py, pz) [GeV], padded with
            rows of zeros.

    Examples:
        >>> jet = jnp.array([[90.0, 0.1, 3.1], [0.0, 0.0, 0.0], [10.0, 0.1, -3.1]])
        >>> found = relative_set(jet, 4)
        >>> [round(float(z), 3) for z in jnp.exp(found[:, 0]) * found[:, 4]]
        [0.9, 0.0, 0.1, 0.0]
    """
    p = x if x.shape[-1] == 3 else epxpypz_to_ptetaphi(x)
    energy = p[..., 0] * jnp.cosh(p[..., 1]) if x.shape[-1] == 3 else x[..., 0]
    axis, total = jet_ptetaphi(x), p[..., 0].sum(axis=-1)
    total_energy = jet_p4(x)[..., 0]
    p = hardest(jnp.concatenate([p, energy[..., None]], axis=-1), n)
    there = p[..., 0] > 0
    logs = [
        _log_share(p[..., column], of[..., None], there)
        for column, of in ((0, total), (3, total_energy))
    ]
    eta = p[..., 1] - axis[..., None, 1]
    phi = wrap_phi(p[..., 2] - axis[..., None, 2])
    found = jnp.stack([logs[0], eta, phi, logs[1], jnp.ones_like(eta)], axis=-1)
    return jnp.where(there[..., None], found, 0)


def total_pt(layout: Layout) -> Callable[[Array], Array]:
    """Pure function raw particles -> sum of their pT (n,) [GeV]."""
    in_gev = momenta_of(layout)

    def function(raw: Array) -> Array:
        x = in_gev(raw)
        return (x if x.shape[-1] == 3 else epxpypz_to_ptetaphi(x))[..., 0].sum(axis=-1)

    return function


def _log_share(part: Array, whole: Array, there: Array) -> Array:
    """log(part / whole) where there is a particle, of an energy that may be 0 a large negative."""
    part = jnp.where(there & (part > 0), part, 1e-30)
    return jnp.log(part / jnp.where(whole > 0, whole, 1))


def hardest(x: Array, n: int) -> Array:
    """The n particles of largest first column (..., n, c) of (..., any, c), padded with zeros.

    In their order, where they are n or fewer slots.
    """
    slots = x.shape[-2]
    few = isinstance(slots, int) and slots <= n
    if few or not isinstance(slots, int):
        missing = n - slots if few else n  # of a length that is known in use alone, n are enough
        x = jnp.concatenate([x, jnp.zeros((*x.shape[:-2], missing, x.shape[-1]), x.dtype)], axis=-2)
    if few:
        return x
    places = jax.lax.top_k(x[..., 0], n)[1]
    return jnp.take_along_axis(x, places[..., None], axis=-2)


def fit(values: np.ndarray) -> dict[str, np.ndarray]:
    """ "shift" and "scale" (4,) of the particles of training events (n, M, 5).

    Mean and spread of the logarithms; the angles keep their origin and have one scale, the root of
    their mean square, so that directions stay what they are. A column that does not vary keeps its
    scale.
    """
    count, sums, squares = 0.0, np.zeros(4), np.zeros(4)
    for start in range(0, len(values), ROWS):
        part = values[start : start + ROWS].astype(np.float64)
        count += part[..., 4].sum()
        sums += part[..., :4].sum(axis=(0, 1))
        squares += (part[..., :4] ** 2).sum(axis=(0, 1))
    mean, square = sums / max(count, 1), squares / max(count, 1)
    mean[1:3] = 0
    square[1:3] = square[1:3].mean()
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    scale = np.where(spread > 1e-6, spread, 1)
    return {"shift": mean.astype(np.float32), "scale": scale.astype(np.float32)}


def standardised(fitted: dict[str, Array], values: Array) -> Array:
    """Sets (..., M, 5) in units of the training particles' spread; empty slots stay 0."""
    there = values[..., 4:]
    scaled = (values[..., :4] - fitted["shift"]) / fitted["scale"]
    return jnp.concatenate([scaled * there, there], axis=-1)
