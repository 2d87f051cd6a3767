"""Particles as a set: columns against NumPy, and what they do not depend on."""

import numpy as np
import pytest
from random_jets import p4_float64, random_jets

from jaxad import inputs, methods
from jaxad.configs import interpretable_hln, set_autoencoder
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs import particle_set

LAYOUT = Layout("ptetaphi", (20, 3))


def stage(n=24, layout=LAYOUT):
    config = inputs.get_config("particle_set", n_particles=n)
    return inputs.stage(config, layout, ("set",), "m")


@pytest.fixture(scope="module")
def jets():
    return random_jets(0, 40, 20, spread=0.1)


def by_hand(x):
    """Columns (n, particles, 5) in double precision."""
    p4 = p4_float64(x)
    total = p4.sum(axis=1)
    eta = np.arcsinh(total[:, 3] / np.hypot(total[:, 1], total[:, 2]))
    phi = np.arctan2(total[:, 2], total[:, 1])
    x, there = x.astype(np.float64), x[..., 0] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = [
            np.log(x[..., 0] / x[..., 0].sum(1)[:, None]),
            x[..., 1] - eta[:, None],
            (x[..., 2] - phi[:, None] + np.pi) % (2 * np.pi) - np.pi,
            np.log(p4[..., 0] / total[:, :1]),
            np.ones_like(x[..., 0]),
        ]
    return np.where(there[..., None], np.stack(columns, -1), 0)


def test_columns_are_those_of_their_names(jets):
    values = np.asarray(stage().values(jets))
    assert values.shape == (40, 24, 5) and values.dtype == np.float32
    np.testing.assert_allclose(values[:, :20], by_hand(jets), atol=1e-5)
    assert (values[:, 20:] == 0).all()


def test_four_momenta_and_other_units_give_the_same(jets):
    expected = stage().values(jets)
    four = p4_float64(jets).astype(np.float32)
    found = stage(layout=Layout("epxpypz", (20, 4))).values(four)
    np.testing.assert_allclose(found, expected, atol=2e-4)  # of eta, of single precision
    in_mev = stage(layout=Layout("ptetaphi", (20, 3), unit=1e-3))
    found = in_mev.values(jets * np.float32([1000, 1, 1]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_hardest_are_kept_and_shares_are_those_of_all(jets):
    shuffled = jets[:, np.random.default_rng(0).permutation(20)]
    few = np.asarray(stage(5).values(shuffled))
    np.testing.assert_allclose(few, by_hand(jets)[:, :5], atol=1e-5)  # the jets are sorted


def test_rotated_and_wrapped_jets_are_the_same(jets):
    there = jets[..., :1] > 0
    turned = np.where(there, jets + np.float32([0, 0, 2.5]), 0)
    expected = stage().values(jets)
    np.testing.assert_allclose(stage().values(turned), expected, atol=1e-5)
    turned[..., 2] += 2 * np.pi * np.random.default_rng(0).integers(-2, 2, turned.shape[:2])
    found = np.asarray(stage().values(turned * there))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found[..., 2]).max() <= np.float32(np.pi)


def test_scaled_columns_have_unit_spread_and_empty_slots_stay_empty(jets):
    made = stage()
    values = np.asarray(made.values(jets))
    learnt = made.fit(values)
    found = np.asarray(made.scale(learnt, values))
    there = values[..., 4] > 0
    np.testing.assert_allclose(found[there][:, [0, 3]].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found[there][:, [0, 3]].std(0), 1, atol=1e-4)
    np.testing.assert_allclose((found[there][:, 1:3] ** 2).mean(), 1, atol=1e-4)
    assert learnt["scale"][1] == learnt["scale"][2] and (learnt["shift"][1:3] == 0).all()
    assert (found[~there] == 0).all() and (found[..., 4] == there).all()


def test_a_column_that_does_not_vary_keeps_its_scale():
    one = np.zeros((3, 4, 3), np.float32)
    one[:, 0, 0] = 5
    values = np.asarray(stage(4).values(one))
    assert stage().fit(values)["scale"].tolist() == [1, 1, 1, 1]
    assert particle_set.standardised(stage().fit(values), values).tolist() == values.tolist()


def test_sets_of_other_momenta_are_refused():
    config = set_autoencoder.get_config("smoke")
    config.inputs.name = "particles"
    with pytest.raises(UserError, match=r"gives momenta in GeV, set_autoencoder takes relative"):
        methods.get("set_autoencoder").scores(config, LAYOUT)
    config = interpretable_hln.get_config("smoke")
    config.inputs.name = "particle_set"
    with pytest.raises(UserError, match=r"hln takes those in GeV: choose particles"):
        methods.get("hln").fit(config, None, None)
