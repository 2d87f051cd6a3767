"""Per-jet observables of padded particles, in double precision: mass, pT, multiplicity.

They travel with the events as baselines and conditions (mass sculpting, trivial scores).
"""

import numpy as np

from jaxad.data.dataset import Rows

CHUNK = 1 << 15  # jets converted together


def jet_observables(particles: np.ndarray) -> Rows:
    """Mass and pT of the summed four-momentum, and the number of particles.

    Args:
      particles: (N, n, 4) = (E, px, py, pz) [GeV], or (N, n, 3) = (pT, eta, phi), massless; zero
        padded, any float dtype. Sums are taken in float64: m^2 = (E - |p|)(E + |p|).

    Returns:
      {"mass": [GeV], "pt": [GeV], "multiplicity"}, float32 (N,). Negative m^2, which is rounding,
      gives mass 0.
    """
    blocks = [
        _block_observables(particles[start : start + CHUNK])
        for start in range(0, max(1, len(particles)), CHUNK)
    ]
    mass, pt, multiplicity = np.concatenate(blocks, axis=1).astype(np.float32)
    return {"mass": mass, "pt": pt, "multiplicity": multiplicity}


def _block_observables(particles: np.ndarray) -> np.ndarray:
    massless = particles.shape[-1] == 3
    momenta = four_momenta(particles) if massless else particles.astype(np.float64)
    energy, px, py, pz = momenta.sum(axis=1).T
    momentum = np.sqrt(px**2 + py**2 + pz**2)
    mass = np.sqrt(np.maximum((energy - momentum) * (energy + momentum), 0.0))
    return np.stack([mass, np.hypot(px, py), (momenta[..., 0] > 0).sum(axis=1)])


def four_momenta(particles: np.ndarray) -> np.ndarray:
    """(N, n, 3) = (pT, eta, phi) of massless particles to (N, n, 4) = (E, px, py, pz), float64."""
    pt, eta, phi = np.moveaxis(particles.astype(np.float64), -1, 0)
    return np.stack(
        [pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=-1
    )
