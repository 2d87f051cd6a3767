"""The spline is distrax's, with its inverse and slope, and nothing of it overflows."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxad.models import rational_quadratic_spline as spline

BOUND, BINS = 4.0, 6


@pytest.fixture(scope="module")
def case():
    """Parameters (17, 3, 500) and x (3, 500), a tenth of them outside."""
    p, x = jax.random.split(jax.random.key(0))
    shape = (3, 500)
    return jax.random.normal(p, (spline.n_parameters(BINS), *shape)), 2.5 * jax.random.normal(
        x, shape
    )


def of_distrax(parameters):
    """Its slopes at both ends are of no effect: they are 1."""
    zero = jnp.zeros_like(parameters[:1])
    sizes, slopes = parameters[: 2 * BINS], parameters[2 * BINS :]
    return distrax.RationalQuadraticSpline(
        jnp.moveaxis(jnp.concatenate([sizes, zero, slopes, zero]), 0, -1),
        -BOUND,
        BOUND,
        boundary_slopes="identity",
        min_bin_size=spline.MIN_BIN_SIZE,
        min_knot_slope=spline.MIN_SLOPE,
    )


def test_values_and_gradients_are_those_of_distrax(case):
    def ours(parameters, x):
        return spline.forward(parameters, x, BOUND)

    def theirs(parameters, x):
        return of_distrax(parameters).forward_and_log_det(x)

    def gradients(f):
        total = lambda p, x: sum(jnp.sin(values).sum() for values in f(p, x))  # noqa: E731
        return jax.grad(total, argnums=(0, 1))(*case)

    for f in (lambda f: f(*case), gradients):
        found, expected = jax.jit(lambda f=f: (f(ours), f(theirs)))()
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=5e-4)


def test_inverse_and_slope_are_exact(case):
    with jax.enable_x64(True):
        parameters, x = (jnp.asarray(np.asarray(a), jnp.float64) for a in case)
        y, log_slope = spline.forward(parameters, x, BOUND)
        slope = jax.grad(lambda x: spline.forward(parameters, x, BOUND)[0].sum())(x)
        np.testing.assert_allclose(spline.inverse(parameters, y, BOUND), x, atol=1e-10)
        np.testing.assert_allclose(log_slope, jnp.log(slope), atol=1e-10)
        outside = jnp.abs(x) > BOUND
        assert 20 < outside.sum() < 500
        np.testing.assert_array_equal(y[outside], x[outside])


def test_inverse_is_as_near_as_that_of_distrax(case):
    parameters, x = case
    y = spline.forward(parameters, x, BOUND)[0]
    ours = np.abs(spline.inverse(parameters, y, BOUND) - x)
    theirs = np.abs(of_distrax(parameters).inverse(y) - x)
    assert ours.max() < max(2 * theirs.max(), 1e-4) and ours.mean() < 1e-5


def test_zero_parameters_are_the_identity():
    x = jnp.linspace(-6, 6, 101)
    y, log_slope = spline.forward(jnp.zeros((spline.n_parameters(BINS), 101)), x, BOUND)
    np.testing.assert_allclose(y, x, atol=2e-6)
    np.testing.assert_allclose(log_slope, 0, atol=2e-6)


@pytest.mark.parametrize("size", [0.0, 50.0, 1e4])
def test_tails_and_large_parameters_are_finite(size):
    x = jnp.array([-1e30, -1e4, -BOUND, -BOUND + 1e-6, 0, BOUND - 1e-6, BOUND, 1e4, 1e30])
    signs = jnp.sign(jax.random.normal(jax.random.key(2), (spline.n_parameters(BINS), len(x))))

    def total(parameters, x):
        y, log_slope = spline.forward(parameters, x, BOUND)
        return jnp.where(jnp.abs(x) > 5, 0, y).sum() + log_slope.sum()

    value, gradients = jax.value_and_grad(total, argnums=(0, 1))(size * signs, x)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)
    assert np.isfinite(spline.inverse(size * signs, x, BOUND)).all()
