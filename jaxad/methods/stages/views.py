"""Views of jets for contrastive learning: what physics does not change, and what signals may.

Sets are (n, M, 3) (z, eta, phi): shares of the transverse momentum, 0 in an empty slot, and angles
relative to the axis, in which phi wraps by 2 pi. A physical view is that of JetCLR (Dillon et al.,
arXiv:2108.04253): rotation, translation, smeared angles, collinear splitting. An anomalous view,
after AnomalyCLR (Dillon et al., arXiv:2301.04660), is a guess at signals of jets: particles that
are lost, as in semi-visible jets, a second axis, as of prongs, or another sharing of momenta.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jaxad.observables.kinematics import wrap_phi

SMEAR = 0.1
"""GeV: angles are smeared by this over the particle's pT."""
SPLIT = 0.5
"""Probability that a particle is split in two where a slot is free."""
DROPPED, POWER = 0.3, 1.5
"""Probability that a particle is lost; exponent of the momenta."""
ANOMALOUS = "particles dropped, half of them moved to a second axis, pT^1.5"


def physical(key: Array, x: Array, pt: Array, radius: float) -> Array:
    """A physical view of sets (n, M, 3) of jets with sums of pT (n,) [GeV].

    Turned about the axis, moved by up to `radius` in eta and phi, smeared, and split.
    """
    of_turn, of_shift, of_smear, of_split = jax.random.split(key, 4)
    n = len(x)
    there = x[..., 0] > 0
    angles = turned(x[..., 1:], jax.random.uniform(of_turn, (n, 1), maxval=2 * jnp.pi))
    angles += jax.random.uniform(of_shift, (n, 1, 2), minval=-radius, maxval=radius)
    width = SMEAR / jnp.where(there, x[..., 0] * pt[:, None], 1)
    angles += width[..., None] * jax.random.normal(of_smear, angles.shape)
    return split(of_split, together(x[..., 0], angles))


def anomalous(key: Array, x: Array, radius: float) -> Array:
    """An anomalous view of sets (n, M, 3), one of three at random, with its sum and axis restored.

    At least one particle is left of those that are dropped from.
    """
    of_kind, of_drop, of_half, of_distance, of_direction = jax.random.split(key, 5)
    z, angles = x[..., 0], x[..., 1:]
    n = len(x)
    kept = jax.random.bernoulli(of_drop, 1 - DROPPED, z.shape) | (z == z.max(-1, keepdims=True))
    moved = jax.random.bernoulli(of_half, 0.5, z.shape)
    distance = jax.random.uniform(of_distance, (n, 1, 1), minval=radius / 2, maxval=radius)
    direction = jax.random.uniform(of_direction, (n, 1), maxval=2 * jnp.pi)
    step = distance * jnp.stack([jnp.cos(direction), jnp.sin(direction)], axis=-1)
    kind = jax.random.randint(of_kind, (n, 1), 0, 3)
    shares = jnp.where(kind == 0, z * kept, jnp.where(kind == 2, z**POWER, z))
    angles = jnp.where((kind == 1)[..., None] & moved[..., None], angles + step, angles)
    total = shares.sum(axis=-1, keepdims=True)
    shares *= z.sum(axis=-1, keepdims=True) / jnp.where(total > 0, total, 1)
    centre = (shares[..., None] * angles).sum(axis=1, keepdims=True)
    centre /= jnp.maximum(shares.sum(axis=1), 1e-9)[:, None, None]
    return together(shares, angles - centre)


def together(z: Array, angles: Array) -> Array:
    """Sets (n, M, 3) of shares (n, M) and angles (n, M, 2), phi in [-pi, pi), empty slots 0."""
    found = jnp.stack([z, angles[..., 0], wrap_phi(angles[..., 1])], axis=-1)
    return jnp.where(z[..., None] > 0, found, 0)


def turned(angles: Array, by: Array) -> Array:
    """Angles (n, M, 2) turned about the axis by (n, 1) [rad]."""
    cos, sin = jnp.cos(by), jnp.sin(by)
    eta, phi = angles[..., 0], angles[..., 1]
    return jnp.stack([cos * eta - sin * phi, sin * eta + cos * phi], axis=-1)


def split(key: Array, x: Array) -> Array:
    """Sets (n, M, 3), of which random particles are two of the same direction, in free slots."""
    of_order, of_share, of_choice = jax.random.split(key, 3)
    there = x[..., 0] > 0
    order = jnp.argsort(jnp.where(there, jax.random.uniform(of_order, there.shape), 2), axis=1)
    x = jnp.take_along_axis(x, order[..., None], axis=1)  # particles first, in random order
    slots, count = jnp.arange(x.shape[1]), there.sum(axis=1, keepdims=True)
    chosen = jax.random.bernoulli(of_choice, SPLIT, there.shape)
    chosen &= (slots < count) & (slots + count < x.shape[1])
    share = jnp.where(chosen, jax.random.uniform(of_share, there.shape, minval=0.05), 1)
    source = jnp.maximum(slots - count, 0)
    copies = jnp.take_along_axis(x, source[..., None], axis=1)
    rest = jnp.take_along_axis(jnp.where(chosen, 1 - share, 0), source, axis=1)
    copies = copies.at[..., 0].multiply(rest)
    x = x.at[..., 0].multiply(share)
    is_copy = (slots >= count) & (slots < 2 * count)
    copies = jnp.where((is_copy & (copies[..., 0] > 0))[..., None], copies, 0)
    return jnp.where((slots < count)[..., None], x, copies)
