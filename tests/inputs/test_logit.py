"""The logit scaler is exactly invertible, has the right Jacobian and is defined everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxad.errors import UserError
from jaxad.inputs import logit as scaling

N_FEATURES = 3


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.beta(1.5, 4.0, (2000, N_FEATURES)) * [0.7, 2.0, 300.0] + [0.0, -1.0, 50.0]


@pytest.fixture(scope="module")
def scaler(rows):
    return scaling.fit_logit_scaler(rows, eps=1e-5)


def inner(rows, scaler):
    unit = (rows - np.asarray(scaler.low)) / np.asarray(scaler.high - scaler.low)
    return rows[((unit > 1e-3) & (unit < 1 - 1e-3)).all(axis=1)].astype(np.float32)


def test_scaled_rows_are_standardised(rows, scaler):
    z = scaling.forward(scaler, jnp.asarray(rows, jnp.float32))
    inside = np.abs(np.asarray(z)).max(axis=1) < 8
    np.testing.assert_allclose(np.asarray(z)[inside].mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(np.asarray(z)[inside].std(axis=0), 1, atol=0.02)


def test_inverse_undoes_forward(rows, scaler):
    x = inner(rows, scaler)
    back = scaling.inverse(scaler, scaling.forward(scaler, x))
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-5)


def test_log_jacobian_equals_autodiff(rows, scaler):
    x = inner(rows, scaler)[:200]
    jacobian = jax.vmap(jax.jacfwd(lambda row: scaling.forward(scaler, row)))(x)
    expected = np.linalg.slogdet(np.asarray(jacobian, np.float64))[1]
    np.testing.assert_allclose(scaling.log_jacobian(scaler, x), expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=N_FEATURES, max_size=N_FEATURES))
def test_every_finite_row_has_a_finite_image(scaler, row):
    x = jnp.asarray(row, jnp.float32)
    assert np.isfinite(scaling.forward(scaler, x)).all()
    assert np.isfinite(scaling.log_jacobian(scaler, x))


def test_rows_on_and_beyond_the_edges_are_clipped_and_counted(rows, scaler):
    beyond = np.stack([rows.min(axis=0) - 1, rows.max(axis=0) + 1, np.median(rows, axis=0)])
    counts = scaling.clip_counts(scaler, beyond)
    assert counts == {"low": [1] * N_FEATURES, "high": [1] * N_FEATURES}
    edges = np.stack([rows.min(axis=0), rows.max(axis=0)])
    np.testing.assert_allclose(
        scaling.forward(scaler, beyond[:2]), scaling.forward(scaler, edges), rtol=1e-4
    )


def test_degenerate_rows_do_not_set_the_scale(rows, scaler):
    spoilt = np.concatenate([rows, np.repeat(rows.min(axis=0, keepdims=True), 50, axis=0)])
    refit = scaling.fit_logit_scaler(spoilt, eps=1e-5)
    np.testing.assert_allclose(refit.mean, scaler.mean, rtol=1e-5)
    np.testing.assert_allclose(refit.scale, scaler.scale, rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "eps", "message"),
    [
        (np.ones((5, 2)), 1e-6, "constant"),
        (np.array([[1.0], [np.nan]]), 1e-6, "NaN"),
        (np.arange(4.0)[:, None], 0.0, "eps"),
    ],
)
def test_mistakes_are_named(x, eps, message):
    with pytest.raises(UserError, match=message):
        scaling.fit_logit_scaler(x, eps)
