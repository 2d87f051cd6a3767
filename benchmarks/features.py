"""What more features are worth to a weakly supervised search, and what useless ones cost.

    python benchmarks/features.py CACHE --plot docs/figures/features.png

Three signals of two, three and four prongs a jet, against QCD dijets in one mass window, and an
idealised template: fresh background of the same simulation. Data, template and test share no event;
the test trains nothing and chooses nothing.
"""

import argparse
import contextlib
import io
import itertools
import json
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from ml_collections import ConfigDict
from threadpoolctl import threadpool_limits

from jaxad import training
from jaxad.methods import Bench
from jaxad.methods.stages import weak
from jaxad.metrics import sic
from jaxad.observables import clustering
from jaxad.observables.efp import compute_efps
from jaxad.observables.graphs import standard_graphs
from jaxad.simulation import detector, lhco, pythia
from jaxad.simulation.produce import accept, produce
from jaxad.tasks import load_part, make_tasks, seeded

WINDOW = (3300.0, 3700.0)
ORDERS, BETAS = (1, 2, 3, 4, 5), (1.0, 0.5, 2.0)
N_PARTICLES, TASK_SIZE = 100, 250

_COMMON = lhco.SETTINGS["qcd"][:2]
_HADRONIC_W = ("24:onMode = off", "24:onIfAny = 1 2 3 4 5")


def _resonance(number: int) -> tuple[str, ...]:
    changes = "m0 = 3500.", "doForceWidth = on", "mWidth = 60.", "mMin = 2500.", "mMax = 4500."
    return tuple(f"{number}:{change}" for change in changes)


def _scalar(number: int, *channels: int) -> tuple[str, ...]:
    changes = "m0 = 400.", "mMin = 300.", "mMax = 500.", "doForceWidth = on", "mWidth = 1."
    decay = f"{number}:oneChannel = 1 1.0 100 {' '.join(map(str, channels))}"
    return (*(f"{number}:{change}" for change in changes), decay)


SETTINGS = {
    "qcd": (*lhco.SETTINGS["qcd"], "PhaseSpace:mHatMin = 2800.", "PhaseSpace:mHatMax = 5000."),
    "two prongs": lhco.SETTINGS["signal"],
    "three prongs": (
        *_COMMON,
        "NewGaugeBoson:ffbar2gmZZprime = on",
        "Zprime:gmZmode = 3",
        *_resonance(32),
        "32:onMode = off",
        "32:onIfAny = 6",
        *_HADRONIC_W,
    ),
    "four prongs": (
        *_COMMON,
        "Higgs:useBSM = on",
        "NewGaugeBoson:ffbar2Wprime = on",
        *_resonance(34),
        "34:oneChannel = 1 1.0 100 37 35",
        *_scalar(37, 24, 25),
        *_scalar(35, 25, 25),
        *_HADRONIC_W,
        "25:onMode = off",
        "25:onIfAny = 5",
    ),
}
"""Of the W'(3500) -> X(500) Y(100) of the LHC Olympics, a Z'(3500) to two tops, and a W'(3500) to
two scalars of 400 GeV, which end as W h and h h, all hadronic."""
SIGNALS = tuple(SETTINGS)[1:]
COUNTS = {"qcd": 13_000} | dict.fromkeys(SIGNALS, 1_000)
N_TEST = {"qcd": 5_000, "signal": 700}
N_DATA, N_SIGNAL, SEEDS = 3_000, 100, 3
"""Events of background and signal in the data of a seed; what is left of background is template."""
FRACTION = 0.3
SETS = {
    "four": ("masses", "tau21", 0),
    "+ tau32 (6)": ("masses", "tau21", "tau32", 0),
    "tau_N (12)": ("masses", "tau", 0),
    "tau_N^beta (32)": ("masses", "tau beta", 0),
    "four + EFPs (20)": ("masses", "tau21", "efp", 0),
    "all (48)": ("masses", "tau beta", "efp", 0),
    "four + 10": ("masses", "tau21", 10),
    "four + 30": ("masses", "tau21", 30),
    "four + 50": ("masses", "tau21", 50),
}
"""Blocks of `features`, and how many columns of Gaussian noise."""


def simulated(cache: Path) -> dict[str, dict[str, np.ndarray]]:
    """Events in the window by process, see `generate`; made once in a folder."""
    files = {process: f"{process.replace(' ', '_')}.npz" for process in SETTINGS}
    request = {"name": "features", "n_events": COUNTS, "seed": 0, "settings": SETTINGS}
    tasks = [
        task
        for process, file in files.items()
        for task in make_tasks(process, file, COUNTS[process], TASK_SIZE)
    ]

    def write(path: Path, file: str, parts: dict[str, list[Path]]) -> None:
        (paths,) = parts.values()
        loaded = [load_part(part) for part in paths]
        with open(path, "wb") as out:
            np.savez(out, **{k: np.concatenate([part[k] for part in loaded]) for k in loaded[0]})

    paths = produce(cache, request, [*files.values()], tasks, seeded(generate, 0), write, None)
    return {process: dict(np.load(path)) for process, path in zip(files, paths, strict=True)}


