"""Which part makes the result? Densities x classifiers on a folder of prepared LHCO arrays.

    pip install zuko torch
    python -m benchmarks.swapped lhco_cathode --seeds=5 --results=runs/swapped

Densities: those of `benchmarks.template.WAYS`, and the MAF of sk_cathode (zuko: 15 blocks of 128,
128; Adam 1e-4, batch 256; the ten epochs of lowest validation loss in equal shares). Classifiers of
their samples against the data of the window: jaxad's ensemble of ten, and sk_cathode's network
(torch: 64, 64, 64; Adam 1e-3, batch 128, 100 epochs; the ten of lowest validation loss averaged),
each of three and their mean. The figures of merit are of the test events, with truth: they say what
is, and choose nothing. Then moments and quantiles of each density by mass, beside true background.
What was measured stays in the folder of results.
"""

import argparse
import contextlib
import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.template import WAYS, Run
from jaxad import data, training
from jaxad.configs import cathode as configs
from jaxad.data.dataset import Dataset, Rows, take
from jaxad.inputs import logit as scaling
from jaxad.methods import Bench, cathode
from jaxad.methods.stages import density, weak
from jaxad.metrics import auc, moments, sic_at_fpr

FPR = 0.01
FEATURES = ("mJ1", "dmJ", "tau21 of J1", "tau21 of J2")
MAF, MAF_EPOCHS, KEPT = "MAF", 40, 10
NETWORKS, NETWORK_EPOCHS, NETWORK_BATCH = 3, 100, 128
EDGES = (2.7, 2.9, 3.1, 3.3, 3.4, 3.5, 3.6, 3.7, 3.9, 4.1)
DRAWS = 20
"""Of a density, for each true background event of a mass bin."""
Draw = Callable[[np.ndarray, str], np.ndarray]


class Frame(NamedTuple):
    """Where likelihoods are compared.

    Attributes:
        scaler: standardised logits, fitted to the training sidebands.
        held_out: sideband rows that trained nothing, inside the range of the scaler.
    """

    scaler: scaling.LogitScaler
    held_out: Rows


def frame_of(folder: str, beside: Rows) -> Frame:
    """Of held-out rows `beside` the window, "x" and "m"."""
    scaler = scaling.fit_logit_scaler(np.load(Path(folder) / "outerdata_train.npy")[:, 1:-1])
    unit = (beside["x"] - np.asarray(scaler.low)) / np.asarray(scaler.high - scaler.low)
    inside = ((unit > scaler.eps) & (unit < 1 - scaler.eps)).all(axis=1)
    return Frame(scaler, {key: beside[key][inside] for key in ("x", "m")})


def settings(folder: str, way: str, seed: int) -> ConfigDict:
    """The run of configs/cathode.py with the density `way`."""
    config = configs.get_config()
    config.seed = seed
    config.data.source = folder
    known = config.to_dict()
    config.update_from_flattened_dict(
        {key: value for key, value in WAYS[way].items() if key.split(".")[0] in known}
    )
    return config


def ours(config: ConfigDict, events: Rows, frame: Frame) -> tuple[Draw, np.ndarray]:
    """Samples x (N, F) of masses (N,) by the density that `config` trains, and log p held out."""
    fitted = cathode.fit_background(config, events, Bench(training.fit, None, None))
    x, m = (frame.held_out[key] for key in ("x", "m"))
    log_p = density.log_prob(config, fitted, x, m) - scaling.log_jacobian(frame.scaler, x)
    return lambda m, stage: density.sample(config, fitted, stage, m), np.asarray(log_p)


