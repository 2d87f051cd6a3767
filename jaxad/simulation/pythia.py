"""Pythia 8 made safe and array-shaped: checked settings, re-seeding without a new
initialisation, and whole batches of events as flat numpy arrays (no Python per particle).

Pythia 8.3: Bierlich et al., arXiv:2203.11601. The package `pythia8mc` is GPL-2 and is imported
only when a generator is made.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from jaxad.errors import UserError

PACKAGES = ("pythia8mc", "fastjet", "awkward", "tables")

INVISIBLE = (12, 14, 16)


class Particles(NamedTuple):
    """Particles of several events, flat, ordered by event.

    event: (P,) int64 index of the event, ascending; pdg: (P,) int32; charge: (P,) float64 in
    units of e; px, py, pz, e: (P,) float64 [GeV].
    """

    event: np.ndarray
    pdg: np.ndarray
    charge: np.ndarray
    px: np.ndarray
    py: np.ndarray
    pz: np.ndarray
    e: np.ndarray

    def select(self, mask: np.ndarray) -> "Particles":
        """The particles where `mask` (boolean or indices) holds."""
        return Particles(*(field[mask] for field in self))


class Batch(NamedTuple):
    """`n_events` generated events: visible final particles and the whole flat event record.

    The record (event, pdg, status, mother, px, py, pz, e) keeps every entry of Pythia's event
    record; `mother` is the position of the first mother in the same flat arrays (-1: none).
    """

    n_events: int
    visible: Particles
    record: dict[str, np.ndarray]


def require_packages(packages: Sequence[str]) -> None:
    """Raise one UserError when a package of the extra `simulation` is missing."""
    missing = []
    for package in packages:
        try:
            __import__(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise UserError(
            f"needs {', '.join(missing)}, which cannot be imported: "
            "pip install 'jaxad[simulation]', or point data.source at files that need none"
        )


@lru_cache(maxsize=4)
def make_pythia(settings: tuple[str, ...]):
    """An initialised, quiet generator; every setting is checked.

    The cache keeps one generator a process and setting, because initialisation costs more than
    a small task; `generate` re-seeds it, so results do not depend on what it made before.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "Random:setSeed = on", "Random:seed = 1", *settings):
        if not pythia.readString(line):
            raise ValueError(f"Pythia does not know the setting {line!r}")
    if not pythia.init():
        raise RuntimeError(f"Pythia did not initialise with {settings}")
    return pythia


def seed_pythia(pythia, rng: np.random.Generator) -> None:
    """Start Pythia's random numbers anew from the numpy generator."""
    pythia.rndm.init(int(rng.integers(1, 900_000_000)))


def generate(pythia, n_events: int, invisible: tuple[int, ...] = INVISIBLE) -> Batch:
    """Generate events (those that Pythia gives up on are skipped).

    Args:
        pythia: generator from `make_pythia`.
        n_events: events to try.
        invisible: absolute PDG ids left out of the visible particles.
    """
    import awkward as ak

    events = pythia.nextBatch(n_events)
    particles = events.prt
    counts = ak.to_numpy(ak.num(particles.id))
    offset = np.repeat(np.cumsum(counts) - counts, counts)

    def flat(field):
        return ak.to_numpy(ak.flatten(field))

    momentum = particles.p
    mother = flat(particles.mother1)
    record = {
        "event": np.repeat(np.arange(len(counts)), counts),
        "pdg": flat(particles.id),
        "status": flat(particles.status),
        "mother": np.where(mother > 0, mother + offset, -1),
        "px": flat(momentum.px),
        "py": flat(momentum.py),
        "pz": flat(momentum.pz),
        "e": flat(momentum.e),
    }
    seen = (record["status"] > 0) & ~np.isin(np.abs(record["pdg"]), invisible)
    pdg = record["pdg"][seen]
    visible = Particles(
        record["event"][seen],
        pdg,
        charges(pythia, pdg),
        *(record[name][seen] for name in ("px", "py", "pz", "e")),
    )
    return Batch(len(counts), visible, record)


def charges(pythia, pdg: np.ndarray) -> np.ndarray:
    """Electric charge (P,) in units of e of PDG ids, from Pythia's particle table."""
    kinds, index = np.unique(pdg, return_inverse=True)
    return np.array([pythia.particleData.charge(int(k)) for k in kinds], dtype=float)[index]


def kinematics(
    px: np.ndarray, py: np.ndarray, pz: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pt, eta, phi) of momenta; eta is capped at +-20 along the beam."""
    pt = np.hypot(px, py)
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = np.where(pt > 0, np.arcsinh(pz / pt), np.copysign(20.0, pz))
    return pt, np.clip(eta, -20.0, 20.0), np.arctan2(py, px)
