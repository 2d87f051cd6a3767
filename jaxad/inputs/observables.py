"""Observables of whole samples of jets, kept in the cache."""

from pathlib import Path

import numpy as np

from jaxad.data.dataset import Rows
from jaxad.devices.batches import in_batches
from jaxad.inputs.particles import coordinates
from jaxad.observables.efp import compute_efps
from jaxad.observables.graphs import Graphs
from jaxad.observables.kinematics import jet_mass, jet_ptetaphi
from jaxad.observables.substructure import n_subjettiness
from jaxad.storage import cache
from jaxad.storage.digest import digest


def observables(x: np.ndarray, graphs: Graphs, folder: Path, n_taus: int = 0) -> np.ndarray:
    """Mass [GeV], pT [GeV], EFPs and tau_1 ... of jets, kept in the cache folder.

    Args:
        x: (N, n, 4) (E, px, py, pz) [GeV] or (N, n, 3) (pT [GeV], eta, phi), zero padded.
        graphs: of the EFPs.
        folder: the cache. The entry belongs to these very jets (their digest) and settings.
        n_taus: the largest N of tau_N; kT axes, R0 = 1.

    Returns:
        (N, 2 + len(graphs) + n_taus) float32.
    """

    def make() -> Rows:
        particles = in_batches(coordinates, x, "coordinates")
        return {
            "mass": in_batches(jet_mass, x, "mass"),
            "pt": in_batches(lambda jets: jet_ptetaphi(jets)[:, 0], x, "pT"),
            "efps": compute_efps(graphs, particles),
        } | ({"taus": n_subjettiness(x, max_n=n_taus)} if n_taus else {})

    settings = {"jets": digest({}, {"x": x}), "graphs": graphs, "n_taus": n_taus}
    found = cache.cached(folder, "jet_observables", settings, make)
    return np.column_stack([found[key] for key in ("mass", "pt", "efps", "taus") if key in found])
