"""What the readers of trigger events (N, 19, 3) have in common: their layout and observables."""

import numpy as np

from jaxad.data.dataset import Rows
from jaxad.data.layout import Layout
from jaxad.observables.trigger import N_OBJECTS, object_names, observables

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
    """Events x (N, 19, 3) float32 of (pT [GeV], eta, phi), and their `observables`, float32."""
    return {"x": x} | {name: value.astype(np.float32) for name, value in observables(x).items()}
