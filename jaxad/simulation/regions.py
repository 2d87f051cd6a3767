"""Calorimeter regions of the CMS Level-1 trigger, as CICADA sees them, from jaxad's particles.

HDF5 files with `CaloRegions` (N, 18, 14) uint16, transverse energy in counts of 0.5 GeV in
(phi, eta), and `AcceptanceFlag` (N,) uint8, the layout of CICADA's files (arXiv:2310.06047,
CMS-DP-2024-121). `zero_bias.h5` holds pile-up alone, 40 interactions on average as in `codae`, the
others a hard collision in it. The flag is jaxad's own: 1 of zero bias, and where the particles of
the hard collision alone have 20 GeV in some region.

Particles deposit in the towers of Delphes' CMS card; of ECAL and HCAL each the transverse energy
in a trigger tower is counted down to 0.5 GeV, up to 255, and both are added; a region sums 4 x 4
trigger towers, up to 1023. There is no calibration, no noise and no out-of-time pile-up. That a
count of a region is 0.5 GeV is CMS usage, not checked against a public file.
"""

import os
from pathlib import Path

import h5py
import numpy as np

from jaxad.simulation import cards, codae, detector, pythia
from jaxad.simulation.produce import concatenate, produce
from jaxad.tasks import load_part, make_tasks, seeded

N_PHI, N_ETA = 18, 14
SIDE = 4
"""Trigger towers along a side of a region."""
TOWERS_PHI = SIDE * N_PHI
_HALF = (*np.round(0.087 * np.arange(21), 3), 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 3.0)
TOWER_EDGES = np.array([*(-edge for edge in _HALF[:0:-1]), *_HALF])
"""Edges (57,) in eta of the 56 trigger towers."""
REGION_EDGES = TOWER_EDGES[::SIDE]
"""Edges (15,) in eta of the regions."""
UNIT, MAX_TOWER, MAX_REGION = 0.5, 255, 1023
MAX_ETA = TOWER_EDGES[-1]
NEAR = 0.15  # beyond the edge: as far as a deposit's tower of the card may reach
MIN_ACCEPTED = 20.0  # GeV: of the hard collision alone in some region, for the flag

ZERO_BIAS = "zero_bias"
SIGNALS = {
    "ttbar": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
    "h_bb": ("HiggsSM:gg2H = on", "25:onMode = off", "25:onIfMatch = 5 -5"),
}
SETTINGS = {
    ZERO_BIAS: codae.MINIMUM_BIAS,
    **{name: ("Beams:eCM = 13000.", *lines) for name, lines in SIGNALS.items()},
    **{name: codae.SETTINGS[name] for name in ("suep_400", "svj_2100")},
}
TASK_SIZE, BATCH_SIZE = 500, 100
SIGNAL_SHARE = 10  # a signal has one in so many of the zero-bias events
PACKAGES = ("pythia8mc", "awkward")

Deposits = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Event, eta, phi and transverse energy [GeV], all (P,)."""


def simulate(
    name: str, out_dir: str | os.PathLike, n_events: int, seed: int, workers: int | str | None
) -> list[Path]:
    """Write n_events of zero bias, and a tenth as many of each signal."""
    counts = dict.fromkeys(SETTINGS, max(n_events // SIGNAL_SHARE, 1)) | {ZERO_BIAS: n_events}
    tasks = [
        task
        for process, n in counts.items()
        for task in make_tasks(process, f"{process}.h5", n, TASK_SIZE)
    ]
    request = {
        "name": name,
        "version": 1,
        "n_events": n_events,
        "seed": seed,
        "settings": SETTINGS,
    }
    files = [f"{process}.h5" for process in SETTINGS]
    return produce(
        out_dir, request, files, tasks, seeded(generate, seed), _write, workers, PACKAGES
    )


def _write(path: Path, file: str, parts: dict[str, list[Path]]) -> None:
    loaded = [load_part(part) for paths in parts.values() for part in paths]
    with h5py.File(path, "w") as out:
        for key in ("CaloRegions", "AcceptanceFlag"):
            values = np.concatenate([rows[key] for rows in loaded])
            out.create_dataset(key, data=values, compression="gzip")


def generate(process: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """n events: "CaloRegions" (n, 18, 14) uint16, "AcceptanceFlag" (n,) uint8."""
    pool = codae.pile_up_pool(MAX_ETA + NEAR)
    generator = None
    if process != ZERO_BIAS:
        generator = pythia.make_pythia(SETTINGS[process])
        pythia.seed_pythia(generator, rng)
    batches, made = [], 0
    while made < n:
        size = min(BATCH_SIZE, n - made)
        found, accepted = [], np.ones(size, bool)
        if generator:
            hard, accepted = _hard(process, generator, size, rng)
            found.append(hard)
        found.append(codae.pile_up(pool, len(accepted), rng))
        both = {key: np.concatenate([part[key] for part in found]) for key in found[-1]}
        images = regions_of(len(accepted), *calorimeters(both, rng))
        batches.append({"CaloRegions": images, "AcceptanceFlag": accepted.astype(np.uint8)})
        made += len(accepted)
    return concatenate(batches, n)


def _hard(process, generator, n, rng) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Deposits of hard collisions, and which of them are accepted."""
    events = pythia.generate(generator, n, (*pythia.INVISIBLE, *codae.DARK_MATTER))
    visible = codae.with_suep(events, rng) if process.startswith("suep") else events.visible
    found = codae.deposits(visible)
    energy = (found["ecal"] + found["hcal"]) / np.cosh(found["eta"])
    places = (found[key] for key in ("event", "eta", "phi"))
    alone = regions_of(events.n_events, (*places, energy))
    return found, alone.max(axis=(1, 2)) >= MIN_ACCEPTED / UNIT


