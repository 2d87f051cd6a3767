"""Leading large-radius jets of QCD and of eight signals, as in Bradshaw, Chang, Ostdiek
(arXiv:2203.01343; Zenodo 4614656 and 4641460).

Published layout: one HDF5 file a kind: `objects/jets/constituents` (N, jets) of variable length,
each entry the flat (E, px, py, pz, extra) of its particles, and `objects/jets/obs` (N, jets, 9),
pt, eta, phi, m, tau1 .. tau5 [GeV]. Here one jet an event is kept, and the extra number is 0.

Two prongs: W' -> W Z(nu nu) with m_W 59, 80, 120, 174 GeV. Three: Z' -> tt (174 GeV) and a top of
80 GeV. Four: H(174) -> hh with m_h 80 or 20 GeV, to b quarks. 13 TeV, no multiple interactions, CMS
card as for the LHC Olympics; anti-kT R = 1.0; 550 < pT < 650 GeV, |eta| < 2; kT axes, beta 1.
"""

import os
from pathlib import Path

import numpy as np

from jaxad.observables import clustering
from jaxad.simulation import detector, pythia
from jaxad.simulation.lhco import CARD
from jaxad.simulation.produce import accept, produce
from jaxad.tasks import load_part, make_tasks, seeded

RADIUS = 1.0
PT_RANGE = (550.0, 650.0)
MAX_ETA = 2.0
N_SUBJETTINESS = (1, 2, 3, 4, 5)
TASK_SIZE = 500
SIGNAL_SHARE = 5
BACKGROUND = "qcd_dijet"

_COMMON = ("Beams:eCM = 13000.", "PartonLevel:MPI = off")
_HADRONIC_W = ("24:onMode = off", "24:onIfAny = 1 2 3 4 5")


def _hard(high: int = 900) -> tuple[str, ...]:
    return ("PhaseSpace:pTHatMin = 500.", f"PhaseSpace:pTHatMax = {high}.")


def _two_prong(mass: float) -> tuple[str, ...]:
    return (
        *_COMMON,
        "NewGaugeBoson:ffbar2Wprime = on",
        "Wprime:coup2WZ = 1.",
        "34:m0 = 1300.",
        "34:onMode = off",
        "34:onIfMatch = 24 23",
        f"24:m0 = {mass}",
        *_HADRONIC_W,
        "23:onMode = off",
        "23:onIfAny = 12 14 16",
    )


def _four_prong(mass: float) -> tuple[str, ...]:
    return (
        *_COMMON,
        "Higgs:useBSM = on",
        "HiggsBSM:ffbar2A3H2 = on",
        "HiggsA3:coup2H2Z = 1.",
        "35:m0 = 174.",
        "36:m0 = 174.",
        "35:oneChannel = 1 1.0 101 25 25",
        "36:oneChannel = 1 1.0 101 25 25",
        f"25:m0 = {mass}",
        "25:oneChannel = 1 1.0 101 5 -5",
        *_hard(800),
    )


SETTINGS = {
    BACKGROUND: (*_COMMON, "HardQCD:all = on", *_hard()),
    "top_100k_01": (
        *_COMMON,
        "NewGaugeBoson:ffbar2gmZZprime = on",
        "Zprime:gmZmode = 3",
        "32:m0 = 1300.",
        "32:onMode = off",
        "32:onIfAny = 6",
        *_HADRONIC_W,
    ),
    "W_100k_01": _two_prong(80.0),
    "h3_m174_h80_100k_01": _four_prong(80.0),
    "h3_m174_h20_100k_01": _four_prong(20.0),
    "top_m80_100k_01_new": (
        *_COMMON,
        "Top:gg2ttbar = on",
        "Top:qqbar2ttbar = on",
        "6:m0 = 80.",
        "6:mMin = 60.",  # Pythia's default of 86 GeV lies above the mass
        "6:mMax = 100.",
        "24:m0 = 40.",
        *_HADRONIC_W,
        *_hard(),
    ),
    "W_m120_100k_01": _two_prong(120.0),
    "W_m174_100k_01": _two_prong(174.0),
    "W_m59_100k_01": _two_prong(59.0),
}


def simulate(
    name: str, out_dir: str | os.PathLike, n_events: int, seed: int, workers: int | str | None
) -> list[Path]:
    """Write `qcd_dijet.h5` with n_events jets, and eight signal files with a fifth as many each."""
    counts = {kind: max(n_events // SIGNAL_SHARE, 1) for kind in SETTINGS}
    counts[BACKGROUND] = n_events
    tasks = [
        task for kind, n in counts.items() for task in make_tasks(kind, f"{kind}.h5", n, TASK_SIZE)
    ]
    request = {"name": name, "n_events": n_events, "seed": seed, "settings": SETTINGS}
    files = [f"{kind}.h5" for kind in SETTINGS]
    rows_of = seeded(generate, seed)
    return produce(out_dir, request, files, tasks, rows_of, _write, workers)


def generate(process: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """n jets: "obs" (n, 9) float32, "counts" (n,), and "particles" (sum of counts, 4) float32."""
    generator = pythia.make_pythia(SETTINGS[process])
    pythia.seed_pythia(generator, rng)

    def batch(size: int) -> dict[str, np.ndarray]:
        return select_jets(pythia.generate(generator, size), rng)

    rows = accept(batch, n)
    particles = rows.pop("constituents")
    counts = (particles[..., 0] > 0).sum(axis=1)
    return {**rows, "counts": counts, "particles": particles[particles[..., 0] > 0]}


def select_jets(events: pythia.Batch, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Leading jets of a batch in the pT window: "obs" and zero-padded "constituents"."""
    objects = detector.respond(events.visible, CARD, rng)
    momenta = detector.four_momenta(objects)
    found = clustering.cluster(
        objects.event, *momenta[:, 1:].T, momenta[:, 0], events.n_events, RADIUS, PT_RANGE[0]
    )
    pt, eta, phi = pythia.kinematics(found.px, found.py, found.pz)
    chosen = (found.rank == 0) & (pt < PT_RANGE[1]) & (np.abs(eta) < MAX_ETA)
    found = found.select(chosen)
    members = momenta[found.members]
    tau = clustering.n_subjettiness(
        *members[:, 1:].T,
        members[:, 0],
        np.diff(found.offsets),
        RADIUS,
        N_SUBJETTINESS,
        "KT_Axes",
    )
    obs = np.column_stack([pt[chosen], eta[chosen], phi[chosen], found.mass, tau])
    return {
        "obs": obs.astype(np.float32),
        "constituents": clustering.padded(found, momenta, 400),
    }


def _write(path: Path, file: str, parts: dict[str, list[Path]]) -> None:
    import h5py

    loaded = [load_part(part) for part in parts[file.removesuffix(".h5")]]
    obs = np.concatenate([part["obs"] for part in loaded])
    counts = np.concatenate([part["counts"] for part in loaded])
    particles = np.concatenate([part["particles"] for part in loaded])
    flat = np.pad(particles, ((0, 0), (0, 1)))
    rows = np.empty((len(counts), 1), object)
    rows[:, 0] = [jet.ravel() for jet in np.split(flat, np.cumsum(counts)[:-1])]
    with h5py.File(path, "w") as out:
        group = out.create_group("objects/jets")
        group.create_dataset("obs", data=obs[:, None, :])
        group.create_dataset("constituents", data=rows, dtype=h5py.vlen_dtype(np.float32))
