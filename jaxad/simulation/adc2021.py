"""Standard Model mix and signals of the ADC2021 challenge (Govorkova et al., arXiv:2107.02157).

Published layout: HDF5 files with `Particles` (N, 19, 4) = (pT [GeV], eta, phi, class): row 0 the
missing transverse momentum (class 1, eta 0), rows 1-4 electrons (2), 5-8 muons (3), 9-18 jets
(4), each block by falling pT, zero padded with class 0; beside it `Particles_Names` and
`Particles_Classes`. Background: `background_for_training.h5`; signals: one file each.

13 TeV, CMS card, no multiple interactions, no pile-up. Leptons: pT > 3 GeV, relative isolation in
0.3 below 0.45, |eta| < 3 (e), 2.1 (mu); at least one above 23 GeV; jets anti-kT R = 0.4, pT > 15
GeV, |eta| < 4, without the isolated leptons. The published fractions of W, QCD, Z and tt are
imposed. QCD stands for heavy flavour with forced semileptonic decays: gluon splitting and fakes are
missing. The tau of the charged Higgs decays to an electron or muon, as the trigger asks of it.
A demonstration, not a replacement of the published set.
"""

import os
from pathlib import Path

import numpy as np

from jaxad.observables import clustering
from jaxad.observables.momenta import wrap_phi
from jaxad.simulation import cards, detector, pythia
from jaxad.simulation.produce import accept, produce
from jaxad.tasks import load_part, make_tasks, seeded

N_LEPTONS, N_JETS = 4, 10
N_OBJECTS = 1 + 2 * N_LEPTONS + N_JETS
MIN_LEPTON_PT, TRIGGER_PT, PREFILTER_PT = 3.0, 23.0, 18.0
ISOLATION_RADIUS, MAX_ISOLATION = 0.3, 0.45
MAX_LEPTON_ETA = {11: 3.0, 13: 2.1}
JET_RADIUS, MIN_JET_PT, MAX_JET_ETA = 0.4, 15.0, 4.0
TASK_SIZE = 250
SIGNAL_SHARE = 5

BACKGROUND = "background_for_training"
FRACTIONS = {"W": 0.592, "QCD": 0.338, "Z": 0.067, "tt": 0.003}

_COMMON = ("Beams:eCM = 13000.", "PartonLevel:MPI = off")
_W_LEPTONS = ("24:onMode = off", "24:onIfAny = 11 13 15")
_HEAVY_HADRONS = (511, 521, 531, 541, 5122, 5132, 5232, 5332, 411, 421, 431, 4122, 4132, 4232, 4332)

