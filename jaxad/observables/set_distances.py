"""Distances of two sets of particles that do not depend on their order: Chamfer, energy mover.

A set is (..., n, 3) (z, eta, phi): z is a share of transverse momentum, 0 in an empty slot. Both
distances are pure and differentiable, and wrap phi by 2 pi. The energy mover's distance is that of
Komiske, Metodiev, Thaler (arXiv:1902.02346, eq. 1), by Sinkhorn's iterations of the regularised
transport (Cuturi, arXiv:1306.0895) in logarithms, debiased as Feydy et al. (arXiv:1810.08278).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxad.observables.kinematics import wrap_phi

ABSENT = 1e5
"""What a distance to an empty slot, or minus the logarithm of its weight, counts as."""
STEPS, FIRST, LAST = 50, 0.05, 0.01
"""Of Sinkhorn: iterations, and regularisation in units of the radius, falling geometrically."""


def squared_angles(a: Array, b: Array) -> Array:
    """d_eta^2 + d_phi^2 (..., n, m) of the particles of sets (..., n, 3) and (..., m, 3)."""
    d_eta = a[..., :, None, 1] - b[..., None, :, 1]
    d_phi = wrap_phi(a[..., :, None, 2] - b[..., None, :, 2])
    return d_eta**2 + d_phi**2


def chamfer(a: Array, b: Array, radius: float) -> Array:
    """Chamfer distance (...,) of sets (..., n, 3) and (..., m, 3), weighted by z.

    sum_i z_i min_k d(i, k)^2 + sum_k z_k min_i d(i, k)^2, where d^2 is the squared angle in units
    of `radius` plus (z_i - z_k)^2. A set without particles is at no distance.

    Examples:
        >>> a = jnp.array([[0.5, 0.0, 0.0], [0.5, 0.4, 0.0]])
        >>> print(chamfer(a, jnp.array([[1.0, 0.0, 0.0]]), 0.4))
        1.0
    """
    za, zb = a[..., 0], b[..., 0]
    square = squared_angles(a, b) / radius**2 + (za[..., :, None] - zb[..., None, :]) ** 2
    to_b = _least(square + ABSENT * (zb <= 0)[..., None, :], -1)
    to_a = _least(square + ABSENT * (za <= 0)[..., :, None], -2)
    both = (za > 0).any(axis=-1) & (zb > 0).any(axis=-1)
    return jnp.where(both, (za * to_b).sum(axis=-1) + (zb * to_a).sum(axis=-1), 0)


def _least(x: Array, axis: int) -> Array:
    """Least of numbers that are not negative; the mean of those within 1e-5 of it.

    The gradient of `min` is 0 / 0 where XLA computes x twice, and its last bits differ.
    """
    least = x.min(axis=axis, keepdims=True)
    near = lax.stop_gradient(x <= (1 + 1e-5) * least).astype(x.dtype)
    return (near * x).sum(axis=axis) / jnp.maximum(near.sum(axis=axis), 1)


def energy_mover(
    a: Array, b: Array, radius: float, steps: int = STEPS, last: float = LAST
) -> Array:
    """Regularised energy mover's distance (...,) of sets (..., n, 3) and (..., m, 3).

    min over plans of sum_ij f_ij theta_ij / radius, plus |sum z_a - sum z_b|: what is missing on
    one side is taken from a particle at a distance of one radius of all. The entropy of the plan is
    in it, `last` times its divergence from independent sets: use `debiased` to compare sets.

    The gradient is that of the dual problem at the potentials found, which no iteration takes part
    in.

    Args:
        steps: iterations, each of both potentials.
        last: regularisation of the last of them, in units of the radius.
    """
    weights, cost, mass = _balanced(a, b, radius)
    return mass * _dual(weights, cost, _potentials(weights, cost, steps, last), last)


def debiased(a: Array, b: Array, radius: float, steps: int = STEPS, last: float = LAST) -> Array:
    """OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2, (...,): `energy_mover` without its bias.

    It is 0 for equal sets, and near the unregularised distance for others.
    """
    weights, cost, mass = _balanced(a, b, radius)
    potentials = _potentials(weights, cost, steps, last)
    found = _dual(weights, cost, potentials, last)
    for side, one in zip(weights, (a, b), strict=True):
        own = _with_missing(_costs(one, one, radius))
        pair = side, side
        found -= 0.5 * _dual(pair, own, _symmetric(side, own, steps, last), last)
    return mass * found


def _costs(a: Array, b: Array, radius: float) -> Array:
    square = squared_angles(a, b)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0) / radius


def _with_missing(cost: Array) -> Array:
    """Costs (..., n + 1, m + 1): the last particle is at 1 from all, and at 0 from the other's."""
    ends = [(0, 0)] * (cost.ndim - 2) + [(0, 1), (0, 1)]
    corner = np.zeros(np.add(cost.shape[-2:], 1), np.float32)
    corner[-1, :-1] = corner[:-1, -1] = 1
    return jnp.pad(cost, ends) + corner


