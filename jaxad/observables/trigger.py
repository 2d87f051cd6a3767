"""The objects of a trigger event (Govorkova et al., arXiv:2107.02157): what stands in which row.

And the units in which the CMS Global Trigger counts them.
"""

from typing import Any

import numpy as np

KINDS = ("met", "egamma", "muon", "jet")
CLASS = np.repeat((1, 2, 3, 4), (1, 4, 4, 10))
"""Kind (19,) of each object, counted from 1 as in the published class column."""
N_OBJECTS = len(CLASS)
MET, LEPTONS, JETS = slice(0, 1), slice(1, 9), slice(9, 19)
ETA_LIMIT = np.array([0.0, 3.0, 2.1, 4.0], np.float32)[CLASS - 1]
"""Largest |eta| (19,) of each object: none for the MET, then e/gamma, muons, jets."""

PT_UNIT = 0.5
"""GeV of a count of pT."""
PT_BITS = np.array([12, 9, 9, 11])[CLASS - 1]
"""Bits (19,) of pT, unsigned; all of them ones says that, or more."""
ETA_UNIT = np.array([0.0435, 0.0435, 0.010875, 0.0435])[CLASS - 1]
ETA_BITS = np.array([8, 8, 9, 8])[CLASS - 1]
"""Unit and bits (19,) of eta, signed."""
PHI_COUNTS = np.array([144, 144, 576, 144])[CLASS - 1]
"""Counts (19,) of phi around the beam."""


def object_names() -> tuple[str, ...]:
    """("met1", "egamma1", ..., "jet10"), row by row."""
    kinds = [KINDS[number - 1] for number in CLASS]
    return tuple(f"{kind}{1 + kinds[:i].count(kind)}" for i, kind in enumerate(kinds))


def observables(x: Any) -> dict[str, Any]:
    """Observables (N,) of events x (N, 19, 3) of (pT [GeV], eta, phi), NumPy or JAX.

    met, ht (sum of jet pT), sum_pt (of jets and leptons), leading_pt (of all), lepton_pt (leading
    electron, photon or muon) [GeV], n_leptons, multiplicity (objects without the MET).
    """
    pt = x[..., 0]
    return {
        "met": pt[:, 0],
        "ht": pt[:, JETS].sum(axis=1),
        "sum_pt": pt[:, 1:].sum(axis=1),
        "leading_pt": pt[:, 1:].max(axis=1),
        "lepton_pt": pt[:, LEPTONS].max(axis=1),
        "n_leptons": (pt[:, LEPTONS] > 0).sum(axis=1).astype(np.float32),
        "multiplicity": (pt[:, 1:] > 0).sum(axis=1).astype(np.float32),
    }
