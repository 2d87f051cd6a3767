"""Event images of QCD, semi-visible jets (SVJ) and soft unclustered energy patterns (SUEP), in the
layout published with Anzalone et al. (arXiv:2306.12955); read back by `jaxad.data.codae`.

`train/` holds QCD, `test/` QCD, SUEP with mediators of 125 to 1000 GeV, and SVJ with Z' of 2.1 to
4.1 TeV: npz files of images (N, 72, 58, 3) in (phi, eta), channels (tracker, ECAL, HCAL) transverse
energy [GeV], with `labels`, `masses` (index) and `n_tracks`.

13 TeV, HT > 500 GeV of anti-kT 0.4 jets above 30 GeV with |eta| < 2.5, CMS card. Calorimeters see
the non-diffractive part of 40 pile-up interactions on average, drawn from a fixed pool and turned
by a random phi; HT and tracks, filled where they hit the calorimeters, are those of the hard event.
QCD is generated with a pT bias whose weights are left out, as in the original. Light mediators of
SUEP recoil against jets, else HT hardly ever passes.
"""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from jaxad.errors import UserError
from jaxad.observables import clustering
from jaxad.observables.momenta import wrap_phi
from jaxad.simulation import cards, dark_showers, detector, pythia
from jaxad.simulation.produce import accept, concatenate, produce
from jaxad.storage.atomic import named
from jaxad.tasks import load_part, make_tasks, seeded

N_PHI, N_ETA, MAX_ETA = 72, 58, 2.5
N_CELLS_ETA = 286  # upstream cells in eta, five of them a pixel, two empty ones before the first
NON_DIFFRACTIVE = 0.72  # of inelastic collisions at 13 TeV in Pythia 8; the others leave little
PILE_UP, N_POOL = 40 * NON_DIFFRACTIVE, 500
MIN_HT, JET_RADIUS, MIN_JET_PT = 500.0, 0.4, 30.0
TASK_SIZE = 100
SIGNAL_SHARE = 10  # a signal has one in so many of the QCD events
TEST_SHARE = 3
MEDIATOR, DARK_MATTER = 25, (51, 53)

_COMMON = ("Beams:eCM = 13000.",)
_SUEP_RECOIL = {125: 250, 200: 200, 300: 150, 400: 100, 700: 0, 1000: 0}  # GeV, pTHatMin
_SVJ_MASSES = (2100, 3100, 4100)


def _svj(mass: int) -> tuple[str, ...]:
    """Z' to dark quarks of an SU(2) with two flavours; 30 % of the dark mesons are invisible."""
    invisible, dark = 0.3, 20.0
    scalar = (f"0 {DARK_MATTER[0]} -{DARK_MATTER[0]}", f"1 {1 - invisible} 91 5 -5")
    vector = (f"0 {DARK_MATTER[1]} -{DARK_MATTER[1]}",)
    quarks = [f"1 {(1 - invisible) / 5:g} 91 {q} -{q}" for q in range(1, 6)]
    lines = [
        "HiddenValley:ffbar2Zv = on",
        f"4900023:m0 = {mass}.",
        f"4900023:mMin = {mass - 100}.",
        f"4900023:mMax = {mass + 100}.",
        "4900023:mWidth = 0.01",
        "4900023:doForceWidth = on",
        "4900023:oneChannel = 1 0.982 102 4900101 -4900101",
        *(f"4900023:addChannel = 1 0.003 102 {q} -{q}" for q in range(1, 7)),
        "4900101:m0 = 10.",
        "HiddenValley:Ngauge = 2",
        "HiddenValley:nFlav = 2",
        "HiddenValley:spinFv = 0",
        "HiddenValley:FSR = on",
        "HiddenValley:fragment = on",
        "HiddenValley:alphaOrder = 1",
        "HiddenValley:setLambda = on",
        "HiddenValley:Lambda = 17.6",
        "HiddenValley:pTminFSR = 19.3",
    ]
    lines += [f"{pdg}:m0 = 9.99" for pdg in DARK_MATTER]
    for meson, channels in (
        (4900111, scalar[1:]),
        (4900211, scalar[1:]),
        (4900113, quarks),
        (4900213, quarks),
    ):
        stable = vector[0] if channels is quarks else scalar[0]
        lines.append(f"{meson}:m0 = {dark}")
        lines.append(f"{meson}:oneChannel = 1 {invisible} {stable}")
        lines += [f"{meson}:addChannel = {channel}" for channel in channels]
    return (*_COMMON, *lines)


def _suep(mass: int) -> tuple[str, ...]:
    """A Standard Model Higgs of another mass, left undecayed, recoiling where it is light."""
    recoil = _SUEP_RECOIL[mass]
    production = (
        ("HiggsSM:gg2Hg(l:t) = on", "HiggsSM:qg2Hq(l:t) = on", f"PhaseSpace:pTHatMin = {recoil}.")
        if recoil
        else ("HiggsSM:gg2H = on",)
    )
    return (*_COMMON, *production, f"{MEDIATOR}:m0 = {mass}.", f"{MEDIATOR}:mayDecay = off")


