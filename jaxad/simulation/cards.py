"""The ATLAS and CMS detectors in numbers: the published settings of Delphes 3's two cards
(`delphes_card_ATLAS.tcl`, `delphes_card_CMS.tcl`; arXiv:1307.6346) for the response in `detector`.
"""

import numpy as np

from jaxad.simulation.detector import Calorimeter, Card, Resolution


def _bins(regions: list[tuple[list[float], int]]) -> tuple[np.ndarray, np.ndarray]:
    """(edges, towers in phi of each bin) from eta edges grouped by their granularity in phi.

    As in Delphes a bin takes the granularity of its upper edge.
    """
    granularity = {round(edge, 6): n_phi for edges, n_phi in regions for edge in edges}
    edges = sorted(granularity)
    return np.array(edges), np.array([granularity[edge] for edge in edges[1:]])


def _fine_ecal() -> tuple[np.ndarray, np.ndarray]:
    """0.0174 x 1 degree to |eta| < 3, then 10 degrees to 5 (both cards)."""
    step = 0.0174
    fine = [i * step for i in range(-85, 87)]
    fine += [-2.958 + i * step for i in range(1, 85)]
    fine += [1.4964 + i * step for i in range(1, 85)]
    forward = [3.125, 3.3, 3.475, 3.65, 3.825, 4.0, 4.175, 4.35, 4.525, 4.7, 5.0]
    coarse = [-5.0, *(-e for e in forward[::-1][1:]), -2.958, *forward]
    return _bins([(fine, 360), (coarse, 36)])


def _by_region(
    limits: tuple[float, float], constants: tuple[float, ...], slopes: tuple[float, ...]
) -> Resolution:
    """Relative pt resolution sqrt(constant^2 + (slope pt)^2) in three regions of |eta|."""

    def resolution(pt: np.ndarray, eta: np.ndarray) -> np.ndarray:
        region = np.searchsorted(limits, np.abs(eta))
        return np.hypot(np.array(constants)[region], np.array(slopes)[region] * pt)

    return resolution


def _terms(energy, constant, stochastic, noise=0.0):
    return np.sqrt((constant * energy) ** 2 + stochastic**2 * energy + noise**2)


_LIMITS = (0.5, 1.5)
_ELECTRON = _by_region(_LIMITS, (0.03, 0.05, 0.15), (1.3e-3, 1.7e-3, 3.1e-3))
_MUON = _by_region(_LIMITS, (0.01, 0.015, 0.025), (1.0e-4, 1.5e-4, 3.5e-4))


def _atlas_ecal(eta, energy):
    kind = np.abs(eta)
    forward = np.where(kind <= 4.9, _terms(energy, 0.0350, 0.285), 0.0)
    return np.where(kind <= 3.2, _terms(energy, 0.0017, 0.101), forward)


def _atlas_hcal(eta, energy):
    kind = np.abs(eta)
    forward = np.where(kind <= 4.9, _terms(energy, 0.09420, 1.00), 0.0)
    end_cap = np.where(kind <= 3.2, _terms(energy, 0.0500, 0.706), forward)
    return np.where(kind <= 1.7, _terms(energy, 0.0302, 0.5205, 1.59), end_cap)


def _cms_ecal(eta, energy):
    kind = np.abs(eta)
    core = _terms(energy, 0.008, 0.11, 0.40)
    end_cap = np.where(
        kind <= 2.5, (2.16 + 5.6 * (kind - 2) ** 2) * core, _terms(energy, 0.107, 2.08)
    )
    return np.where(kind <= 1.5, (1 + 0.64 * eta**2) * core, end_cap)


def _cms_hcal(eta, energy):
    return np.where(np.abs(eta) <= 3.0, _terms(energy, 0.050, 1.50), _terms(energy, 0.130, 2.70))


def _atlas_hcal_bins() -> tuple[np.ndarray, np.ndarray]:
    ten_degrees = [-3.2, *(i / 10 for i in range(-25, 27)), 3.3]
    twenty_degrees = [-4.9, -4.7, -4.5, -4.3, -4.1, -3.9, -3.7, -3.5, -3.3, -3.0, -2.8, -2.6]
    twenty_degrees += [2.8, 3.0, 3.2, 3.5, 3.7, 3.9, 4.1, 4.3, 4.5, 4.7, 4.9]
    return _bins([(ten_degrees, 36), (twenty_degrees, 18)])


def _cms_hcal_bins() -> tuple[np.ndarray, np.ndarray]:
    five_degrees = [round(0.087 * i, 6) for i in range(-18, 20)]
    half = [1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 2.868, 2.95, 3.125, 3.3]
    half += [3.475, 3.65, 3.825, 4.0, 4.175, 4.35]
    ten_degrees = [*(-e for e in half), -1.653, *half, 4.525]
    twenty_degrees = [-5.0, -4.7, -4.525, 4.7, 5.0]
    return _bins([(five_degrees, 72), (ten_degrees, 36), (twenty_degrees, 18)])


ATLAS = Card(
    name="ATLAS",
    radius=1.15,
    half_length=3.51,
    field=2.0,
    hadron_resolution=_by_region(_LIMITS, (0.06, 0.10, 0.25), (1.3e-3, 1.7e-3, 3.1e-3)),
    electron_resolution=_ELECTRON,
    muon_resolution=_MUON,
    ecal=Calorimeter(*_fine_ecal(), _atlas_ecal, energy_min=0.5),
    hcal=Calorimeter(*_atlas_hcal_bins(), _atlas_hcal, energy_min=1.0),
)

CMS = Card(
    name="CMS",
    radius=1.29,
    half_length=3.00,
    field=3.8,
    hadron_resolution=_by_region(_LIMITS, (0.01, 0.015, 0.025), (1.5e-4, 2.5e-4, 5.5e-4)),
    electron_resolution=_ELECTRON,
    muon_resolution=_MUON,
    ecal=Calorimeter(*_fine_ecal(), _cms_ecal, energy_min=0.5),
    hcal=Calorimeter(*_cms_hcal_bins(), _cms_hcal, energy_min=1.0),
)
