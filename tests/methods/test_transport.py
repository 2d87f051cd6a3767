"""Transport costs against the exact assignment of SciPy."""

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxad.methods.stages import transport


def test_sliced_transport_is_exact_on_each_line_and_ignores_padding():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 24, 3)).astype(np.float32)
    weight = np.float32(np.arange(24) < 17)
    along = np.asarray(transport.directions(jax.random.key(0), 3, 5))
    exact = []
    for line in along.T:
        p, q = a[:17] @ line, b[:17] @ line
        cost = (p[:, None] - q) ** 2
        exact.append(cost[linear_sum_assignment(cost)].mean())
    both = jax.jit(jax.value_and_grad(lambda b: transport.sliced(a, b, along, weight)))
    found, gradient = both(b)
    np.testing.assert_allclose(found, np.mean(exact), rtol=1e-5)
    assert not gradient[17:].any() and np.isfinite(gradient).all() and gradient[:17].any()


def test_sinkhorn_comes_near_the_exact_transport():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40, 3)).astype(np.float32)
    weight = np.float32(np.arange(40) < 30)
    cost = ((a[:30, None].astype(np.float64) - b[:30]) ** 2).sum(2)
    pairs = linear_sum_assignment(cost)
    exact = cost[pairs].mean()
    value, gradient = jax.jit(jax.value_and_grad(lambda b: transport.sinkhorn(a, b, weight)))(b)
    assert exact <= value < 1.05 * exact
    expected = np.zeros((40, 3))
    expected[pairs[1]] = 2 * (b[pairs[1]] - a[pairs[0]]) / 30
    lengths = np.linalg.norm(gradient) * np.linalg.norm(expected)
    assert np.vdot(gradient, expected) > 0.9 * lengths
    assert not gradient[30:].any()
