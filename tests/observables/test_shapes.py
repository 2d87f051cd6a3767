"""Shapes of jets: by hand, and unchanged by what changes no jet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_jets import p4_float64, random_jets

from jaxad.observables.shapes import SHAPES

NAMES = list(SHAPES)
RING = np.float32([[[30, 0.4, 0], [40, -0.3, 0], [0, 0, 0]]])


def test_girth_by_hand():
    """The axis of massless particles is that of the sum: (30, 40) at eta (.4, -.3)."""
    z = (30 * np.sinh(0.4) - 40 * np.sinh(0.3)) / 70
    axis = np.arcsinh(z)
    expected = (30 * (0.4 - axis) + 40 * (0.3 + axis)) / 70
    assert float(SHAPES["girth"](RING)[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "value"), [("pt_dispersion", 50 / 70), ("z_max", 4 / 7)])
def test_momentum_fractions_by_hand(name, value):
    assert float(SHAPES[name](RING)[0]) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("name", "value"), [("girth", 0), ("pt_dispersion", 1), ("z_max", 1)])
def test_one_particle_and_none(name, value):
    one = np.float32([[[5, 1, -3], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]])
    np.testing.assert_allclose(SHAPES[name](one), [value, 0], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_changes_no_jet_changes_no_shape(name):
    rng = np.random.default_rng(0)
    x = random_jets(0, 40, 30)
    expected = SHAPES[name](x)
    there = x[..., :1] > 0
    turned = np.where(there, x + np.float32([0, 0, 1.7]), 0)
    round_ = np.where(there & (x[..., 2:] > 0), x - np.float32([0, 0, 2 * np.pi]), x)
    for same in (
        x[:, rng.permutation(30)],
        np.concatenate([x, np.zeros((40, 50, 3), np.float32)], axis=1),
        turned,
        round_,
        x * np.float32([2, 1, 1]),
    ):
        np.testing.assert_allclose(SHAPES[name](same), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_of_four_momenta_the_same(name):
    x = random_jets(1, 40, 20)
    found = SHAPES[name](p4_float64(x).astype(np.float32))
    np.testing.assert_allclose(found, SHAPES[name](x), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_in_padding(name):
    x = jnp.asarray(np.concatenate([random_jets(2, 5, 8), np.zeros((1, 8, 3), np.float32)]))
    assert np.isfinite(jax.grad(lambda p: SHAPES[name](p).sum())(x)).all()