def reference(folder: str, seed: int, frame: Frame) -> tuple[Draw, np.ndarray]:
    """The same of the MAF."""
    import torch

    from benchmarks import flow as flows

    def condition(m: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(((m[:, None] - mass.mean()) / mass.std()).astype(np.float32))

    mass = np.load(Path(folder) / "outerdata_train.npy")[:, 0]
    model = flows.Torch(flows.load(Path(folder)), MAF, seed)
    states = []
    for epoch in tqdm(range(MAF_EPOCHS), desc=MAF, unit="epoch", leave=False):
        model.epoch(epoch)
        state = {name: value.clone() for name, value in model.flow.state_dict().items()}
        states.append((model.nll(), epoch, state))
    kept = [state for *_, state in sorted(states, key=lambda one: one[:2])[:KEPT]]

    def draw(m: np.ndarray, stage: str) -> np.ndarray:
        del stage
        x = np.empty((len(m), len(FEATURES)), np.float32)
        order = np.random.default_rng(seed).permutation(len(m))
        for share, state in zip(np.array_split(order, KEPT), kept, strict=True):
            model.flow.load_state_dict(state)
            with torch.no_grad():
                x[share] = scaling.inverse(frame.scaler, model.draw(condition(m[share])).numpy())
        return x

    z = torch.from_numpy(np.array(scaling.forward(frame.scaler, frame.held_out["x"])))
    log_p = []
    for state in kept:
        model.flow.load_state_dict(state)
        with torch.no_grad():
            log_p.append(model.log_prob(z, condition(frame.held_out["m"])).numpy())
    return draw, np.asarray(density.log_mean(np.stack(log_p)))


def network(region: Rows, samples: np.ndarray, x: np.ndarray, seed: int) -> np.ndarray:
    """Scores (N,) of sk_cathode's network for events `x`."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    mean, spread = region["x"].mean(axis=0), region["x"].std(axis=0)
    of_val = rng.random(len(samples)) < 0.25
    parts = []
    for part, drawn in enumerate((samples[~of_val], samples[of_val])):
        real = region["x"][region["part"] == part]
        y = np.repeat([1, 0], [len(real), len(drawn)])
        weight = np.where(y, len(y) / len(real) / 2, len(y) / len(drawn) / 2)
        rows = (np.concatenate([real, drawn]) - mean) / spread
        parts.append([torch.tensor(a, dtype=torch.float32) for a in (rows, y, weight)])
    (rows, y, weight), val = parts
    test = torch.tensor((x - mean) / spread, dtype=torch.float32)
    widths = (rows.shape[1], 64, 64, 64)
    layers = [
        layer
        for n_in, n_out in itertools.pairwise(widths)
        for layer in (torch.nn.Linear(n_in, n_out), torch.nn.ReLU())
    ]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    epochs = []
    for _ in range(NETWORK_EPOCHS):
        order = torch.from_numpy(rng.permutation(len(rows)))
        for batch in order.split(NETWORK_BATCH):
            optimizer.zero_grad()
            entropy(model(rows[batch])[:, 0], y[batch], weight[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = float(entropy(model(val[0])[:, 0], val[1], val[2]))
            epochs.append((loss, model(test)[:, 0].sigmoid().numpy()))
    best = sorted(epochs, key=lambda one: one[0])[:KEPT]
    return np.mean([score for _, score in best], axis=0)


def merit(background: np.ndarray, signal: np.ndarray) -> list[float]:
    """AUC, and SIC at `FPR`."""
    return [auc(background, signal), sic_at_fpr(background, signal, FPR)["value"]]


def by_mass(draw: Draw, truth: Rows, rng: np.random.Generator) -> list[dict]:
    """Moments of true background, their errors and those of the density, in bins of mass."""
    found = []
    for low, high in itertools.pairwise(EDGES):
        chosen = take(truth, (truth["m"] > low) & (truth["m"] < high))
        x = draw(np.tile(chosen["m"], DRAWS), f"moments {low}")
        found.append(
            {
                "true": moments.moments(chosen["x"].T).T.tolist(),
                "error": [moments.moment_errors(v, rng).tolist() for v in chosen["x"].T],
                "density": moments.moments(x.T).T.tolist(),
            }
        )
    return found


def one_run(config: ConfigDict, way: str, dataset: Dataset) -> dict:
    """Everything of one density, with the seed of `config`."""
    folder, seed = config.data.source, config.seed
    events = weak.data_events(config, dataset)
    beside = weak.events(config, dataset, dataset.extra["sideband"])
    beside = take(beside, (beside["label"] == 0) & ~beside["inside"])
    frame = frame_of(folder, beside)
    draw, log_p = reference(folder, seed, frame) if way == MAF else ours(config, events, frame)
    region = take(events, events["inside"])
    test = weak.events(config, dataset, dataset.test)
    signal = weak.events(config, dataset, next(iter(dataset.signals.values())))
    background, signal = (take(rows, rows["inside"]) for rows in (test, signal))
    rng = np.random.default_rng(seed)
    n = round(config.method.oversampling * len(region["m"]))
    masses = density.sample_mass(region["m"], n, rng, config.method.bandwidth)
    samples = {"x": draw(masses, "template"), "m": masses}
    fitted = weak.fit(config, Bench(training.fit, None, None), region, samples)
    scores = [weak.score(config, fitted, r["x"], r["raw"])[0] for r in (background, signal)]
    found = {"nll": -float(log_p.mean()), "ensemble": merit(*map(np.asarray, scores))}
    x = np.concatenate([background["x"], signal["x"]])
    each = [network(region, samples["x"], x, NETWORKS * seed + i) for i in range(NETWORKS)]
    split = [np.split(score, [len(background["x"])]) for score in [*each, np.mean(each, axis=0)]]
    found["networks"] = [merit(*pair) for pair in split]
    truth = {key: np.concatenate([background[key], beside[key]]) for key in ("x", "m")}
    return found | {"moments": by_mass(draw, truth, rng)}


def shown(values: Sequence[float], digits: int) -> str:
    """Median and range."""
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def tables(runs: dict[str, list[dict]]) -> list[str]:
    """Rows of the tables, from the runs of each density.

    Merits of all parts, moments and quantiles of every feature by mass, and pulls in the window.
    """
    names = ("ensemble of ten", "network, each", "networks, mean of three")
    rows = ["| density | held-out NLL | " + " | ".join(f"{n}: AUC, SIC" for n in names) + " |"]
    rows.append("|---" * 5 + "|")
    for way, seeds in runs.items():
        groups = (
            [one["ensemble"] for one in seeds],
            [pair for one in seeds for pair in one["networks"][:-1]],
            [one["networks"][-1] for one in seeds],
        )
        cells = [f"{shown(a, 3)}, {shown(s, 2)}" for a, s in (zip(*g, strict=True) for g in groups)]
        nll = shown([one["nll"] for one in seeds], 4)
        rows.append(f"| {way} | {nll} | " + " | ".join(cells) + " |")
    for feature in range(len(FEATURES)):
        for moment in range(len(moments.NAMES)):
            rows += ["", *_by_mass_rows(runs, feature, moment)]
    rows += ["", "| pulls of the window's bins | " + " | ".join(moments.NAMES) + " |"]
    rows.append("|---" * (1 + len(moments.NAMES)) + "|")
    inside = [i for i, low in enumerate(EDGES[:-1]) if 3.3 <= low < 3.7]
    for way, seeds in runs.items():
        pulls = np.array([[_pulls(one["moments"][i]) for i in inside] for one in seeds])
        for f, feature in enumerate(FEATURES):
            cells = [f"{v:+.1f}" for v in pulls.mean(axis=(0, 1))[f]]
            rows.append(f"| {way}, {feature} | " + " | ".join(cells) + " |")
    return rows


def _by_mass_rows(runs: dict[str, list[dict]], feature: int, moment: int) -> list[str]:
    """A moment of a feature in bins of mass: true background with its error, and the densities."""
    name, unit = f"{moments.NAMES[moment]} of {FEATURES[feature]}", "" if feature > 1 else " [TeV]"
    rows = [f"| {name}{unit} at mjj [TeV] | true background | " + " | ".join(runs) + " |"]
    rows.append("|---" * (2 + len(runs)) + "|")
    truths = next(iter(runs.values()))[0]["moments"]
    for i, (low, high) in enumerate(itertools.pairwise(EDGES)):
        true, error = (truths[i][key][feature][moment] for key in ("true", "error"))
        cells = [
            shown([one["moments"][i]["density"][feature][moment] for one in seeds], 4)
            for seeds in runs.values()
        ]
        rows.append(f"| {low}-{high} | {true:.4f} ± {error:.4f} | " + " | ".join(cells) + " |")
    return rows


def _pulls(one: dict) -> np.ndarray:
    """(density - truth) / error (F, moments)."""
    true, error, of = (np.array(one[key]) for key in ("true", "error", "density"))
    return (of - true) / error


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="of arrays, docs/cathode.md")
    parser.add_argument("--densities", nargs="+", default=["before", "default", MAF])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("runs/swapped"))
    options = parser.parse_args(argv)
    options.results.mkdir(parents=True, exist_ok=True)
    dataset = data.load(settings(options.folder, "default", 0).data)
    runs: dict[str, list[dict]] = {}
    for way in options.densities:
        for seed in tqdm(range(options.seeds), desc=way, unit="seed", leave=False):
            config = settings(options.folder, way if way in WAYS else "default", seed)
            one = Run(options.results / f"{way.replace(' ', '_')}-{seed}.json", config)
            if one.found() is None:
                with contextlib.redirect_stdout(io.StringIO()), threadpool_limits(1):
                    one.keep(one_run(config, way, dataset))
            runs.setdefault(way, []).append(one.found())
    print("\n".join(tables(runs)))


if __name__ == "__main__":
    main()
