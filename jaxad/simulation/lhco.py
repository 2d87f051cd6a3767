"""The LHC Olympics 2020 R&D set (Kasieczka et al., arXiv:2101.08320): QCD dijets and W' -> X Y.

Published layout (Zenodo 4536377, `events_anomalydetection_v2.features.h5`): pandas "fixed" frame
`df`, float columns pxj1 pyj1 pzj1 mj1 tau1j1 tau2j1 tau3j1, the same of j2, and label (0 QCD,
1 signal); GeV; j1 has the larger pT. Here QCD ("lhco") and signals are files of their own: X(500)
Y(100) as published ("lhco_signal"), X(600) Y(300) ("..._heavy") and X(200) Y(100) ("..._light").

Jets: anti-kT R = 1.0 of massless particles, leading pT > 1200 GeV; tau_N on kT axes with the
normalised measure, beta = 1. Process: 13 TeV, no multiple interactions, no pile-up, CMS card with
the HCAL threshold of Delphes 3.4 (one standard deviation). Both choices, and pTHat > 1100 GeV, were
found by comparison with the published events.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np

from jaxad.observables import clustering
from jaxad.observables.derived import DIJET_COLUMNS
from jaxad.simulation import cards, detector, pythia
from jaxad.simulation.frames import write_fixed
from jaxad.simulation.produce import accept, produce
from jaxad.tasks import load_part, make_tasks, seeded

RADIUS = 1.0
MIN_LEADING_PT = 1200.0
MIN_JET_PT = 20.0
TASK_SIZE = 500
_FEATURES_FILE = "events_anomalydetection_v2{}.features.h5"
FILES = {
    "qcd": _FEATURES_FILE.format(""),
    "signal": _FEATURES_FILE.format("_signal"),
    "signal_heavy": _FEATURES_FILE.format("_signal_heavy"),
    "signal_light": _FEATURES_FILE.format("_signal_light"),
}
"""Of each process; "signal" is the published one, the other two are searched for beside it."""

FEATURES = tuple(name for name, _ in DIJET_COLUMNS)

CARD = dataclasses.replace(
    cards.CMS, hcal=dataclasses.replace(cards.CMS.hcal, significance_min=1.0)
)

_COMMON = ("Beams:eCM = 13000.", "PartonLevel:MPI = off")
_QUARKS = "1 2 3 4 5"


def _decay(x: float, y: float) -> tuple[str, ...]:
    """Pythia's settings of W'(3.5 TeV) -> X Y, each to two quarks; masses [GeV]."""
    daughters = [
        (f"{code}:m0 = {mass:g}.", f"{code}:mMin = {low:g}.", f"{code}:mMax = {high:g}.")
        for code, mass, low, high in ((24, x, 0.6 * x, 1.4 * x), (23, y, 0.8 * y, 1.2 * y))
    ]
    return (
        *_COMMON,
        "NewGaugeBoson:ffbar2Wprime = on",
        "Wprime:coup2WZ = 1.",
        "34:m0 = 3500.",
        "34:doForceWidth = on",
        "34:mWidth = 60.",
        "34:mMin = 2500.",
        "34:mMax = 4500.",
        "34:onMode = off",
        "34:onIfMatch = 24 23",
        *daughters[0],
        "24:onMode = off",
        f"24:onIfAny = {_QUARKS}",
        *daughters[1],
        "23:onMode = off",
        f"23:onIfAny = {_QUARKS}",
    )


SETTINGS = {
    "qcd": (*_COMMON, "HardQCD:all = on", "PhaseSpace:pTHatMin = 1100."),
    "signal": _decay(500, 100),
    "signal_heavy": _decay(600, 300),
    "signal_light": _decay(200, 100),
}


def simulate(
    name: str, out_dir: str | os.PathLike, n_events: int, seed: int, workers: int | str | None
) -> list[Path]:
    """Write one features file of `n_events` events: QCD ("lhco"), or of a signal ("lhco_signal",
    "lhco_signal_heavy", "lhco_signal_light")."""
    process = name.removeprefix("lhco_") if name != "lhco" else "qcd"
    file, label = FILES[process], int(process != "qcd")
    request = {
        "name": name,
        "n_events": n_events,
        "seed": seed,
        "settings": SETTINGS[process],
    }

    def write(path: Path, _: str, parts: dict[str, list[Path]]) -> None:
        features = np.concatenate([load_part(p)["features"] for p in parts[process]])
        rows = np.column_stack([features, np.full(len(features), label)])
        write_fixed(path, "df", [*FEATURES, "label"], rows)

    tasks = make_tasks(process, file, n_events, TASK_SIZE)
    rows_of = seeded(generate, seed)
    return produce(out_dir, request, [file], tasks, rows_of, write, workers)


def generate(process: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """n selected events: "features" (n, 14) float64, see FEATURES."""
    generator = pythia.make_pythia(SETTINGS[process])
    pythia.seed_pythia(generator, rng)

    def batch(size: int) -> dict[str, np.ndarray]:
        events = pythia.generate(generator, size)
        objects = detector.respond(events.visible, CARD, rng)
        momenta = detector.four_momenta(objects)
        return {"features": dijet_features(objects.event, momenta, size, MIN_LEADING_PT)[1]}

    return accept(batch, n)


def dijet_features(
    event: np.ndarray, momenta: np.ndarray, n_events: int, min_leading_pt: float
) -> tuple[np.ndarray, np.ndarray]:
    """Features of the two hardest jets; arguments as of `dijets`.

    Returns:
        (events (K,), features (K, 14)) of the events with two jets above the threshold.
    """
    pair = dijets(event, momenta, n_events, min_leading_pt)
    members = momenta[pair.members]
    tau = clustering.n_subjettiness(
        *members[:, 1:].T, members[:, 0], np.diff(pair.offsets), RADIUS, axes="KT_Axes"
    )
    features = np.column_stack([pair.px, pair.py, pair.pz, pair.mass, tau])
    return pair.event[::2], features.reshape(-1, len(FEATURES))


def dijets(
    event: np.ndarray, momenta: np.ndarray, n_events: int, min_leading_pt: float
) -> clustering.Jets:
    """The two hardest jets (2 K) of each event that has two, the first above the threshold.

    Args:
        event: (P,) ascending event index of the particles.
        momenta: (P, 4) float64 (E, px, py, pz) [GeV].
        n_events: number of events.
        min_leading_pt: least pT of the leading jet [GeV].
    """
    columns = (*momenta[:, 1:].T, momenta[:, 0])
    found = clustering.cluster(event, *columns, n_events, RADIUS, MIN_JET_PT)
    hard = np.zeros(n_events, bool)
    hard[found.event[(found.rank == 0) & (np.hypot(found.px, found.py) > min_leading_pt)]] = True
    two = np.zeros(n_events, bool)
    two[found.event[found.rank == 1]] = True
    return found.select((found.rank < 2) & (hard & two)[found.event])
