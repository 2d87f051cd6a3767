"""Fast detector response in the manner of Delphes, vectorised over all particles of a batch.

After the ATLAS and CMS cards of Delphes 3 (arXiv:1307.6346) and its modules ParticlePropagator,
Efficiency, MomentumSmearing and SimpleCalorimeter, written anew with numpy: a helix to the
calorimeter surface, tracking efficiency and momentum smearing, ECAL and HCAL towers with
log-normal energy smearing, thresholds and smeared tower centres, and energy flow (a significant
neutral excess becomes a tower; else the tracks of the tower are rescaled to the best estimate).
Left out: displaced vertices (everything starts at the origin), timing, isolation and object
identification, pile-up subtraction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxad.observables.momenta import massless, wrap_phi
from jaxad.simulation.pythia import Particles, kinematics

Resolution = Callable[[np.ndarray, np.ndarray], np.ndarray]

TRACK, PHOTON, NEUTRAL_HADRON = 0, 1, 2


class Objects(NamedTuple):
    """Energy-flow objects (massless), flat, ordered by event.

    event: (O,) int64; pt [GeV], eta, phi: (O,) float64; kind: (O,) int8, TRACK, PHOTON or
    NEUTRAL_HADRON; pdg: (O,) int32 of a track's true particle, 22 and 0 for towers; surface_eta,
    surface_phi: (O,) float64, where it hits the calorimeter.
    """

    event: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    kind: np.ndarray
    pdg: np.ndarray
    surface_eta: np.ndarray
    surface_phi: np.ndarray


@dataclass(frozen=True)
class Calorimeter:
    """One calorimeter: `edges` (B+1,) in eta, `n_phi` (B,) towers around phi in each eta bin.

    resolution(eta, energy) is the absolute energy resolution [GeV]; towers below `energy_min`
    [GeV] or `significance_min` resolutions are dropped.
    """

    edges: np.ndarray
    n_phi: np.ndarray
    resolution: Resolution
    energy_min: float
    significance_min: float = 2.0


@dataclass(frozen=True)
class Card:
    """A detector: solenoid (radius, half length [m], field [T]), tracker and calorimeters.

    The three resolutions are functions (pt, eta) giving the relative pt resolution of tracks.
    """

    name: str
    radius: float
    half_length: float
    field: float
    hadron_resolution: Resolution
    electron_resolution: Resolution
    muon_resolution: Resolution
    ecal: Calorimeter
    hcal: Calorimeter


class _Track(NamedTuple):
    event: np.ndarray
    pdg: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    surface_eta: np.ndarray
    surface_phi: np.ndarray
    resolution: np.ndarray


def respond(particles: Particles, card: Card, rng: np.random.Generator) -> Objects:
    """Energy-flow objects that the detector sees.

    Args:
        particles: visible final-state particles.
        card: detector settings.
        rng: source of every random number.
    """
    pt, eta, phi = kinematics(particles.px, particles.py, particles.pz)
    surface_eta, surface_phi = propagate(pt, eta, phi, particles.charge, card)
    tracks = _tracks(particles, pt, eta, phi, surface_eta, surface_phi, card, rng)
    ecal_fraction, hcal_fraction = energy_fractions(particles.pdg)
    is_electron = np.abs(tracks.pdg) == 11
    is_hadron = ~is_electron & (np.abs(tracks.pdg) != 13)
    photons, tracks = _calorimeter(
        card.ecal,
        (particles.event, surface_eta, surface_phi, particles.e * ecal_fraction),
        tracks,
        is_electron,
        PHOTON,
        rng,
    )
    neutrals, tracks = _calorimeter(
        card.hcal,
        (particles.event, surface_eta, surface_phi, particles.e * hcal_fraction),
        tracks,
        is_hadron,
        NEUTRAL_HADRON,
        rng,
    )
    charged = Objects(
        tracks.event,
        tracks.pt,
        tracks.eta,
        tracks.phi,
        np.full(len(tracks.pt), TRACK, np.int8),
        tracks.pdg,
        tracks.surface_eta,
        tracks.surface_phi,
    )
    merged = Objects(*(np.concatenate(f) for f in zip(charged, photons, neutrals, strict=True)))
    order = np.argsort(merged.event, kind="stable")
    return Objects(*(field[order] for field in merged))


def four_momenta(objects: Objects) -> np.ndarray:
    """(O, 4) float64 (E, px, py, pz) [GeV] of energy-flow objects."""
    return massless(objects.pt, objects.eta, objects.phi)


def propagate(
    pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, charge: np.ndarray, card: Card
) -> tuple[np.ndarray, np.ndarray]:
    """(eta, phi) where particles from the origin hit the cylinder of the calorimeter.

    A charge moves on a circle of radius pt / (0.3 |q| B) in the transverse plane; it leaves through
    the barrel when the circle is wide enough and z still inside, else through an end cap.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # no charge, no pt
        circle = np.where(charge != 0, pt / (0.29979 * np.abs(charge) * card.field), np.inf)
        circle = np.maximum(circle, 1e-6)
        end_cap_arc = card.half_length / np.maximum(np.abs(np.sinh(eta)), 1e-9)
        chord = np.minimum(card.radius / (2 * circle), 1.0)
        bent = np.isfinite(circle)
        barrel_arc = np.where(
            card.radius > 2 * circle,
            np.inf,
            np.where(bent, 2 * np.where(bent, circle, 1.0) * np.arcsin(chord), card.radius),
        )
    arc = np.minimum(barrel_arc, end_cap_arc)
    half_turn = np.where(bent, arc / (2 * np.where(bent, circle, 1.0)), 0.0)
    transverse = np.where(bent, 2 * np.where(bent, circle, 1.0) * np.abs(np.sin(half_turn)), arc)
    z = arc * np.sinh(eta)
    surface_eta = np.arcsinh(z / np.maximum(transverse, 1e-6))
    surface_phi = wrap_phi(phi - np.sign(charge) * half_turn)
    return surface_eta, surface_phi