def calorimeters(
    deposits: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[Deposits, Deposits]:
    """What ECAL and HCAL of the CMS card measure of deposits [GeV] (P,), see `codae.deposits`."""
    near = np.abs(deposits["eta"]) < MAX_ETA + NEAR
    event, eta, phi = (deposits[key][near] for key in ("event", "eta", "phi"))
    measured = []
    for calorimeter, kind in ((cards.CMS.ecal, "ecal"), (cards.CMS.hcal, "hcal")):
        found = detector.towers(calorimeter, event, eta, phi, deposits[kind][near], rng)
        measured.append((*found[:3], found[3] / np.cosh(found[1])))
    return tuple(measured)


def regions_of(n_events: int, *calorimeters: Deposits) -> np.ndarray:
    """Regions (n_events, 18, 14) uint16 of what each calorimeter measured.

    Region 0 of phi is centred on phi = 0 and holds the trigger towers 71, 72, 1 and 2, tower 1
    beginning there; eta ascends. What lies beyond |eta| = 3 is left out.

    Examples:
        >>> ecal = np.array([0, 0]), np.array([0.1, 0.1]), np.array([-0.01, 0.01]), np.array([9, 1])
        >>> images = regions_of(1, ecal)
        >>> images.shape, int(images[0, 0, 7])
        ((1, 18, 14), 20)
    """
    shape = n_events, TOWERS_PHI, len(TOWER_EDGES) - 1
    counts = np.zeros(shape, np.int64)
    for event, eta, phi, energy in calorimeters:
        column = np.searchsorted(TOWER_EDGES, eta, side="right") - 1
        row = np.floor(np.asarray(phi) * (TOWERS_PHI / (2 * np.pi))).astype(int) % TOWERS_PHI
        inside = (column >= 0) & (column < shape[2])
        place = np.ravel_multi_index((event[inside], row[inside], column[inside]), shape)
        total = np.bincount(place, energy[inside], minlength=counts.size).reshape(shape)
        counts += np.minimum(np.floor(total / UNIT), MAX_TOWER).astype(np.int64)
    turned = np.roll(counts, SIDE // 2, axis=1)
    sums = turned.reshape(n_events, N_PHI, SIDE, N_ETA, SIDE).sum(axis=(2, 4))
    return np.minimum(sums, MAX_REGION).astype(np.uint16)


def outliers(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Regions (n, 18, 14) uint16 with 1 to 10 regions of log-uniform counts up to 1023 added.

    For outlier exposure: artificial events with which a student sees high targets. jaxad's own; how
    the outliers of CICADA are made is not public.
    """
    n, *shape = images.shape
    size = int(np.prod(shape))
    number = rng.integers(1, 11, n)
    order = np.argsort(rng.random((n, size)), axis=1)
    counts = np.floor(np.exp(rng.uniform(0, np.log(MAX_REGION + 1), (n, size))))
    added = np.where(order < number[:, None], counts, 0).reshape(images.shape)
    return np.minimum(images + added, MAX_REGION).astype(np.uint16)
