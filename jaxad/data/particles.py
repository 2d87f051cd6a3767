"""Per-jet observables of padded particles, in double precision: mass, pT, multiplicity.

They travel with the events as baselines and conditions (mass sculpting, trivial scores).
"""

import numpy as np

from jaxad.data.dataset import Rows
from jaxad.observables.momenta import four_momenta, particles_of
from jaxad.observables.shapes import SHAPE_LABELS, SHAPES

CHUNK = 1 << 15  # jets converted together
JET_LABELS = {
    "mass": ("jet mass", "GeV"),
    "pt": ("jet pT", "GeV"),
    "multiplicity": ("number of constituents", ""),
    **SHAPE_LABELS,
}
JET_BASELINES = ("mass", "multiplicity", *SHAPES)
"""Mass and multiplicity stand in the rows; the shapes are computed where they are wanted."""


def jet_observables(particles: np.ndarray) -> Rows:
    """Mass and pT of the summed four-momentum, and the number of particles.

    Args:
      particles: (N, n, 4) = (E, px, py, pz) [GeV], or (N, n, 3) = (pT, eta, phi), massless; zero
        padded (or masked), any real numbers. Sums are taken in float64: m^2 = (E - |p|)(E + |p|).

    Returns:
      {"mass": [GeV], "pt": [GeV], "multiplicity"}, float32 (N,). Negative m^2, which is rounding,
      gives mass 0; what float32 cannot hold is infinite.

    Raises:
      UserError: another shape, or no real numbers.
    """
    particles = particles_of(particles, "jet observables")
    blocks = [
        _block_observables(particles[start : start + CHUNK])
        for start in range(0, max(1, len(particles)), CHUNK)
    ]
    with np.errstate(over="ignore"):  # readers refuse infinities
        mass, pt, multiplicity = np.concatenate(blocks, axis=1).astype(np.float32)
    return {"mass": mass, "pt": pt, "multiplicity": multiplicity}


def _block_observables(particles: np.ndarray) -> np.ndarray:
    momenta = four_momenta(particles)
    energy, px, py, pz = momenta.sum(axis=1).T
    momentum = np.sqrt(px**2 + py**2 + pz**2)
    mass = np.sqrt(np.maximum((energy - momentum) * (energy + momentum), 0.0))
    return np.stack([mass, np.hypot(px, py), (momenta[..., 0] > 0).sum(axis=1)])
