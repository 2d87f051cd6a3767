"""From raw LHC Olympics events to the official jet features, with FastJet.

Anti-kT R = 1.0 jets of up to 700 massless particles (Zenodo 4536377, `events_anomalydetection.h5`);
N-subjettiness with exclusive-kT axes and normalised measure, beta = 1.
FastJet is GPL-2 and comes with `pip install 'jaxad[simulation]'`.
"""

import importlib.util

import numpy as np

from jaxad.errors import UserError
from jaxad.simulation.jets import cluster, n_subjettiness

RADIUS = 1.0
MIN_PT = 20.0  # GeV


def cluster_events(particles: np.ndarray) -> np.ndarray:
    """Features (N, 14) float64 of the two leading jets of `particles` (N, n, 3).

    Args:
        particles: (pT [GeV], eta, phi), zero padded, massless.

    Returns:
        px, py, pz, m [GeV], tau1, tau2, tau3 of the leading jet in pT, then of the second.

    Raises:
        UserError: FastJet is not installed, or an event holds fewer than two jets.
    """
    if importlib.util.find_spec("fastjet") is None:
        raise UserError("raw events need FastJet: pip install 'jaxad[simulation]'")
    event, column = np.nonzero(particles[..., 0] > 0)
    pt, eta, phi = particles[event, column].astype(np.float64).T
    momenta = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)
    jets = cluster(event, *momenta, len(particles), RADIUS, MIN_PT)
    jets = jets.select(jets.rank < 2)
    n_jets = np.bincount(jets.event, minlength=len(particles))
    if (n_jets < 2).any():
        raise UserError(
            f"raw events: event {int(np.argmin(n_jets))} has fewer than two jets of pT > "
            f"{MIN_PT:g} GeV; remove such events"
        )
    constituents = [p[jets.members] for p in momenta]
    tau = n_subjettiness(*constituents, np.diff(jets.offsets), RADIUS, axes="KT_Axes")
    values = np.column_stack([jets.px, jets.py, jets.pz, jets.mass, tau])
    return values.reshape(len(particles), -1)
