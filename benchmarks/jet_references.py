"""References for jets on somebody's labelled jets: AUC of each over several splits, one table.

    python benchmarks/jet_references.py jets_hls4ml_20k.h5 --seeds=5

Every row is fitted on the training part of the background of a split, as configs/jets_best.py reads
the file, and measured on its test part and on the signals. Prints a table in Markdown: mean and
standard deviation over the splits.
"""

import argparse
from collections import defaultdict

import numpy as np
from tqdm import tqdm

from jaxad import data, methods
from jaxad.configs import jets_best
from jaxad.data.particles import JET_BASELINES
from jaxad.evaluation import general, references
from jaxad.metrics import auc
from jaxad.scorer import Scorer

# Name in the table: (method, its score, changes of the config).
PLAIN = {"inputs.unskew": False}
EFPS = {"inputs.efp_degree": 4}
IMAGE = {"inputs.name": "jet_image"}
SMOOTHED = {"inputs.smear": 1.0}
ROOT = {"inputs.power": 0.5}
FITTED = {
    "mean image": ("mean_image", "mse", {}),
    "mean image, smoothed": ("mean_image", "mse", SMOOTHED),
    "mean image, root": ("mean_image", "mse", ROOT),
    "mean image, smoothed, root": ("mean_image", "mse", SMOOTHED | ROOT),
    "PCA, 2 components": ("pca", "mse", IMAGE | {"pca.components": 2}),
    "PCA, 16 components": ("pca_16", "mse", {}),
    "PCA, 16 components, smoothed": ("pca_16", "mse", SMOOTHED),
    "PCA, 16 components, root": ("pca_16", "mse", ROOT),
    "PCA, 16 components, smoothed, root": ("pca_16", "mse", SMOOTHED | ROOT),
    "k-NN 5": ("nearest_neighbours", "distance", PLAIN | {"method.n_neighbours": 5}),
    "k-NN 50": ("nearest_neighbours", "distance", PLAIN),
    "k-NN 50, unskewed": ("nearest_neighbours", "distance", {}),
    "Mahalanobis": ("mahalanobis", "distance", PLAIN),
    "Mahalanobis, unskewed": ("mahalanobis", "distance", {}),
    "Mahalanobis, with log EFPs": ("mahalanobis", "distance", PLAIN | EFPS),
    "8 Gaussians": ("gaussian_mixture", "nll", PLAIN),
    "isolation forest": ("isolation_forest", "isolation", PLAIN),
    "two views, not unskewed": ("two_views", "both", PLAIN),
    "two views (jets_best)": ("two_views", "both", {}),
}


def fitted_aucs(config, dataset, name: str, score: str) -> list[float]:
    """AUC of every signal by one score of a method."""
    fitted = methods.get(name).fit(config, dataset, None)
    scorer = Scorer(name, config, fitted, dataset.layout)
    background = scorer.scores(dataset.test["x"])[score]
    return [auc(background, scorer.scores(s["x"])[score]) for s in dataset.signals.values()]


def observable_aucs(dataset) -> dict[str, list[float]]:
    """AUC of every signal by each observable, one and two sided."""
    names = [*JET_BASELINES, *map(references.two_sided, JET_BASELINES)]
    background, *signals = general.classes_of(dataset, names).values()
    medians, found = references.medians(dataset, names), {}
    for name in JET_BASELINES:
        found[name] = [auc(background[name], s[name]) for s in signals]
        gap = [np.abs(rows[name] - medians[name]) for rows in (background, *signals)]
        found[references.two_sided(name)] = [auc(gap[0], s) for s in gap[1:]]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--seeds", type=int, default=5, help="splits of the background")
    parser.add_argument("--background", default="", help="labels, if others than the config's")
    parser.add_argument("--signals", default="", help="NAME=LABEL,..., likewise")
    parser.add_argument("--only", default="", help="fitted rows whose name holds this")
    args = parser.parse_args()
    table = defaultdict(list)
    for seed in tqdm(range(args.seeds), "splits"):
        config = jets_best.get_config()
        config.seed = config.data.seed = seed
        config.data.source = args.source
        config.data.background = args.background or config.data.background
        config.data.signals = args.signals or config.data.signals
        dataset = data.load(config.data)
        for name, aucs in observable_aucs(dataset).items():
            table[name].append(aucs)
        for name, (method, score, changes) in FITTED.items():
            if args.only in name:
                own = config.copy_and_resolve_references()
                own.method.name = method
                own.update_from_flattened_dict(changes)
                table[name].append(fitted_aucs(own, dataset, method, score))
    print("| score |", " | ".join(dataset.signals), "| mean |")
    print("|---" * (2 + len(dataset.signals)) + "|")
    for name, found in table.items():
        rows = np.array(found)
        rows = np.column_stack([rows, rows.mean(axis=1)])
        spread = rows.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(rows.shape[1])
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(rows.mean(axis=0), spread, strict=True)]
        print(f"| {name.replace('|', chr(92) + '|')} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