SETTINGS = {
    "W": (*_COMMON, "WeakSingleBoson:ffbar2W = on", *_W_LEPTONS),
    "QCD": (
        *_COMMON,
        "HardQCD:hardbbbar = on",
        "HardQCD:hardccbar = on",
        "PhaseSpace:pTHatMin = 30.",
        *(f"{pdg}:onMode = off" for pdg in _HEAVY_HADRONS),
        *(f"{pdg}:onIfAny = 11 13" for pdg in _HEAVY_HADRONS),
    ),
    "Z": (
        *_COMMON,
        "WeakSingleBoson:ffbar2gmZ = on",
        "PhaseSpace:mHatMin = 40.",
        "23:onMode = off",
        "23:onIfAny = 11 13 15",
    ),
    "tt": (*_COMMON, "Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *_W_LEPTONS),
    "Ato4l_lepFilter_13TeV": (
        *_COMMON,
        "HiggsSM:gg2H = on",
        "25:m0 = 50.",
        "25:mMin = 49.",
        "25:mMax = 51.",
        "25:onMode = off",
        "25:onIfMatch = 23 23",
        "23:mMin = 2.",
        "23:onMode = off",
        "23:onIfAny = 11 13",
    ),
    "leptoquark_LOWMASS_lepFilter_13TeV": (
        *_COMMON,
        "LeptoQuark:gg2LQLQbar = on",
        "LeptoQuark:qqbar2LQLQbar = on",
        "42:m0 = 80.",
        "42:mMin = 75.",
        "42:mMax = 85.",
        "42:0:products = 5 15",
    ),
    "hToTauTau_13TeV_PU20": (
        *_COMMON,
        "HiggsSM:gg2H = on",
        "25:m0 = 60.",
        "25:mMin = 59.",
        "25:mMax = 61.",
        "25:onMode = off",
        "25:onIfMatch = 15 15",
    ),
    "hChToTauNu_13TeV_PU20": (
        *_COMMON,
        "Higgs:useBSM = on",
        "HiggsBSM:ffbar2H+- = on",
        "37:m0 = 60.",
        "37:mMin = 59.",
        "37:mMax = 61.",
        "37:onMode = off",
        "37:onIfMatch = 15 16",
        "15:onMode = off",
        "15:onIfAny = 11 13",
    ),
}
SIGNALS = [name for name in SETTINGS if name not in FRACTIONS]


def simulate(
    name: str, out_dir: str | os.PathLike, n_events: int, seed: int, workers: int | str | None
) -> list[Path]:
    """Write the background, n_events, and the signals, a fifth as many each."""
    background = f"{BACKGROUND}.h5"
    counts = {process: int(n_events * fraction) for process, fraction in FRACTIONS.items()}
    counts["W"] += n_events - sum(counts.values())
    counts |= {signal: max(n_events // SIGNAL_SHARE, 1) for signal in SIGNALS}
    tasks = [
        task
        for process, n in counts.items()
        for task in make_tasks(
            process, background if process in FRACTIONS else f"{process}.h5", n, TASK_SIZE
        )
    ]
    files = [background, *(f"{signal}.h5" for signal in SIGNALS)]
    request = {"name": name, "n_events": n_events, "seed": seed, "settings": SETTINGS}

    def write(path: Path, file: str, parts: dict[str, list[Path]]) -> None:
        loaded = [load_part(part)["particles"] for group in parts.values() for part in group]
        rng = np.random.default_rng([seed, files.index(file)])
        _write(path, rng.permutation(np.concatenate(loaded)))

    rows_of = seeded(generate, seed)
    return produce(out_dir, request, files, tasks, rows_of, write, workers)


def _write(path: Path, particles: np.ndarray) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("Particles", data=particles, compression="gzip", compression_opts=1)
        file.create_dataset("Particles_Names", data=np.array(["Pt", "Eta", "Phi", "Class"], "S"))
        classes = ["MET_class_1", "Four_Ele_class_2", "Four_Mu_class_3", "Ten_Jet_class_4"]
        file.create_dataset("Particles_Classes", data=np.array(classes, "S"))


def generate(process: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """n events: "particles" (n, 19, 4) float32."""
    generator = pythia.make_pythia(SETTINGS[process])
    pythia.seed_pythia(generator, rng)
    return accept(lambda size: select(pythia.generate(generator, size), rng), n)


def select(events: pythia.Batch, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Events of a batch that pass the lepton trigger: "particles" (K, 19, 4) float32."""
    visible = events.visible
    lepton = np.isin(np.abs(visible.pdg), (11, 13))
    hard = lepton & (np.hypot(visible.px, visible.py) > PREFILTER_PT)
    tried = np.unique(visible.event[hard])
    if len(tried) == 0:
        return {"particles": np.zeros((0, N_OBJECTS, 4), np.float32)}
    kept = visible.select(np.isin(visible.event, tried))
    kept = kept._replace(event=np.searchsorted(tried, kept.event))
    objects = detector.respond(kept, cards.CMS, rng)
    found, out = trigger_objects(objects, len(tried))
    return {"particles": out[found]}


def trigger_objects(objects: detector.Objects, n_events: int) -> tuple[np.ndarray, np.ndarray]:
    """The 19 objects of each event.

    Returns:
        passed (n_events,) bool, a lepton above the trigger threshold; particles (n_events, 19, 4).
    """
    out = np.zeros((n_events, N_OBJECTS, 4), np.float32)
    isolated = isolated_leptons(objects)
    kinds = np.abs(objects.pdg)
    leptons = {pdg: isolated & (kinds == pdg) for pdg in MAX_LEPTON_ETA}
    for start, code, pdg in ((1, 2, 11), (1 + N_LEPTONS, 3, 13)):
        fields = [f[leptons[pdg]] for f in (objects.event, objects.pt, objects.eta, objects.phi)]
        _fill(out[:, start : start + N_LEPTONS], *fields, code)
    px, py = objects.pt * np.cos(objects.phi), objects.pt * np.sin(objects.phi)
    met_x = -np.bincount(objects.event, px, minlength=n_events)
    met_y = -np.bincount(objects.event, py, minlength=n_events)
    out[:, 0, 0], out[:, 0, 2], out[:, 0, 3] = np.hypot(met_x, met_y), np.arctan2(met_y, met_x), 1
    rest = ~isolated
    momenta = detector.four_momenta(objects)[rest]
    found = clustering.cluster(
        objects.event[rest],
        *momenta[:, 1:].T,
        momenta[:, 0],
        n_events,
        JET_RADIUS,
        MIN_JET_PT,
    )
    pt, eta, phi = pythia.kinematics(found.px, found.py, found.pz)
    inside = np.abs(eta) < MAX_JET_ETA
    fields = [f[inside] for f in (found.event, pt, eta, phi)]
    _fill(out[:, 1 + 2 * N_LEPTONS :], *fields, 4)
    return out[:, 1 : 1 + 2 * N_LEPTONS, 0].max(axis=1) > TRIGGER_PT, out


def isolated_leptons(objects: detector.Objects) -> np.ndarray:
    """(O,) bool: electron and muon tracks that pass pT, eta and isolation."""
    kinds = np.abs(objects.pdg)
    max_eta = np.select([kinds == pdg for pdg in MAX_LEPTON_ETA], MAX_LEPTON_ETA.values(), -1.0)
    candidate = np.flatnonzero(
        (objects.kind == detector.TRACK)
        & (objects.pt > MIN_LEPTON_PT)
        & (np.abs(objects.eta) < max_eta)
    )
    counts = np.bincount(objects.event, minlength=objects.event.max(initial=-1) + 1)
    first = np.cumsum(counts) - counts
    event = objects.event[candidate]
    other = clustering.ragged_index(first[event], counts[event])
    which = np.repeat(np.arange(len(candidate)), counts[event])
    lepton = candidate[which]
    near = (other != lepton) & (
        np.hypot(
            objects.eta[other] - objects.eta[lepton],
            wrap_phi(objects.phi[other] - objects.phi[lepton]),
        )
        < ISOLATION_RADIUS
    )
    around = np.bincount(which[near], objects.pt[other[near]], minlength=len(candidate))
    out = np.zeros(len(objects.pt), bool)
    out[candidate] = around < MAX_ISOLATION * objects.pt[candidate]
    return out


def _fill(block, event, pt, eta, phi, code):
    """Write the hardest objects of each event into (n_events, slots, 4)."""
    order = np.lexsort((-pt, event))
    event = event[order]
    counts = np.bincount(event, minlength=len(block))
    slot = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = slot < block.shape[1]
    rows = np.column_stack([pt, eta, phi, np.full(len(pt), code)])[order]
    block[event[kept], slot[kept]] = rows[kept]
