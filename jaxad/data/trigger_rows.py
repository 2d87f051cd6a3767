"""What the readers of trigger events (N, 19, 3) have in common: their layout and observables."""

import numpy as np

from jaxad.data.dataset import Rows
from jaxad.data.layout import Layout
from jaxad.observables.trigger import JETS, LEPTONS, N_OBJECTS, object_names

LAYOUT = Layout("ptetaphi", (N_OBJECTS, 3), objects=object_names())
LABELS = {
    "sum_pt": ("sum of pT", "GeV"),
    "met": ("missing pT", "GeV"),
    "n_leptons": ("number of leptons", ""),
    "ht": ("HT", "GeV"),
    "leading_pt": ("leading pT", "GeV"),
    "lepton_pt": ("leading lepton pT", "GeV"),
    "multiplicity": ("number of objects", ""),
}
BASELINES = ("sum_pt", "met", "n_leptons")


def trigger_rows(x: np.ndarray) -> Rows:
    """Events x (N, 19, 3) float32 of (pT [GeV], eta, phi), and their observables (N,) float32.

    met, ht (sum of jet pT), sum_pt (of jets and leptons), leading_pt (of all), lepton_pt (leading
    electron, photon or muon) [GeV], n_leptons, multiplicity (objects without the MET).
    """
    return {
        "x": x,
        "met": x[:, 0, 0].copy(),
        "ht": x[:, JETS, 0].sum(axis=1),
        "sum_pt": x[:, 1:, 0].sum(axis=1),
        "leading_pt": x[:, 1:, 0].max(axis=1),
        "lepton_pt": x[:, LEPTONS, 0].max(axis=1),
        "n_leptons": (x[:, LEPTONS, 0] > 0).sum(axis=1).astype(np.float32),
        "multiplicity": (x[:, 1:, 0] > 0).sum(axis=1).astype(np.float32),
    }