def generate(process: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """n dijets in the window, the lighter jet first: "mass" (n, 2) [GeV], "tau" (n, 2, betas,
    orders), "particles" (n, 2, 100, 3) (pT [GeV], eta, phi), the hardest ones."""
    generator = pythia.make_pythia(SETTINGS[process])
    pythia.seed_pythia(generator, rng)

    def batch(size: int) -> dict[str, np.ndarray]:
        events = pythia.generate(generator, size)
        objects = detector.respond(events.visible, lhco.CARD, rng)
        return dijets(objects.event, detector.four_momenta(objects), events.n_events)

    return accept(batch, n)


def dijets(event: np.ndarray, momenta: np.ndarray, n_events: int) -> dict[str, np.ndarray]:
    """Selected as the LHC Olympics are, and by the window."""
    jets = lhco.dijets(event, momenta, n_events, lhco.MIN_LEADING_PT)
    total = np.stack([jets.e, jets.px, jets.py, jets.pz], axis=1).reshape(-1, 2, 4).sum(axis=1)
    mjj = np.sqrt(total[:, 0] ** 2 - np.square(total[:, 1:]).sum(axis=1))
    inside = (WINDOW[0] < mjj) & (mjj < WINDOW[1])
    jets = jets.select(np.repeat(inside, 2))
    members, counts = momenta[jets.members], np.diff(jets.offsets)
    tau = [
        clustering.n_subjettiness(
            *members[:, 1:].T, members[:, 0], counts, lhco.RADIUS, ORDERS, "KT_Axes", beta
        )
        for beta in BETAS
    ]
    p4 = clustering.padded(jets, momenta, N_PARTICLES).reshape(-1, 2, N_PARTICLES, 4)
    pt, eta, phi = pythia.kinematics(*np.moveaxis(p4[..., 1:], -1, 0))
    rows = {
        "mass": jets.mass.reshape(-1, 2),
        "tau": np.stack(tau, axis=1).reshape(-1, 2, len(BETAS), len(ORDERS)),
        "particles": np.stack([pt, np.where(pt > 0, eta, 0), phi], axis=-1),
    }
    order = np.argsort(rows["mass"], axis=1)
    return {
        name: np.stack([values[i, o] for i, o in enumerate(order)]).astype(np.float32)
        if len(order)
        else values.astype(np.float32)
        for name, values in rows.items()
    }


def features(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Named blocks (n, some) of features of events."""
    mass, tau = rows["mass"], rows["tau"]
    first = np.maximum(tau[:, :, 0], 1e-9)
    flat = rows["particles"].reshape(-1, N_PARTICLES, 3)
    # Polynomials span decades: networks see their logarithms, to trees it is the same.
    efps = np.log10(np.asarray(compute_efps(standard_graphs(3), flat)) + 1e-6)
    return {
        "masses": np.column_stack([mass[:, 0], mass[:, 1] - mass[:, 0]]),
        "tau21": first[..., 1] / first[..., 0],
        "tau32": first[..., 2] / first[..., 1],
        "tau": tau[:, :, 0].reshape(len(tau), -1),
        "tau beta": tau.reshape(len(tau), -1),
        "efp": efps.reshape(len(tau), -1),
    }


def columns(blocks: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> np.ndarray:
    """The features (n, F) float32 of a set of `SETS`."""
    *blocks_of, n_noise = SETS[name]
    chosen = [blocks[block] for block in blocks_of]
    noise = rng.normal(size=(len(chosen[0]), n_noise))
    return np.column_stack([*chosen, noise]).astype(np.float32)


def trained(events: dict[str, np.ndarray], how: ConfigDict) -> list[tuple[str, float, float]]:
    """(signal, max SIC, SIC at FPR 1e-2) of every seed and signal, all of them runs of one fit, by
    the features (n, F) of every process."""
    test, pool = np.split(events["qcd"], [N_TEST["qcd"]])
    data, template = [], []
    for seed in range(SEEDS):
        for i, signal in enumerate(SIGNALS):
            rng = np.random.default_rng([seed, i])
            order = rng.permutation(len(pool))
            spare = events[signal][N_TEST["signal"] :]
            injected = spare[rng.permutation(len(spare))[:N_SIGNAL]]
            data.append(np.concatenate([pool[order[:N_DATA]], injected]))
            template.append(pool[order[N_DATA:]])
    rows = [
        {"x": np.concatenate(parts), "run": np.repeat(np.arange(len(parts)), len(parts[0]))}
        for parts in (data, template)
    ]
    how.classifier.runs = len(data)
    with contextlib.redirect_stdout(io.StringIO()), threadpool_limits(1):
        fitted = weak.fit(how, Bench(training.fit, None, None), *rows)
    score = jax.jit(lambda x: weak.score(how, fitted, x, x))
    background, found = np.asarray(score(test)), []
    for run, signal in enumerate(SIGNALS * SEEDS):
        values = np.asarray(score(events[signal][: N_TEST["signal"]]))[run]
        best = sic.max_sic(background[run], values)["max_sic"]
        found.append((signal, best, sic.sic_at_fpr(background[run], values, 1e-2)["value"]))
    return found


def case(
    blocks: dict, name: str, kind: str, fraction: float, members: int, folder: Path
) -> list[tuple[str, float, float]]:
    """Results of `trained`, kept in a folder."""
    path = folder / f"{name} {kind} {fraction:g} {members}.json".replace(" ", "_")
    if not path.exists():
        settings = weak.get_config(
            name=kind, members=members, hidden=(32, 32), feature_fraction=fraction
        )
        train = weak.train_config(epochs=20, batch_size=256, learning_rate=3e-3, keep_best=5)
        how = ConfigDict({"seed": 0, "classifier": settings, "train": train})
        rng = np.random.default_rng(5)
        table = {process: columns(blocks[process], name, rng) for process in SETTINGS}
        path.write_text(json.dumps(trained(table, how)), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def summary(found: list, signal: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median, lowest and highest over the seeds, each of (max SIC, SIC at FPR 1e-2)."""
    values = np.array([row[1:] for row in found if row[0] == signal], float)
    return np.median(values, axis=0), values.min(axis=0), values.max(axis=0)


def table(results: dict) -> str:
    """Markdown, a line a case: max SIC, and SIC at FPR 1e-2, of every signal."""
    lines = ["| features | classifier | " + " | ".join(SIGNALS) + " |", "|---" * 5 + "|"]
    for (name, kind, fraction), found in results.items():
        cells = []
        for signal in SIGNALS:
            middle, low, high = (v.round(1) for v in summary(found, signal))
            cells.append(f"{middle[0]} ({low[0]}-{high[0]}), {middle[1]}")
        what = kind if fraction == 1 else f"{kind}, {fraction:g} of them a member"
        lines.append(f"| {name} | {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: dict, path: Path) -> None:
    """Max SIC of sets of features, and against columns of noise, a panel a signal."""
    groups = [[n for n in SETS if SETS[n][-1] == 0], ["four", *(n for n in SETS if SETS[n][-1])]]
    figure, axes = plt.subplots(2, 3, figsize=(9, 6), sharey="col", layout="constrained")
    colors, shift = {"network": "tab:blue", "trees": "tab:orange"}, (-0.24, -0.08, 0.08, 0.24)
    kinds = [(kind, fraction) for kind in colors for fraction in (1.0, FRACTION)]
    for (i, names), (j, signal) in itertools.product(enumerate(groups), enumerate(SIGNALS)):
        for (kind, fraction), aside in zip(kinds, shift, strict=True):
            there = [n for n in names if (n, kind, fraction) in results]
            points = [summary(results[n, kind, fraction], signal) for n in there]
            middle, low, high = np.array(points)[..., 0].T
            axes[i, j].errorbar(
                [names.index(n) + aside for n in there], middle, [middle - low, high - middle],
                color=colors[kind], marker="o", linestyle=":" if i else "", markersize=5,
                fillstyle="full" if fraction == 1 else "none", linewidth=1,
                label=kind if fraction == 1 else f"{kind}, each member {fraction:.0%} of them",
            )  # fmt: skip
        axes[i, j].set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
        axes[i, j].set(ylim=(0, None), title=signal if i == 0 else f"{signal}, with noise")
    axes[1, 1].legend(fontsize=8)
    figure.supylabel("max SIC")
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="folder of the simulated events and results")
    parser.add_argument("--members", type=int, default=6, help="classifiers of an ensemble")
    parser.add_argument("--sets", nargs="*", default=[*SETS])
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    events = simulated(arguments.cache / "events")
    blocks = {process: features(rows) for process, rows in events.items()}
    (folder := arguments.cache / "results").mkdir(exist_ok=True)
    results = {}
    for name in arguments.sets:
        for kind in ("network", "trees"):
            for fraction in (1.0, FRACTION)[: 1 if name == "four" else 2]:
                key = name, kind, fraction
                results[key] = case(blocks, *key, arguments.members, folder)
    print(table(results))
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