SETTINGS = {
    "qcd": (
        *_COMMON,
        "HardQCD:all = on",
        "PhaseSpace:pTHatMin = 170.",
        "PhaseSpace:bias2Selection = on",
        "PhaseSpace:bias2SelectionPow = 4.",
        "PhaseSpace:bias2SelectionRef = 170.",
    ),
    **{f"suep_{mass}": _suep(mass) for mass in _SUEP_RECOIL},
    **{f"svj_{mass}": _svj(mass) for mass in _SVJ_MASSES},
}
MINIMUM_BIAS = (*_COMMON, "SoftQCD:nonDiffractive = on")


def _file_of(process: str) -> str:
    kind, _, mass = process.partition("_")
    return f"test/{kind}_gensim_h{mass}_0.npz" if kind == "suep" else f"test/{kind}_{mass}_0.npz"


FILES = {
    "train/qcd_gensim_0.npz": "qcd",
    "test/qcd_gensim_1.npz": "qcd",
    **{_file_of(process): process for process in SETTINGS if process != "qcd"},
}
_CODES = {
    "qcd": (0, 0),
    **{f"suep_{mass}": (1, i) for i, mass in enumerate(_SUEP_RECOIL, start=1)},
    **{f"svj_{mass}": (2, i) for i, mass in enumerate(_SVJ_MASSES, start=5)},
}
"""(label, mass index) as published."""


