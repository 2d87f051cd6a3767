"""Made-up dijet events in the official layouts of features and of particles, for tests."""

import h5py
import numpy as np


def fake_events(n_background=3000, n_signal=600, seed=0):
    """Back-to-back jets (N, 14) with a smooth mjj, labels last."""
    rng = np.random.default_rng(seed)
    n = n_background + n_signal
    label = (np.arange(n) >= n_background).astype(np.float32)
    half_mass = np.where(label, rng.normal(1750, 30, n), 1300 + rng.exponential(500, n))
    phi = rng.uniform(-np.pi, np.pi, n)
    masses = rng.uniform(50, 500, (n, 2))
    tau1 = rng.uniform(0.1, 0.5, (n, 2))
    tau2 = tau1 * rng.uniform(0.1, 0.9, (n, 2))
    columns = []
    for jet, sign in ((0, 1), (1, -1)):
        p = sign * np.sqrt(half_mass**2 - masses[:, jet] ** 2)
        columns += [p * np.cos(phi), p * np.sin(phi), 0 * p, masses[:, jet]]
        columns += [tau1[:, jet], tau2[:, jet], tau2[:, jet] / 2]
    return np.column_stack([*columns, label])[rng.permutation(n)].astype(np.float32)


def write_frame(path, values, columns):
    """A pandas "fixed" frame as in the official files."""
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group.attrs["pandas_type"] = b"frame"
        names = np.array([name.encode() for name in columns])
        group["axis0"], group["block0_items"] = names, names
        group["axis1"] = np.arange(len(values))
        group["block0_values"] = values


def fake_particles(n_events=50, n_particles=20, seed=0):
    """Rows (N, 2101) of a raw file: two back-to-back sprays of particles, and a label."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((n_events, 2101), np.float32)
    particles = rows[:, :-1].reshape(n_events, 700, 3)[:, : 2 * n_particles]
    particles[..., 0] = rng.gamma(2, 30, particles.shape[:2])
    particles[..., 1:] = rng.normal(0, 0.2, (*particles.shape[:2], 2))
    particles[:, ::2, 2] += np.pi / 2
    particles[:, 1::2, 2] -= np.pi / 2
    rows[:, -1] = rng.integers(0, 2, n_events)
    return rows