def energy_fractions(pdg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of the energy left in (ECAL, HCAL), by particle, as in both Delphes cards."""
    kind = np.abs(pdg)
    electromagnetic = (kind == 11) | (kind == 22) | (kind == 111)
    muon = kind == 13
    mixed = (kind == 310) | (kind == 3122)
    ecal = np.where(electromagnetic, 1.0, np.where(mixed, 0.3, 0.0))
    hcal = np.where(electromagnetic | muon, 0.0, np.where(mixed, 0.7, 1.0))
    return ecal, hcal


def tracking_efficiency(pdg: np.ndarray, pt: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Probability of a track, the same in the ATLAS and CMS cards; 0 beyond |eta| 2.5.

    As in Delphes eta is that of the point where the particle hits the calorimeter, so that
    tracks that curl up and leave through an end cap are lost.
    """
    kind = np.abs(pdg)
    central = np.abs(eta) <= 1.5
    hard, soft = pt > 1.0, pt > 0.1
    electron, muon = kind == 11, kind == 13

    def table(barrel_soft, barrel_hard, end_cap_soft, end_cap_hard):
        inner = np.where(hard, barrel_hard, barrel_soft)
        return np.where(central, inner, np.where(hard, end_cap_hard, end_cap_soft))

    efficiency = np.where(muon, table(0.75, 0.99, 0.70, 0.98), table(0.70, 0.95, 0.60, 0.85))
    very_hard = pt > 100.0
    barrel = np.where(very_hard, 0.99, 0.95)
    end_cap = np.where(very_hard, 0.90, 0.83)
    efficiency = np.where(electron, table(0.73, barrel, 0.50, end_cap), efficiency)
    return np.where(soft & (np.abs(eta) <= 2.5), efficiency, 0.0)


def log_normal(mean: np.ndarray, sigma: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Log-normal numbers with this mean and standard deviation; 0 where the mean is 0."""
    positive = mean > 0
    safe = np.where(positive, mean, 1.0)
    width = np.sqrt(np.log1p((sigma / safe) ** 2))
    draw = safe * np.exp(width * rng.standard_normal(mean.shape) - 0.5 * width**2)
    return np.where(positive, draw, 0.0)


def _tracks(particles, pt, eta, phi, surface_eta, surface_phi, card, rng) -> _Track:
    charged = np.flatnonzero(particles.charge != 0)
    probability = tracking_efficiency(particles.pdg[charged], pt[charged], surface_eta[charged])
    found = charged[rng.random(len(charged)) < probability]
    pdg, true_pt, true_eta = particles.pdg[found], pt[found], eta[found]
    kind = np.abs(pdg)
    resolution = np.where(
        kind == 11,
        card.electron_resolution(true_pt, true_eta),
        np.where(
            kind == 13,
            card.muon_resolution(true_pt, true_eta),
            card.hadron_resolution(true_pt, true_eta),
        ),
    )
    resolution = np.minimum(resolution, 1.0)
    return _Track(
        particles.event[found],
        pdg,
        log_normal(true_pt, resolution * true_pt, rng),
        true_eta,
        phi[found],
        surface_eta[found],
        surface_phi[found],
        resolution,
    )


def tower_index(
    calorimeter: Calorimeter, eta: np.ndarray, phi: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(eta bin, phi bin) of positions; the eta bin is -1 outside the calorimeter."""
    eta_bin = np.searchsorted(calorimeter.edges, eta, side="left") - 1
    inside = (eta_bin >= 0) & (eta_bin < len(calorimeter.n_phi))
    n_phi = calorimeter.n_phi[np.where(inside, eta_bin, 0)]
    phi_bin = np.minimum((phi + np.pi) / (2 * np.pi) * n_phi, n_phi - 1).astype(np.int64)
    return np.where(inside, eta_bin, -1), phi_bin


def _keys(calorimeter, event, eta, phi):
    """One integer a tower and event; -1 outside."""
    eta_bin, phi_bin = tower_index(calorimeter, eta, phi)
    n_towers = len(calorimeter.n_phi) * 1000
    return np.where(eta_bin >= 0, event * n_towers + eta_bin * 1000 + phi_bin, -1)


def _eta_bins(calorimeter: Calorimeter, keys: np.ndarray) -> np.ndarray:
    return keys % (len(calorimeter.n_phi) * 1000) // 1000


def _measured(calorimeter, keys, energy, rng):
    """Smeared energies of towers, 0 below the thresholds, and their resolutions [GeV]."""
    eta_bin = _eta_bins(calorimeter, keys)
    centre = 0.5 * (calorimeter.edges[eta_bin] + calorimeter.edges[eta_bin + 1])
    measured = log_normal(energy, calorimeter.resolution(centre, energy), rng)
    sigma = calorimeter.resolution(centre, measured)
    seen = (measured >= calorimeter.energy_min) & (measured >= calorimeter.significance_min * sigma)
    return np.where(seen, measured, 0.0), sigma


def _places(calorimeter, keys, rng):
    """(event, eta, phi) of towers, eta and phi uniform inside each tower."""
    eta_bin = _eta_bins(calorimeter, keys)
    eta = rng.uniform(calorimeter.edges[eta_bin], calorimeter.edges[eta_bin + 1])
    phi = (keys % 1000 + rng.random(len(keys))) * 2 * np.pi / calorimeter.n_phi[eta_bin]
    return keys // (len(calorimeter.n_phi) * 1000), eta, wrap_phi(phi - np.pi)


def towers(
    calorimeter: Calorimeter,
    event: np.ndarray,
    eta: np.ndarray,
    phi: np.ndarray,
    energy: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(event, eta, phi, energy [GeV]) of the towers above threshold that deposits (P,) leave."""
    key = np.where(energy > 1e-9, _keys(calorimeter, event, eta, phi), -1)
    keys, index = np.unique(key[key >= 0], return_inverse=True)
    measured, _ = _measured(calorimeter, keys, np.bincount(index, energy[key >= 0]), rng)
    seen = measured > 0
    return *_places(calorimeter, keys[seen], rng), measured[seen]


def _calorimeter(calorimeter, deposits, tracks, stops, kind, rng):
    """Smeared towers against the tracks that stop here: (neutral objects, rescaled tracks)."""
    event, eta, phi, energy = deposits
    hit = np.flatnonzero(energy > 1e-9)
    hit_key = _keys(calorimeter, event[hit], eta[hit], phi[hit])
    hit, hit_key = hit[hit_key >= 0], hit_key[hit_key >= 0]
    stopped = np.flatnonzero(stops)
    track_key = _keys(
        calorimeter,
        tracks.event[stopped],
        tracks.surface_eta[stopped],
        tracks.surface_phi[stopped],
    )
    stopped, track_key = stopped[track_key >= 0], track_key[track_key >= 0]
    keys, index = np.unique(np.concatenate([hit_key, track_key]), return_inverse=True)
    hit_tower, track_tower = index[: len(hit)], index[len(hit) :]

    def add(where, values):
        return np.bincount(where, values, minlength=len(keys))

    true_energy = add(hit_tower, energy[hit])
    measured, sigma = _measured(calorimeter, keys, true_energy, rng)

    track_energy = tracks.pt[stopped] * np.cosh(tracks.eta[stopped])
    charged = add(track_tower, track_energy)
    charged_variance = add(track_tower, (tracks.resolution[stopped] * track_energy) ** 2)
    neutral = np.maximum(measured - charged, 0.0)
    significant = (neutral > calorimeter.energy_min) & (
        neutral > calorimeter.significance_min * np.sqrt(charged_variance + sigma**2)
    )

    with np.errstate(divide="ignore", invalid="ignore"):
        track_weight = np.where(charged_variance > 0, 1 / charged_variance, 0.0)
        tower_weight = np.where(sigma > 0, 1 / sigma**2, 0.0)
        best = (track_weight * charged + tower_weight * measured) / (track_weight + tower_weight)
        scale = np.where(significant | (charged == 0), 1.0, best / charged)
    track_pt = tracks.pt.copy()
    track_pt[stopped] *= scale[track_tower]

    tower_event, tower_eta, tower_phi = _places(calorimeter, keys, rng)
    n = int(significant.sum())
    event, eta, phi, pt = (
        values[significant]
        for values in (tower_event, tower_eta, tower_phi, neutral / np.cosh(tower_eta))
    )
    pdg = 22 if kind == PHOTON else 0
    objects = Objects(
        event, pt, eta, phi, np.full(n, kind, np.int8), np.full(n, pdg, np.int32), eta, phi
    )
    return objects, tracks._replace(pt=track_pt)