def simulate(
    name: str, out_dir: str | os.PathLike, n_events: int, seed: int, workers: int | str | None
) -> list[Path]:
    """Write n_events QCD images, a third of them to test on, and a tenth as many of each signal."""
    if n_events < TEST_SHARE:
        raise UserError(f"{name}: n_events must be at least {TEST_SHARE}, not {n_events}")
    n_test = n_events // TEST_SHARE
    counts = dict.fromkeys(FILES, max(n_events // SIGNAL_SHARE, 1))
    counts |= {"train/qcd_gensim_0.npz": n_events - n_test, "test/qcd_gensim_1.npz": n_test}
    return produced(out_dir, counts, n_events, seed, workers)


def produced(
    out_dir: str | os.PathLike,
    counts: dict[str, int],
    size: int | dict[str, int],
    seed: int,
    workers: int | str | None,
) -> list[Path]:
    """Write `counts` events into each of these of `FILES`; the summary has `size` as "n_events"."""
    tasks = [
        task
        for file, n in counts.items()
        for task in make_tasks(FILES[file], Path(file).name, n, TASK_SIZE)
    ]
    request = {
        "name": "codae",
        "version": 2,
        "n_events": size,
        "seed": seed,
        "settings": SETTINGS | {"pile-up": MINIMUM_BIAS},
    }
    for part in ("train", "test"):
        with named(Path(out_dir) / part):
            (Path(out_dir) / part).mkdir(parents=True, exist_ok=True)
    rows_of = seeded(generate, seed)
    return produce(out_dir, request, list(counts), tasks, rows_of, _write, workers)


def _write(path: Path, file: str, parts: dict[str, list[Path]]) -> None:
    (process, paths), *_ = parts.items()
    loaded = [load_part(part) for part in paths]
    rows = concatenate(loaded, sum(len(rows["n_tracks"]) for rows in loaded))
    codes = zip(("labels", "masses"), _CODES[process], strict=True)
    rows |= {key: np.full(len(rows["n_tracks"]), code, np.float32) for key, code in codes}
    with open(path, "wb") as stream:
        np.savez_compressed(stream, **rows)


def generate(process: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """n events: "images" (n, 72, 58, 3) float32 [GeV] and "n_tracks" (n, 1) float32."""
    generator = pythia.make_pythia(SETTINGS[process])
    pool = pile_up_pool(MAX_ETA + 0.1)
    pythia.seed_pythia(generator, rng)

    def batch(size: int) -> dict[str, np.ndarray]:
        events = pythia.generate(generator, size, (*pythia.INVISIBLE, *DARK_MATTER))
        visible = with_suep(events, rng) if process.startswith("suep") else events.visible
        return select(visible, events.n_events, pool, rng)

    return accept(batch, n, batch_size=100)


def with_suep(events: pythia.Batch, rng: np.random.Generator) -> pythia.Particles:
    """Visible particles with each mediator replaced by its dark shower."""
    is_mediator = events.visible.pdg == MEDIATOR
    mediator = events.visible.select(is_mediator)
    momenta = np.stack([mediator.e, mediator.px, mediator.py, mediator.pz], axis=1)
    shower = dark_showers.suep(momenta, rng)
    shower = shower._replace(event=mediator.event[shower.event])
    rest = events.visible.select(~is_mediator)
    joined = pythia.Particles(*(np.concatenate(f) for f in zip(rest, shower, strict=True)))
    return joined.select(np.argsort(joined.event, kind="stable"))


def select(
    visible: pythia.Particles, n_events: int, pool: dict[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Images of the events that pass HT > 500 GeV."""
    objects = detector.respond(visible, cards.CMS, rng)
    momenta = detector.four_momenta(objects)
    found = clustering.cluster(
        objects.event, *momenta[:, 1:].T, momenta[:, 0], n_events, JET_RADIUS, MIN_JET_PT
    )
    pt, eta, _ = pythia.kinematics(found.px, found.py, found.pz)
    ht = np.bincount(found.event, pt * (np.abs(eta) < MAX_ETA), minlength=n_events)
    passed = np.flatnonzero(ht > MIN_HT)
    new = np.full(n_events, -1)
    new[passed] = np.arange(len(passed))

    track = (objects.kind == detector.TRACK) & (new[objects.event] >= 0)
    track &= np.abs(objects.eta) < MAX_ETA
    tracks = detector.Objects(*(field[track] for field in objects))
    event = new[tracks.event]
    images = np.zeros((len(passed), N_PHI, N_ETA, 3), np.float32)
    _fill(images, 0, event, tracks.surface_eta, tracks.surface_phi, tracks.pt)

    hard = deposits(visible.select(new[visible.event] >= 0))
    hard["event"] = new[hard["event"]]
    piled = pile_up(pool, len(passed), rng)
    both = {key: np.concatenate([hard[key], piled[key]]) for key in hard}
    for channel, (calorimeter, kind) in enumerate(
        ((cards.CMS.ecal, "ecal"), (cards.CMS.hcal, "hcal")), start=1
    ):
        places = (both["event"], both["eta"], both["phi"], both[kind])
        event, eta, phi, energy = detector.towers(calorimeter, *places, rng)
        _fill(images, channel, event, eta, phi, energy / np.cosh(eta))
    n_tracks = np.bincount(new[tracks.event], minlength=len(passed))
    return {"images": images, "n_tracks": n_tracks[:, None].astype(np.float32)}


def _fill(images, channel, event, eta, phi, energy):
    """Add energies to the pixels of one channel, |eta| < 2.5 only."""
    inside = np.abs(eta) < MAX_ETA
    cell = ((eta[inside] + MAX_ETA) * (N_CELLS_ETA / (2 * MAX_ETA))).astype(int)
    row = ((phi[inside] + np.pi) * (N_PHI / (2 * np.pi))).astype(int) % N_PHI
    np.add.at(images, (event[inside], row, (cell + 2) // 5, channel), energy[inside])


def deposits(particles: pythia.Particles) -> dict[str, np.ndarray]:
    """What particles leave at the calorimeters: event, eta, phi, ecal and hcal [GeV], all (P,)."""
    pt, eta, phi = pythia.kinematics(particles.px, particles.py, particles.pz)
    eta, phi = detector.propagate(pt, eta, phi, particles.charge, cards.CMS)
    ecal, hcal = detector.energy_fractions(particles.pdg)
    return {
        "event": particles.event,
        "eta": eta,
        "phi": phi,
        "ecal": particles.e * ecal,
        "hcal": particles.e * hcal,
    }


@lru_cache(maxsize=2)
def pile_up_pool(max_eta: float) -> dict[str, np.ndarray]:
    """Deposits below `max_eta` of the same minimum-bias events in every process.

    Those of `deposits`, and the number "counts" and first "starts" (500,) of each event.
    """
    generator = pythia.make_pythia(MINIMUM_BIAS)
    pythia.seed_pythia(generator, np.random.default_rng(0))
    pool = deposits(pythia.generate(generator, N_POOL).visible)
    near = np.abs(pool["eta"]) < max_eta
    pool = {key: values[near] for key, values in pool.items()}
    counts = np.bincount(pool["event"], minlength=N_POOL)
    return pool | {"counts": counts, "starts": np.cumsum(counts) - counts}


def pile_up(
    pool: dict[str, np.ndarray], n_events: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Deposits of the pile-up of each of n_events, every interaction turned by a random phi."""
    number = rng.poisson(PILE_UP, n_events)
    drawn = rng.integers(0, N_POOL, number.sum())
    counts = pool["counts"][drawn]
    index = clustering.ragged_index(pool["starts"][drawn], counts)
    turn = np.repeat(rng.uniform(0, 2 * np.pi, len(drawn)), counts)
    return {
        "event": np.repeat(np.repeat(np.arange(n_events), number), counts),
        "eta": pool["eta"][index],
        "phi": wrap_phi(pool["phi"][index] + turn),
        "ecal": pool["ecal"][index],
        "hcal": pool["hcal"][index],
    }
