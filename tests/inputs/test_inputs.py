"""What a network sees of an event: padding that says nothing, caches that keep inputs apart."""

import dataclasses

import jax
import numpy as np
import pytest
from random_jets import random_jets

from jaxad import inputs
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs.images import unit_sum
from jaxad.inputs.particles import invariant_mass

JETS = Layout("ptetaphi", (12, 3))
IN_MEV = dataclasses.replace(JETS, unit=1e-3)
PARTICLES = {
    "particles": {},
    "jet_image": {},
    "jet_image, aligned": {"align": True},
    "jet_observables": {"max_degree": 2},
    "jet_features": {"efp_degree": 1},
    "trigger_event": {},
    "trigger_event, turned": {"rotate": True},
    "trigger_integer": {},
}


def stage_of(name, layout, **settings):
    name = name.partition(",")[0]
    return inputs.stage(inputs.get_config(name, **settings), layout, inputs.KINDS[::-1], "m")


@pytest.mark.parametrize("padding", [(0, -999, 0), (0, 0, 99), (-0.0, 1e30, -1e30)])
@pytest.mark.parametrize("name", PARTICLES)
def test_what_stands_in_padded_slots_is_ignored(name, padding):
    n = 19 if name.startswith("trigger") else 12
    x = random_jets(0, 20, n)
    x = np.where(x[..., :1] > 0, x, 0)
    x[:, -3:] = 0
    odd = np.where(x[..., :1] > 0, x, np.float32(padding))
    for layout in (JETS, IN_MEV):
        layout = dataclasses.replace(layout, shape=(n, 3))
        stage = stage_of(name, layout, **PARTICLES[name])
        np.testing.assert_array_equal(stage.values(odd), stage.values(x))
        mass = invariant_mass(layout)
        np.testing.assert_array_equal(mass(odd), mass(x))
        assert (np.asarray(mass(odd)) > 0).all()


@pytest.mark.parametrize("name", PARTICLES)
def test_an_angle_may_go_round(name):
    """phi = 6.82 is the direction of 0.54, to the rounding of float32."""
    n = 19 if name.startswith("trigger") else 12
    x = random_jets(0, 20, n)
    turns = np.random.default_rng(0).integers(-1, 2, x.shape[:2]) * (x[..., 0] > 0)
    round_ = x + np.float32(2 * np.pi) * turns[..., None] * np.float32((0, 0, 1))
    assert np.abs(round_[..., 2]).max() > 6.82
    layout = dataclasses.replace(JETS, shape=(n, 3))
    stage = stage_of(name, layout, **PARTICLES[name])
    expected, found = (np.asarray(stage.values(events)) for events in (x, round_))
    if name == "jet_image, aligned":  # a particle at the edge of a pixel may cross it
        assert np.mean(np.abs(found - expected) > 1e-3) < 0.02
    else:
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-5)


def test_inputs_of_one_cache_are_kept_apart(tmp_path):
    """The images of two methods, with pixels in [0, 1] and summing to one, of the same events."""
    raw = np.random.default_rng(0).random((30, 8, 8)).astype(np.float32)
    layout = Layout("image", (8, 8))
    plain = stage_of("image", layout, pixels="energy", max_energy=1.0)
    summed = dataclasses.replace(plain, values=lambda x: unit_sum(plain.values(x)), unit_sum=True)
    for stage in (plain, summed, plain):
        _, found = inputs.prepared(stage, {"train": raw}, tmp_path)
        np.testing.assert_array_equal(found["train"], stage.values(raw))


def test_every_input_has_a_key_of_its_own():
    events, table = Layout("ptetaphi", (19, 3)), Layout("features", (2,), columns=(("a", ""),) * 2)
    stages = [stage_of(name, events, **settings) for name, settings in PARTICLES.items()]
    stages += [stage_of("particles", dataclasses.replace(events, unit=1e-3))]
    stages += [stage_of("jet_observables", events, max_degree=1)]
    stages += [stage_of("jet_features", events, unskew=True)]
    stages += [stage_of("features", table)]
    stages += [stage_of("image", Layout("image", (8, 8)), pixels=p) for p in ("mask", "masks")]
    keys = [repr(sorted(stage.key.items())) for stage in stages]
    assert len(set(keys)) == len(keys)


def test_n_subjettiness_under_vmap():
    stage = stage_of("jet_observables", JETS, max_degree=0, n_taus=2)
    pytest.importorskip("fastjet")
    x = random_jets(0, 6, 12)
    one_by_one = jax.vmap(lambda event: stage.values(event[None])[0])(x)
    np.testing.assert_allclose(one_by_one, stage.values(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "layout", "message"),
    [
        ("jet_image", {"n_pixels": 0}, JETS, "inputs.n_pixels: expected above 0"),
        ("jet_image", {"half_width": -1.0}, JETS, "inputs.half_width: expected above 0"),
        ("features", {}, JETS, r"choose inputs.name among particles, jet_image, jet_obs"),
        ("trigger_event", {}, JETS, r"takes events \(19, 3\)"),
        ("trigger_integer", {}, JETS, r"trigger_integer: takes events \(19, 3\)"),
    ],
)
def test_refusals(name, settings, layout, message):
    with pytest.raises(UserError, match=message):
        stage_of(name, layout, **settings)
