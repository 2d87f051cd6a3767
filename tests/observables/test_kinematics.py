"""Kinematics: exact identities, float32 masses against float64, padding and gradients."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_jets import p4_float64, random_jets

from jaxad.observables import kinematics as kin


def mass_float64(p4):
    total = p4.astype(np.float64).sum(axis=-2)
    return np.sqrt(np.maximum(total[..., 0] ** 2 - (total[..., 1:] ** 2).sum(axis=-1), 0))


def test_wrap_phi():
    phi = np.linspace(-20, 20, 4001, dtype=np.float32)
    wrapped = np.asarray(kin.wrap_phi(phi))
    assert wrapped.min() >= -np.pi - 1e-6 and wrapped.max() < np.pi
    np.testing.assert_allclose(np.cos(wrapped), np.cos(phi), atol=3e-6)
    np.testing.assert_allclose(np.sin(wrapped), np.sin(phi), atol=3e-6)
    inside = phi[(phi >= -3.14) & (phi < 3.14)]
    np.testing.assert_array_equal(kin.wrap_phi(inside), inside)
    assert kin.wrap_phi(jnp.float32(np.pi)) < 0


def test_coordinates_round_trip():
    particles = random_jets(0)
    back = kin.epxpypz_to_ptetaphi(kin.ptetaphi_to_epxpypz(particles))
    assert back.dtype == jnp.float32
    np.testing.assert_allclose(back, particles, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(kin.ptetaphi_to_epxpypz(particles), p4_float64(particles), rtol=3e-6)


def test_rapidity_of_massive_particles():
    particles = random_jets(1)
    p4 = p4_float64(particles, mass=5.0)
    energy, pz = p4[..., 0], p4[..., 3]
    with np.errstate(invalid="ignore"):
        expected = np.where(energy > 0, 0.5 * np.log((energy + pz) / (energy - pz)), 0)
    found = kin.epxpypz_to_ptyphi(p4.astype(np.float32))
    np.testing.assert_allclose(found[..., 1], expected, rtol=2e-5, atol=2e-5)
    massless = kin.epxpypz_to_ptyphi(p4_float64(particles).astype(np.float32))
    np.testing.assert_allclose(massless[..., 1], particles[..., 1], atol=1e-5)


@pytest.mark.parametrize("pt_jet, spread", [(30.0, 0.3), (600.0, 0.2), (5000.0, 0.01)])
def test_mass_of_boosted_jets_in_float32(pt_jet, spread):
    particles = random_jets(2, pt_jet=pt_jet, spread=spread)
    exact = mass_float64(p4_float64(particles))
    np.testing.assert_allclose(kin.jet_mass(particles), exact, rtol=1e-4)
    p4 = p4_float64(particles).astype(np.float32)
    # Rounded energies of several TeV carry no more than this.
    np.testing.assert_allclose(kin.jet_mass(p4), mass_float64(p4), rtol=5e-3, atol=0.1)


def test_mass_of_massive_and_back_to_back_four_vectors():
    p4 = p4_float64(random_jets(3), mass=0.14).astype(np.float32)
    np.testing.assert_allclose(kin.jet_mass(p4), mass_float64(p4), rtol=1e-4)
    jets = np.array([[600.0, 0.3, 0.1], [580.0, -0.7, 0.1 + np.pi]], dtype=np.float32)
    p4 = p4_float64(jets, mass=np.array([100.0, 500.0]))
    np.testing.assert_allclose(kin.jet_mass(p4.astype(np.float32)), mass_float64(p4), rtol=1e-6)
    np.testing.assert_allclose(kin.jet_mass(jets), mass_float64(p4_float64(jets)), rtol=1e-6)
    at_rest = jnp.array([[91.0, 0.0, 0.0, 0.0]])
    assert kin.jet_mass(at_rest) == 91.0


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 100),
    boost=st.floats(-1.5, 1.5),
    rotation=st.floats(-6, 6),
    scale=st.floats(0.1, 10),
)
def test_mass_is_lorentz_invariant_and_scales(seed, boost, rotation, scale):
    particles = random_jets(seed, n_jets=4)
    moved = particles + np.array([0, boost, rotation], np.float32) * (particles[..., :1] > 0)
    moved = moved * np.array([scale, 1, 1], np.float32)
    np.testing.assert_allclose(
        kin.jet_mass(moved), scale * np.asarray(kin.jet_mass(particles)), rtol=2e-4
    )


def test_jet_axis_pt_and_multiplicity():
    particles = random_jets(4)
    total = p4_float64(particles).sum(axis=1)
    np.testing.assert_allclose(kin.jet_p4(particles), total, rtol=2e-5, atol=2e-3)
    jet = kin.jet_ptetaphi(particles)
    np.testing.assert_allclose(jet[:, 0], np.hypot(total[:, 1], total[:, 2]), rtol=1e-5)
    np.testing.assert_allclose(jet[:, 2], np.arctan2(total[:, 2], total[:, 1]), atol=1e-5)
    np.testing.assert_array_equal(kin.multiplicity(particles), (particles[..., 0] > 0).sum(axis=1))


def test_relative_masks_padding_and_ignores_the_wrap():
    particles = random_jets(5)
    relative = np.asarray(kin.relative(particles))
    padding = particles[..., 0] == 0
    assert padding.any() and np.all(relative[padding] == 0)
    assert np.abs(relative[..., 2]).max() < 2
    rotated = particles.copy()
    rotated[..., 2] = np.where(padding, 0, np.asarray(kin.wrap_phi(particles[..., 2] + 2.5)))
    np.testing.assert_allclose(kin.relative(rotated), relative, atol=5e-6)
    # In the jet's own coordinates the transverse recoil vanishes.
    recoil = (relative[..., 0] * np.sin(relative[..., 2])).sum(axis=1)
    np.testing.assert_allclose(recoil, 0, atol=2e-6)


def test_order_and_padding_do_not_matter():
    particles = random_jets(6)
    shuffled = particles[:, np.random.default_rng(0).permutation(particles.shape[1])]
    longer = np.concatenate([shuffled, np.zeros_like(shuffled)], axis=1)
    np.testing.assert_allclose(kin.jet_mass(longer), kin.jet_mass(particles), rtol=1e-5)


@pytest.mark.parametrize("layout", ["ptetaphi", "epxpypz"])
def test_gradients_are_finite_with_padding_and_for_empty_or_single_particles(layout):
    particles = random_jets(7, n_jets=3)
    particles[1] = 0
    particles[2, 1:] = 0
    p4 = layout == "epxpypz"
    x = jnp.asarray(kin.ptetaphi_to_epxpypz(particles) if p4 else particles)

    def everything(x):
        other = kin.epxpypz_to_ptyphi(x) if p4 else kin.relative(x)
        return kin.jet_mass(x).sum() + other.sum()

    value, gradient = jax.jit(jax.value_and_grad(everything))(x)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert kin.jet_mass(x)[1] == 0


def test_functions_batch_over_any_leading_axes():
    particles = random_jets(8, n_jets=6)
    together = kin.jet_mass(particles.reshape(2, 3, *particles.shape[1:]))
    one_by_one = jax.vmap(kin.jet_mass)(jnp.asarray(particles))
    np.testing.assert_allclose(together.reshape(6), one_by_one, rtol=1e-6)


def test_real_jets_float32_mass(shared_data):
    with h5py.File(shared_data / "jets_hls4ml_20k.h5") as file:
        particles = file["constituents"][:2000]
    exact = mass_float64(p4_float64(particles))
    np.testing.assert_allclose(kin.jet_mass(particles), exact, rtol=2e-5, atol=1e-3)
