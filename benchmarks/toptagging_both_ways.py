"""What needs no training on simulated top tagging, both ways; and `conv40` there, timed.

    python benchmarks/toptagging_both_ways.py
    python benchmarks/toptagging_both_ways.py --conv40

The events of configs/toptagging_ae.py, which are simulated where they are not cached; QCD trains
and top jets are flagged, and the other way round. With `--conv40` the normalised autoencoder of the
published size is trained on QCD, on softened images, and the seconds of both its phases are told.
Prints a table in Markdown.
"""

import argparse
import time
from typing import Any

import numpy as np

from jaxad import data, methods
from jaxad.configs import jets_best, normalised, toptagging_ae
from jaxad.data.particles import JET_BASELINES
from jaxad.evaluation import general, references
from jaxad.methods import Bench
from jaxad.metrics import auc
from jaxad.scorer import Scorer
from jaxad.training import fit

SOFT = {"inputs.smear": 1.0, "inputs.power": 0.5}
AS_TOLD = {"inputs.unskew": False}
ROWS = {
    "k-NN 50": ("nearest_neighbours", AS_TOLD),
    "Mahalanobis": ("mahalanobis", AS_TOLD),
    "two views (jets_best)": ("two_views", {}),
    "mean image": ("mean_image", {}),
    "mean image, softened": ("mean_image", SOFT),
    "PCA, 2 components": ("pca", {"inputs.name": "jet_image", "pca.components": 2}),
    "PCA, 16 components": ("pca_16", {}),
    "PCA, 16 components, softened": ("pca_16", SOFT),
}
"""Name in the table -> (method, changes of configs/jets_best.py)."""
RADIUS = 0.8  # of these jets


def one_way(reverse: bool) -> dict[str, float]:
    """AUC of every row where QCD trains, or top jets do."""
    config = toptagging_ae.get_config()
    config.data.reverse = reverse
    dataset = data.load(config.data)
    names = [*JET_BASELINES, *map(references.two_sided, JET_BASELINES)]
    background, signal = general.classes_of(dataset, names).values()
    medians, found = references.medians(dataset, names), {}
    for name in JET_BASELINES:
        found[name] = auc(background[name], signal[name])
        apart = (np.abs(values[name] - medians[name]) for values in (background, signal))
        found[f"\\|{name} - median\\|"] = auc(*apart)
    for name, (method, changes) in ROWS.items():
        own = jets_best.get_config()
        own.data, own.inputs.half_width, own.method.name = config.data, RADIUS, method
        own.update_from_flattened_dict(changes)
        found[name] = _auc(method, own, dataset, methods.get(method).fit(own, dataset, None))
    return found


def _auc(method: str, config: Any, dataset: Any, fitted: Any) -> float:
    """Of the method's default score."""
    scorer = Scorer(method, config, fitted, dataset.layout)
    (signal,) = dataset.signals.values()
    return auc(scorer(dataset.test["x"]), scorer(signal["x"]))


def conv40() -> None:
    """Trains it, and prints its AUC and the seconds of its phases."""
    config = normalised.get_config()
    config.data = toptagging_ae.get_config().data
    changes = SOFT | {"inputs.name": "jet_image", "inputs.n_pixels": 40, "model.name": "conv40"}
    changes |= {"inputs.half_width": RADIUS, "train.epochs": 60, "normalise_train.epochs": 25}
    config.update_from_flattened_dict(changes)
    config.baselines = ()
    dataset = data.load(config.data)

    def timed(*args: Any, **more: Any) -> Any:
        began = time.perf_counter()
        found = fit(*args, **more)
        print(f"{more['stage']}: {time.perf_counter() - began:.0f} s, compilation among it")
        return found

    method = methods.get("normalised_autoencoder")
    fitted = method.fit(config, dataset, Bench(timed, None, None))
    print(f"AUC {_auc('normalised_autoencoder', config, dataset, fitted):.3f}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conv40", action="store_true", help="the network alone, timed")
    if parser.parse_args().conv40:
        conv40()
        return
    forward, backward = one_way(False), one_way(True)
    print("| score | QCD trains, top | top trains, QCD | the smaller |\n|---|---|---|---|")
    for name in forward:
        both = forward[name], backward[name]
        print(f"| {name} | {both[0]:.3f} | {both[1]:.3f} | {min(both):.3f} |")


if __name__ == "__main__":
    main()
