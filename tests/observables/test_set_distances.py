"""Distances of sets: against loops, an exact assignment and a linear program; empty sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, linprog

from jaxad.observables import set_distances

RADIUS = 0.4
RNG = np.random.default_rng(0)


def sets(n, particles, total=1.0, around=0.0):
    z = RNG.exponential(size=(n, particles, 1))
    angles = RNG.normal([0, around], 0.2, (n, particles, 2))
    z *= total / z.sum(1, keepdims=True)
    return np.concatenate([z, angles], -1).astype(np.float32)


def angle(a, b):
    d_phi = (a[2] - b[2] + np.pi) % (2 * np.pi) - np.pi
    return np.hypot(a[1] - b[1], d_phi)


def chamfer_by_hand(a, b):
    def one_way(a, b):
        return sum(
            p[0] * min((angle(p, q) / RADIUS) ** 2 + (p[0] - q[0]) ** 2 for q in b if q[0] > 0)
            for p in a
            if p[0] > 0
        )

    return one_way(a, b) + one_way(b, a)


def exact(a, b):
    """Energy mover's distance by its linear program."""
    cost = np.array([[angle(p, q) / RADIUS for q in b] for p in a])
    n, m = cost.shape
    rows = [np.repeat(np.eye(n)[i], m) for i in range(n)]
    columns = [np.tile(np.eye(m)[k], n) for k in range(m)]
    least = min(a[:, 0].sum(), b[:, 0].sum())
    found = linprog(
        cost.ravel(),
        A_ub=np.array([*rows, *columns]),
        b_ub=np.concatenate([a[:, 0], b[:, 0]]) * (1 + 1e-6),
        A_eq=np.ones((1, n * m)),
        b_eq=[least],
    )
    return found.fun + abs(a[:, 0].sum() - b[:, 0].sum())


def test_chamfer_is_that_of_loops():
    a, b = sets(6, 9, around=3.1), sets(6, 7, 0.8, around=-3.1)
    a[1, 4:] = 0
    b[2, 1:] = 0
    expected = [
        chamfer_by_hand(*each) for each in zip(a.astype(float), b.astype(float), strict=True)
    ]
    np.testing.assert_allclose(set_distances.chamfer(a, b, RADIUS), expected, rtol=1e-4)


@pytest.mark.long
def test_sinkhorn_finds_the_best_assignment():
    """Of equal weights the plan is a permutation."""
    a, b = sets(5, 12), sets(5, 12, around=0.3)
    a[..., 0] = b[..., 0] = 1 / 12
    found = set_distances.debiased(a, b, RADIUS)
    for p, q, distance in zip(a.astype(float), b.astype(float), found, strict=True):
        cost = np.array([[angle(i, k) / RADIUS for k in q] for i in p])
        assert distance == pytest.approx(cost[linear_sum_assignment(cost)].mean(), abs=0.015)


def test_sinkhorn_finds_the_optimum_of_other_weights_and_sums():
    a, b = sets(5, 8), sets(5, 6, total=0.7)
    a[3, 3:] = 0
    found = set_distances.debiased(a, b, RADIUS)
    expected = [exact(*each) for each in zip(a.astype(float), b.astype(float), strict=True)]
    np.testing.assert_allclose(found, expected, atol=0.03)
    np.testing.assert_allclose(set_distances.debiased(a, a, RADIUS), 0, atol=5e-3)


@pytest.mark.long
def test_the_gradient_is_that_of_the_distance():
    """Of what it converges to: by differences of the value, for many iterations."""
    a, b = sets(1, 5), sets(1, 4, total=0.8)

    def distance(a):
        return set_distances.energy_mover(a, b, RADIUS, steps=400, last=0.05)[0]

    found = jax.grad(distance)(jnp.asarray(a))
    for index in [(0, 0, 0), (0, 1, 1), (0, 3, 2)]:
        step = np.zeros_like(a)
        step[index] = 5e-3
        slope = (distance(a + step) - distance(a - step)) / 1e-2
        assert found[index] == pytest.approx(float(slope), abs=0.02)


@pytest.mark.long
def test_empty_sets_are_at_finite_distances():
    a = sets(3, 4)
    a[1:] = 0
    b = sets(3, 5)
    b[2] = 0
    np.testing.assert_allclose(set_distances.chamfer(a, b, RADIUS)[1:], 0)
    moved = set_distances.debiased(a, b, RADIUS)
    np.testing.assert_allclose(moved[1:], [1, 0], atol=0.02)
    slope = jax.grad(lambda b: set_distances.energy_mover(a, b, RADIUS).sum())(jnp.asarray(b))
    assert np.isfinite(slope).all()
