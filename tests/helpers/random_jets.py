"""Collimated jets of random particles, and the published file of such jets."""

import h5py
import numpy as np


def random_jets(seed, n_jets=200, n_particles=60, pt_jet=600.0, spread=0.2, dtype=np.float32):
    """Zero-padded collimated jets anywhere in phi, |eta| < 2."""
    rng = np.random.default_rng(seed)
    pt = rng.exponential(size=(n_jets, n_particles))
    pt = -np.sort(-pt, axis=1)
    pt *= pt_jet / pt.sum(axis=1, keepdims=True)
    eta = rng.uniform(-2, 2, (n_jets, 1)) + rng.normal(0, spread, pt.shape)
    phi = rng.uniform(-np.pi, np.pi, (n_jets, 1)) + rng.normal(0, spread, pt.shape)
    phi = (phi + np.pi) % (2 * np.pi) - np.pi
    present = np.arange(n_particles) < rng.integers(2, n_particles, (n_jets, 1))
    return (np.stack([pt, eta, phi], axis=-1) * present[..., None]).astype(dtype)


def p4_float64(particles, mass=0.0):
    pt, eta, phi = np.moveaxis(particles.astype(np.float64), -1, 0)
    energy = np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2) * (pt > 0)
    return np.stack([energy, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=-1)


def write(path, momenta, obs=None, width=5):
    """Two jets an event: the leading one, and a soft one that must not be read."""
    obs = np.zeros((len(momenta), 2, 9), np.float32) if obs is None else obs
    rows = np.empty((len(momenta), 2), object)
    for i, jet in enumerate(momenta):
        present = jet[jet[:, 0] > 0]
        extra = np.full((len(present), width - 4), 99.0)
        rows[i, 0] = np.concatenate([present, extra], axis=1)[::-1].ravel().astype(np.float32)
        rows[i, 1] = np.array([1.0, 1.0, 0, 0, 0], np.float32)
    with h5py.File(path, "w") as file:
        group = file.create_group("objects/jets")
        group.create_dataset("constituents", data=rows, dtype=h5py.vlen_dtype(np.float32))
        group.create_dataset("obs", data=obs)


def jets_of_600_gev(seed, n_jets, n_particles=30):
    momenta = p4_float64(random_jets(seed, n_jets, n_particles, spread=0.1))
    total = momenta.sum(axis=1)
    return momenta * (600 / np.hypot(total[:, 1], total[:, 2]))[:, None, None]
