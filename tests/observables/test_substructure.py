"""N-subjettiness against its definition and on jets whose prongs are known."""

import h5py
import numpy as np
import pytest
from random_jets import random_jets

from jaxad.errors import UserError
from jaxad.observables.substructure import n_subjettiness


@pytest.fixture(autouse=True)
def fastjet():
    pytest.importorskip("fastjet")


def p4_of(particles):
    pt, eta, phi = np.moveaxis(particles.astype(np.float64), -1, 0)
    return np.stack([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], -1)


def coordinates(p4):
    """pT, rapidity, phi."""
    y = np.arctanh(p4[..., 3] / p4[..., 0])
    return np.hypot(p4[..., 1], p4[..., 2]), y, np.arctan2(p4[..., 2], p4[..., 1])


def distance(a, b):
    d_phi = np.abs(a[2] - b[2])
    return np.hypot(a[1] - b[1], np.minimum(d_phi, 2 * np.pi - d_phi))


def exclusive_kt(p4, n_jets, winner_takes_all):
    """The axes, by the textbook algorithm."""
    jets = [p[:, None] for p in p4]
    while len(jets) > n_jets:
        pairs = [(i, j) for j in range(len(jets)) for i in range(j)]
        where = [coordinates(np.moveaxis(jet, 0, -1)) for jet in jets]
        kt2 = [
            min(where[i][0], where[j][0]) ** 2 * distance(where[i], where[j]) ** 2 for i, j in pairs
        ]
        beam = [w[0] ** 2 for w in where]
        assert min(kt2) < min(beam)  # at R = infinity nothing is clustered with the beam
        i, j = pairs[int(np.argmin(kt2))]
        merged = jets[i] + jets[j]
        if winner_takes_all:
            (pt_i, y_i, phi_i), (pt_j, y_j, phi_j) = where[i], where[j]
            y, phi = (y_i, phi_i) if pt_i > pt_j else (y_j, phi_j)
            pt = pt_i + pt_j
            merged = np.array(
                [pt * np.cosh(y), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(y)]
            )
        jets = [jet for k, jet in enumerate(jets) if k not in (i, j)] + [merged]
    return [coordinates(np.moveaxis(jet, 0, -1)) for jet in jets]


@pytest.mark.parametrize("axes", ["kt", "wta_kt"])
def test_definition(axes):
    particles = random_jets(0, n_jets=5, n_particles=9, spread=0.1)
    found = n_subjettiness(particles, radius=0.8, axes=axes, max_n=3)
    assert found.shape == (5, 3) and found.dtype == np.float32
    for jet, taus in zip(p4_of(particles), found, strict=True):
        jet = jet[jet[:, 0] > 0]
        for n in range(1, min(3, len(jet)) + 1):
            directions = exclusive_kt(jet, n, axes == "wta_kt")
            parts = coordinates(jet)
            nearest = np.min([distance(parts, axis) for axis in directions], axis=0)
            expected = (parts[0] * nearest).sum() / (parts[0].sum() * 0.8)
            np.testing.assert_allclose(taus[n - 1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axes", ["kt", "wta_kt"])
def test_prongs(axes):
    """Three narrow prongs: tau_3 is the width of a prong, tau_2 that of the jet."""
    rng = np.random.default_rng(0)
    prong = np.array([[0.5, 0.0], [-0.3, 0.4], [-0.3, -0.4]])
    direction = np.repeat(prong, 5, axis=0) + rng.normal(0, 0.005, (50, 15, 2))
    pt = rng.uniform(20, 40, (50, 15, 1))
    taus = n_subjettiness(np.concatenate([pt, direction], axis=-1).astype(np.float32), axes=axes)
    assert np.all(taus[:, 2] < 0.02) and np.all(taus[:, 1] > 0.1)
    assert np.all(np.diff(taus, axis=1) < 0)


def test_layouts_padding_and_empty_jets_agree():
    particles = random_jets(1, n_jets=30, n_particles=12)
    particles[4] = 0
    particles[5, 2:] = 0
    taus = n_subjettiness(particles)
    np.testing.assert_allclose(n_subjettiness(p4_of(particles)), taus, rtol=1e-4, atol=1e-6)
    wider = np.concatenate([particles, np.zeros_like(particles)], axis=1)
    np.testing.assert_array_equal(n_subjettiness(wider), taus)
    np.testing.assert_array_equal(taus[4], 0)
    np.testing.assert_allclose(taus[5, 1:], 0, atol=1e-6)
    assert n_subjettiness(particles[:0]).shape == (0, 5)


def test_real_tops_have_three_prongs(shared_data):
    with h5py.File(shared_data / "jets_hls4ml_20k.h5") as file:
        labels = file["label"][:1500]
        particles = file["constituents"][:1500]
    taus = n_subjettiness(particles, radius=0.8, axes="wta_kt", max_n=3)
    tau32 = taus[:, 2] / taus[:, 1]
    tau21 = taus[:, 1] / taus[:, 0]
    assert np.median(tau32[labels == 4]) < np.median(tau32[labels <= 1]) - 0.05
    assert np.median(tau21[labels == 2]) < np.median(tau21[labels <= 1]) - 0.1


def test_mistakes_are_named():
    with pytest.raises(UserError, match="axes must be one of"):
        n_subjettiness(np.zeros((1, 2, 3)), axes="ca")
    with pytest.raises(UserError, match=r"found shape \(4, 2\)"):
        n_subjettiness(np.zeros((4, 2)))