def _balanced(a: Array, b: Array, radius: float) -> tuple[tuple[Array, Array], Array, Array]:
    """Weights (..., n + 1) and (..., m + 1) that sum to one, costs, and what they summed to."""
    za, zb = jnp.maximum(a[..., 0], 0), jnp.maximum(b[..., 0], 0)
    sums = za.sum(axis=-1), zb.sum(axis=-1)
    mass = jnp.maximum(*sums)
    weights = tuple(
        jnp.concatenate([z, (mass - own)[..., None]], axis=-1)
        / jnp.where(mass > 0, mass, 1)[..., None]
        for z, own in zip((za, zb), sums, strict=True)
    )
    return weights, _with_missing(_costs(a, b, radius)), mass


def _logarithm(weight: Array) -> Array:
    there = weight > 1e-12
    return jnp.where(there, jnp.log(jnp.where(there, weight, 1)), -ABSENT)


def _schedule(steps: int, last: float) -> Array:
    return jnp.asarray(np.geomspace(max(FIRST, last), last, steps), jnp.float32)


def _softmin(value: Array, log_weight: Array, eps: Array, axis: int) -> Array:
    """-eps log sum exp of (value / eps + log weight) along an axis."""
    return -eps * jax.nn.logsumexp(value / eps + log_weight, axis=axis)


def _potentials(
    weights: tuple[Array, Array], cost: Array, steps: int, last: float
) -> tuple[Array, Array]:
    """Dual potentials (..., n) and (..., m) after so many iterations; without a gradient."""
    (log_a, log_b), cost = map(_logarithm, lax.stop_gradient(weights)), lax.stop_gradient(cost)

    def step(g: Array, eps: Array) -> tuple[Array, Array]:
        f = _softmin(g[..., None, :] - cost, log_b[..., None, :], eps, -1)
        return _softmin(f[..., :, None] - cost, log_a[..., :, None], eps, -2), f

    g, f = lax.scan(step, jnp.zeros_like(log_b), _schedule(steps, last))
    return f[-1], g


def _symmetric(weight: Array, cost: Array, steps: int, last: float) -> tuple[Array, Array]:
    """The potential, twice, between a set and itself, whose steps go half the way."""
    log_weight, cost = _logarithm(lax.stop_gradient(weight)), lax.stop_gradient(cost)

    def step(f: Array, eps: Array) -> tuple[Array, None]:
        new = _softmin(f[..., None, :] - cost, log_weight[..., None, :], eps, -1)
        return (f + new) / 2, None

    f, _ = lax.scan(step, jnp.zeros_like(log_weight), _schedule(steps, last))
    return f, f


def _dual(weights: tuple[Array, Array], cost: Array, potentials: tuple, eps: float) -> Array:
    """Value (...,) of the dual problem, a lower bound of the regularised cost."""
    (a, b), (f, g) = weights, potentials
    plan = (f[..., :, None] + g[..., None, :] - cost) / eps
    plan += _logarithm(a)[..., :, None] + _logarithm(b)[..., None, :]
    mass = jnp.exp(jnp.minimum(plan, 80)).sum(axis=(-2, -1))
    return (a * f).sum(axis=-1) + (b * g).sum(axis=-1) - eps * (mass - 1)
