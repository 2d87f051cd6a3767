"""Does anything find dark showers that counting hits does not? Scores of a folder of event images.

    python benchmarks/dark_showers.py FOLDER --run=runs/codae
    python benchmarks/dark_showers.py FOLDER --simulate=SUEP_125,SUEP_200,SVJ_3100 --events=5000

FOLDER holds train and test as configs/codae.py reads them; --simulate makes it first. Trivial
scores, distances and a normalised autoencoder on global numbers of the images (of each channel lit
pixels, sum, spread and largest share, and the number of tracks), and the scores of trained runs.
Prints a table in Markdown: AUC with its error (DeLong), the rank correlation with the hits of QCD,
and the difference from the best trivial score of each signal with its error by paired bootstrap; **
where it is above `no_claim` and two errors.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from jaxad import data, methods
from jaxad.configs import codae, jets_best, normalised
from jaxad.data import image_sums
from jaxad.data.dataset import Dataset, Rows
from jaxad.data.layout import Layout
from jaxad.devices import compiler
from jaxad.inputs import get_config
from jaxad.methods import Bench
from jaxad.metrics import auc, auc_with_error
from jaxad.metrics.sculpting import correlation
from jaxad.scorer import Scorer, load
from jaxad.simulation import codae as simulation
from jaxad.training import fit

CHANNELS = ("tracks", "ecal", "hcal")
TRIVIAL = ("n_tracks", *image_sums.LABELS)
CHAINS = {
    "method.temperature": 0.154,
    "method.gamma": 0.1,
    "chains.latent_noise": 0.316,
    "chains.input_rate": 0.0646,
    "chains.input_noise": 0.359,
    "chains.annealed": False,
    "chains.limit": 42.6,
}
"""Chosen by W/W0 on simulated QCD with the settings of benchmarks/nae_settings.py."""
REPLICAS = 500
Scores = dict[str, dict[str, np.ndarray]]  # class -> score -> (n,)


def no_claim(signal: str) -> float:
    """The smallest difference of AUCs that is looked at."""
    return 0.1 if signal == "SUEP_125" else 0.03


def global_features(rows: Rows) -> dict[str, np.ndarray]:
    """Name -> (n,) float32 of images (n, 72, 58, 3), with logarithms of numbers and sums."""
    found = {"tracks": np.log(np.maximum(rows["n_tracks"], 1))}
    for i, name in enumerate(CHANNELS):
        pixels = rows["x"][..., i].reshape(len(rows["x"]), -1)
        total = np.maximum(pixels.sum(1), 1)
        found[f"{name}_lit"] = np.log(np.maximum((pixels > 0).sum(1), 1))
        found[f"{name}_sum"] = np.log(total)
        found[f"{name}_spread"] = 1 - (pixels**2).sum(1) / total**2
        found[f"{name}_largest"] = pixels.max(1) / total
    return {name: values.astype(np.float32) for name, values in found.items()}


def as_table(dataset: Dataset) -> Dataset:
    """The same events as rows of `global_features`."""
    parts = {name: global_features(rows) for name, rows in dataset.parts()}
    names = list(parts["train"])
    layout = Layout("features", (len(names),), columns=tuple((name, "") for name in names))
    parts = {part: {"x": np.stack(list(v.values()), axis=1)} for part, v in parts.items()}
    signals = {name: parts.pop(f"signals.{name}") for name in dataset.signals}
    return Dataset(parts["train"], parts["val"], parts["test"], signals, layout)


def trivial_scores(dataset: Dataset) -> Scores:
    """The observables of the reader."""
    classes = {"QCD": dataset.test, **dataset.signals}
    return {name: {key: rows[key] for key in TRIVIAL} for name, rows in classes.items()}


def of_scorer(scorer: Scorer, dataset: Dataset, names: Mapping[str, str]) -> Scores:
    """Scores under other names, {its name: name in the table}, members averaged."""
    classes = {"QCD": dataset.test, **dataset.signals}
    found = {name: scorer.scores(rows["x"]) for name, rows in classes.items()}
    return {c: {new: v[old] for old, new in names.items()} for c, v in found.items()}


def table_scores(table: Dataset, seeds: int) -> Scores:
    """Distances and a normalised autoencoder on the global numbers."""
    config = jets_best.get_config()
    config.inputs = get_config("features")
    found: Scores = {}
    for name, method, score in (
        ("50 neighbours", "nearest_neighbours", "distance"),
        ("Mahalanobis", "mahalanobis", "distance"),
        ("8 Gaussians", "gaussian_mixture", "nll"),
    ):
        config.method.name = method
        fitted = methods.get(method).fit(config, table, None)
        found = joined(
            found, of_scorer(Scorer(method, config, fitted, table.layout), table, {score: name})
        )
    own = normalised.get_config()
    own.inputs, own.train.ensemble = get_config("features"), seeds
    own.update_from_flattened_dict(CHAINS)
    method = "normalised_autoencoder"
    fitted = methods.get(method).fit(own, table, Bench(fit, None, None))
    names = {"nae": "normalised autoencoder", "ae": "its first phase"}
    return joined(found, of_scorer(Scorer(method, own, fitted, table.layout), table, names))


def joined(first: Scores, second: Scores) -> Scores:
    """Scores of the same classes."""
    return {name: first.get(name, {}) | scores for name, scores in second.items()}


def differences(
    scores: Scores, signal: str, trivial: str, names: list[str], seed: int = 0
) -> dict[str, float]:
    """Standard error of AUC(name) - AUC(trivial), events drawn anew once for all scores."""
    rng = np.random.default_rng(seed)
    background, own = scores["QCD"], scores[signal]
    n_b, n_s = len(background[trivial]), len(own[trivial])
    place = {}
    for name in {*names, trivial}:
        values = np.concatenate([background[name], own[name]])
        place[name] = np.unique(values, return_inverse=True)[1]

    def resampled(name: str, b: np.ndarray, s: np.ndarray) -> float:
        """AUC of events that count `b` and `s` times, ties half."""
        size = place[name].max() + 1
        low = np.bincount(place[name][:n_b], b, size)
        high = np.bincount(place[name][n_b:], s, size)
        return high @ (np.cumsum(low) - low / 2) / (n_b * n_s)

    replicas = []
    for _ in range(REPLICAS):
        drawn = (np.bincount(rng.integers(0, n, n), minlength=n) for n in (n_b, n_s))
        counts = tuple(drawn)
        reference = resampled(trivial, *counts)
        replicas.append([resampled(name, *counts) - reference for name in names])
    return dict(zip(names, np.std(replicas, axis=0), strict=True))


def report(scores: Scores) -> None:
    """Prints the table."""
    signals = [name for name in scores if name != "QCD"]
    names = list(scores["QCD"])
    best, errors = {}, {}
    for signal in signals:
        values = {n: auc(scores["QCD"][n], scores[signal][n]) for n in TRIVIAL}
        best[signal] = max(values, key=values.get)
        errors[signal] = differences(scores, signal, best[signal], names)
    print("| score |", " | ".join(signals), "| rank correlation with hits |")
    print("|---" * (2 + len(signals)) + "|")
    for name in names:
        cells = []
        for signal in signals:
            b, s = scores["QCD"][name], scores[signal][name]
            value, statistical = auc_with_error(b, s)
            gap = value - auc(scores["QCD"][best[signal]], scores[signal][best[signal]])
            error = errors[signal][name]
            claim = " **" if abs(gap) > max(no_claim(signal), 2 * error) and gap > 0 else ""
            cells.append(f"{value:.3f} ± {statistical:.3f} ({gap:+.3f} ± {error:.3f}){claim}")
        rank = correlation(scores["QCD"][name], scores["QCD"]["hits"])["spearman"]
        print(f"| {name} |", " | ".join(cells), f"| {rank:.2f} |")
    print("Best trivial scores:", ", ".join(f"{s}: {name}" for s, name in best.items()))


def simulated(folder: Path, signals: list[str], events: int, train: int, test: int) -> None:
    """Makes the folder, or finds it made."""
    files = {process: file for file, process in simulation.FILES.items()}
    counts = {"train/qcd_gensim_0.npz": train, "test/qcd_gensim_1.npz": test}
    counts |= {files[name.lower()]: events for name in signals}
    simulation.produced(folder, counts, counts, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--simulate", default="", help="signals that are made first, A,B")
    parser.add_argument("--events", type=int, default=5000, help="of each signal")
    parser.add_argument("--qcd", default="6000,3000", help="events that train, that test")
    parser.add_argument("--seeds", type=int, default=5, help="of the normalised autoencoder")
    parser.add_argument("--run", action="append", default=[], help="of a trained image method")
    args = parser.parse_args()
    compiler.keep_programs()
    if args.simulate:
        train, test = map(int, args.qcd.split(","))
        simulated(args.folder, args.simulate.split(","), args.events, train, test)
    config = codae.get_config().data
    config.source = str(args.folder)
    dataset = data.load(config)
    found = joined(trivial_scores(dataset), table_scores(as_table(dataset), args.seeds))
    for run in args.run:
        scorer = load(run)
        names = {name: f"{Path(run).name} {name}" for name in scorer.names}
        found = joined(found, of_scorer(scorer, dataset, names))
    print(f"{jax.devices()[0].device_kind}; {len(dataset.train['x'])} QCD train")
    report(found)


if __name__ == "__main__":
    main()
