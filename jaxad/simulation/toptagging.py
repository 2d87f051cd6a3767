"""QCD and top jets in the layout of the Top Tagging Reference Dataset (Zenodo 2603256; Butter,
Kasieczka, Plehn, Russell, arXiv:1707.08966; Kasieczka et al., arXiv:1902.09914).

Published layout, kept here: `train.h5`, `val.h5`, `test.h5`, each a pandas table `table`: dataset
`table/table` with fields `index` int64, `values_block_0` float32 (804,) holding E_0 PX_0 PY_0 PZ_0
E_1 ... PZ_199 truthE truthPX truthPY truthPZ, and `values_block_1` int64 (2,) holding ttv (0 train,
1 test, 2 validation) and is_signal_new (0 QCD, 1 top). 200 massless constituents a jet, sorted by
falling pT, zero padded [GeV]; truth is the top's four-momentum, zero for QCD. The published files
are blosc-compressed, ours zlib.

Process: 14 TeV, no multiple interactions, no pile-up; ATLAS card; anti-kT R = 0.8; the two hardest
jets of an event are taken where 550 < pT < 650 GeV and |eta| < 2. A top jet has the top and its
three quarks within 0.8.
"""

import os
from pathlib import Path

import numpy as np

from jaxad.errors import UserError
from jaxad.observables import clustering
from jaxad.observables.momenta import wrap_phi
from jaxad.simulation import cards, detector, pythia
from jaxad.simulation.frames import Block, write_table
from jaxad.simulation.produce import accept, concatenate, produce
from jaxad.tasks import load_part, make_tasks, seeded

N_CONSTITUENTS = 200
RADIUS = 0.8
PT_RANGE = (550.0, 650.0)
MAX_ETA = 2.0
TASK_SIZE = 1000
FRACTIONS = {"train.h5": 0.6, "val.h5": 0.2, "test.h5": 0.2}
TTV = {"train.h5": 0, "test.h5": 1, "val.h5": 2}

_COMMON = (
    "Beams:eCM = 14000.",
    "PartonLevel:MPI = off",
    "PhaseSpace:pTHatMin = 500.",
    "PhaseSpace:pTHatMax = 900.",
)
SETTINGS = {
    "qcd": (*_COMMON, "HardQCD:all = on"),
    "top": (
        *_COMMON,
        "Top:gg2ttbar = on",
        "Top:qqbar2ttbar = on",
        "24:onMode = off",
        "24:onIfAny = 1 2 3 4 5",
    ),
}
COLUMNS = [f"{c}_{i}" for i in range(N_CONSTITUENTS) for c in ("E", "PX", "PY", "PZ")]
BLOCKS: list[Block] = [
    ([*COLUMNS, "truthE", "truthPX", "truthPY", "truthPZ"], np.float32),
    (["ttv", "is_signal_new"], np.int64),
]


def simulate(
    name: str, out_dir: str | os.PathLike, n_events: int, seed: int, workers: int | str | None
) -> list[Path]:
    """Write `train.h5`, `val.h5` and `test.h5`: 60, 20 and 20 % of n_events jets a class."""
    counts = split_counts(n_events)
    tasks = [
        task
        for split, n in counts.items()
        for process in SETTINGS
        for task in make_tasks(process, split, n, TASK_SIZE)
    ]
    request = {"name": name, "n_events": n_events, "seed": seed, "settings": SETTINGS}

    def write(path: Path, split: str, parts: dict[str, list[Path]]) -> None:
        rows = _mixed_rows(split, parts, np.random.default_rng([seed, TTV[split]]))
        write_table(path, "table", BLOCKS, rows, 2 * counts[split])

    rows_of = seeded(generate, seed)
    return produce(out_dir, request, list(counts), tasks, rows_of, write, workers)


def split_counts(n_events: int) -> dict[str, int]:
    """Jets of one class in each file."""
    if n_events < 5:
        raise UserError(f"toptagging: n_events must be at least 5 (jets per class), not {n_events}")
    counts = {file: int(n_events * fraction) for file, fraction in FRACTIONS.items()}
    counts["train.h5"] += n_events - sum(counts.values())
    return counts


def generate(process: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """n jets: "constituents" (n, 200, 4) and "truth" (n, 4), float32 (E, px, py, pz) [GeV]."""
    generator = pythia.make_pythia(SETTINGS[process])
    pythia.seed_pythia(generator, rng)

    def batch(size: int) -> dict[str, np.ndarray]:
        return select_jets(pythia.generate(generator, size), process == "top", rng)

    return accept(batch, n)


def select_jets(
    events: pythia.Batch, is_top: bool, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Detector response, clustering and selection of a batch of events."""
    objects = detector.respond(events.visible, cards.ATLAS, rng)
    momenta = detector.four_momenta(objects)
    found = clustering.cluster(
        objects.event, *momenta[:, 1:].T, momenta[:, 0], events.n_events, RADIUS, PT_RANGE[0]
    )
    pt, eta, phi = pythia.kinematics(found.px, found.py, found.pz)
    chosen = (found.rank < 2) & (pt < PT_RANGE[1]) & (np.abs(eta) < MAX_ETA)
    found, eta, phi = found.select(chosen), eta[chosen], phi[chosen]
    truth = np.zeros((len(eta), 4))
    if is_top:
        matched, truth = match_tops(events, found.event, eta, phi)
        found, truth = found.select(matched), truth[matched]
    constituents = clustering.padded(found, momenta, N_CONSTITUENTS)
    return {"constituents": constituents, "truth": truth.astype(np.float32)}


def match_tops(
    events: pythia.Batch, event: np.ndarray, eta: np.ndarray, phi: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which jets hold a whole top.

    Args:
        events: generated top pairs with hadronic decays.
        event, eta, phi: (J,) event index and axis of the jets.

    Returns:
        matched (J,) bool: top and its three quarks within R of the axis; and the momentum (J, 4)
        (E, px, py, pz) [GeV] of that top, the sum of the quarks.
    """
    record = events.record
    quark = np.flatnonzero((np.abs(record["status"]) == 23) & (np.abs(record["pdg"]) <= 5))
    sign = record["pdg"][record["mother"][quark]] > 0
    order = np.lexsort((sign, record["event"][quark]))
    momenta = np.stack([record[k][quark[order]] for k in ("e", "px", "py", "pz")], axis=-1)
    quarks = momenta.reshape(events.n_events, 2, 3, 4)
    tops = quarks.sum(axis=2)
    partons = np.concatenate([quarks, tops[:, :, None]], axis=2)[event]
    _, parton_eta, parton_phi = pythia.kinematics(*np.moveaxis(partons[..., 1:], -1, 0))
    distance = np.hypot(
        parton_eta - eta[:, None, None], wrap_phi(parton_phi - phi[:, None, None])
    ).max(axis=2)
    nearest = distance.argmin(axis=1)
    row = np.arange(len(event))
    return distance[row, nearest] < RADIUS, tops[event, nearest]


def _mixed_rows(split: str, parts: dict[str, list[Path]], rng: np.random.Generator):
    """Rows of both classes, shuffled within each pair of parts."""
    for qcd, top in zip(parts["qcd"], parts["top"], strict=True):
        loaded = [load_part(part) for part in (qcd, top)]
        label = np.repeat([0, 1], [len(rows["truth"]) for rows in loaded])
        both = concatenate(loaded, len(label))
        values = np.concatenate(
            [both["constituents"].reshape(len(label), -1), both["truth"]], axis=1
        )
        integers = np.stack([np.full_like(label, TTV[split]), label], axis=1)
        order = rng.permutation(len(label))
        yield [values[order], integers[order]]
