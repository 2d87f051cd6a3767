"""The dark shower of a soft unclustered energy pattern (SUEP), which Pythia 8 does not have.

Knapen, Pagan Griso, Papucci, Robinson (arXiv:1612.00850): a scalar mediator decays at rest to dark
mesons with the thermal spectrum p^2 exp(-E / T), each of them to two dark photons, and these to
pairs of electrons, muons or pions. Vectorised over all mediators of a batch.
"""

import numpy as np

from jaxad.simulation.pythia import Particles

TEMPERATURE = 2.0  # GeV
MESON_MASS = 2.0
PHOTON_MASS = 0.7
DECAYS = ((11, 0.000511, 0.15), (13, 0.10566, 0.15), (211, 0.13957, 0.70))
"""PDG id, mass [GeV] and branching fraction of the dark photon."""

_GRID = np.linspace(0.0, 40.0, 4001) * TEMPERATURE


def _thermal_momenta(n: int, rng: np.random.Generator) -> np.ndarray:
    """n momenta (n,) [GeV] of the meson spectrum, by its tabulated distribution function."""
    density = _GRID**2 * np.exp(-np.sqrt(_GRID**2 + MESON_MASS**2) / TEMPERATURE)
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return np.interp(rng.random(n), cumulative / cumulative[-1], _GRID)


def _directions(n: int, rng: np.random.Generator) -> np.ndarray:
    cosine, phi = rng.uniform(-1, 1, n), rng.uniform(0, 2 * np.pi, n)
    sine = np.sqrt(1 - cosine**2)
    return np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=1)


def boost(p: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Momenta p (P, 4), (E, px, py, pz), given in the rest frame of `frame` (P, 4), in its own."""
    mass = np.sqrt(frame[:, 0] ** 2 - np.square(frame[:, 1:]).sum(axis=1))
    along = (p[:, 1:] * frame[:, 1:]).sum(axis=1)
    energy = (frame[:, 0] * p[:, 0] + along) / mass
    factor = (p[:, 0] + energy) / (frame[:, 0] + mass)
    return np.column_stack([energy, p[:, 1:] + factor[:, None] * frame[:, 1:]])


def two_body(parent: np.ndarray, mass: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Isotropic decays of `parent` (P, 4) to two particles of `mass` (P,) [GeV]: (2 P, 4).

    Rows i and P + i are the products of parent i.
    """
    square = parent[:, 0] ** 2 - np.square(parent[:, 1:]).sum(axis=1)
    half = np.sqrt(square) / 2
    momentum = np.sqrt(np.maximum(half**2 - mass**2, 0.0))
    p = momentum[:, None] * _directions(len(parent), rng)
    products = np.concatenate([np.column_stack([half, p]), np.column_stack([half, -p])])
    return boost(products, np.concatenate([parent, parent]))


def mesons(mass: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Dark mesons at the rest of mediators of `mass` (N,) [GeV].

    Mesons are drawn until the energy is used up; each shower's momenta are then balanced and
    scaled by one factor, so that energy and momentum are conserved.

    Returns:
        event: (P,) ascending; momenta (P, 4) (E, px, py, pz) [GeV].
    """
    n_drawn = np.ceil(mass.max() / MESON_MASS).astype(int)
    p = _thermal_momenta(len(mass) * n_drawn, rng).reshape(len(mass), n_drawn)
    used = np.cumsum(np.sqrt(p**2 + MESON_MASS**2), axis=1)
    kept = used <= mass[:, None]
    kept[:, :2] = True
    event = np.nonzero(kept)[0]
    vectors = p[kept][:, None] * _directions(len(event), rng)
    counts = kept.sum(axis=1)
    mean = np.stack([np.bincount(event, v) for v in vectors.T], axis=1) / counts[:, None]
    vectors -= mean[event]
    square = np.square(vectors).sum(axis=1)
    scale = np.ones(len(mass))
    for _ in range(20):  # Newton's method for sum E(scale) = mass
        energy = np.sqrt(MESON_MASS**2 + scale[event] ** 2 * square)
        slope = np.bincount(event, scale[event] * square / energy)
        scale = np.maximum(scale - (np.bincount(event, energy) - mass) / slope, 1e-3)
    vectors *= scale[event][:, None]
    energy = np.sqrt(MESON_MASS**2 + np.square(vectors).sum(axis=1))
    return event, np.column_stack([energy, vectors])


def suep(mediator: np.ndarray, rng: np.random.Generator) -> Particles:
    """What mediators (N, 4), (E, px, py, pz) [GeV], leave: electrons, muons and charged pions."""
    mass = np.sqrt(mediator[:, 0] ** 2 - np.square(mediator[:, 1:]).sum(axis=1))
    event, meson = mesons(mass, rng)
    photon = two_body(boost(meson, mediator[event]), np.full(len(event), PHOTON_MASS), rng)
    pdg, masses, fractions = (np.array(column) for column in zip(*DECAYS, strict=True))
    kind = rng.choice(len(DECAYS), len(photon), p=fractions)
    p = two_body(photon, masses[kind], rng)
    sign = np.repeat([1, -1], len(photon))
    charge = np.where(pdg[kind] < 100, -1, 1)  # leptons with positive ids are negative
    order = np.argsort(np.tile(event, 4), kind="stable")
    columns = (
        np.tile(event, 4),
        (sign * np.tile(pdg[kind], 2)).astype(np.int32),
        (sign * np.tile(charge, 2)).astype(float),
        *p[:, 1:].T,
        p[:, 0],
    )
    return Particles(*(column[order] for column in columns))
