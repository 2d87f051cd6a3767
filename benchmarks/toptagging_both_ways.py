"""What needs no training on simulated top tagging, both ways; normalised autoencoders there.

    python benchmarks/toptagging_both_ways.py
    python benchmarks/toptagging_both_ways.py --nae
    python benchmarks/toptagging_both_ways.py --conv40

The events of configs/toptagging_ae.py, which are simulated where they are not cached; QCD trains
and top jets are flagged, and the other way round. With `--nae` the networks of
configs/normalised.py, on features and on softened images of 20 x 20 pixels, seeds 0 to 4 at once.
With `--conv40` that of the published size is trained on QCD, on softened images, and the seconds of
both its phases are told. Prints a table in Markdown.
"""

import argparse
import time
from typing import Any

import numpy as np
from jet_aucs import aucs_of, observable_aucs
from ml_collections import ConfigDict

from jaxad import data, methods
from jaxad.configs import jets_best, normalised, toptagging_ae
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
NETWORKS = {
    "features": {},
    "images, softened": SOFT | {"inputs.name": "jet_image"},
}
"""Name in the table -> changes of configs/normalised.py."""


def one_way(reverse: bool) -> dict[str, float]:
    """AUC of every row where QCD trains, or top jets do."""
    config = toptagging_ae.get_config()
    config.data.reverse = reverse
    dataset = data.load(config.data)
    found = {name: one for name, (one,) in observable_aucs(dataset).items()}
    for name, (method, changes) in ROWS.items():
        own = jets_best.get_config()
        own.data, own.inputs.half_width, own.method.name = config.data, RADIUS, method
        own.update_from_flattened_dict(changes)
        fitted = methods.get(method).fit(own, dataset, None)
        (found[name],) = aucs_of(Scorer(method, own, fitted, dataset.layout), dataset)
    return found


def normalised_config(reverse: bool, changes: dict[str, Any]) -> ConfigDict:
    """configs/normalised.py on these jets, without baselines."""
    config = normalised.get_config()
    config.data = toptagging_ae.get_config().data
    config.data.reverse, config.inputs.half_width, config.baselines = reverse, RADIUS, ()
    config.update_from_flattened_dict(changes)
    return config


def nae(reverse: bool, changes: dict[str, Any]) -> tuple[dict[str, np.ndarray], str]:
    """AUC (5,) of five seeds after both phases and after the first; whether these converged."""
    config = normalised_config(reverse, changes | {"train.ensemble": 5})
    dataset = data.load(config.data)
    method = methods.get("normalised_autoencoder")
    fitted = method.fit(config, dataset, Bench(fit, None, None))
    scorer = Scorer("normalised_autoencoder", config, fitted, dataset.layout)
    (signal,) = (scorer.member_scores(s["x"]) for s in dataset.signals.values())
    found = {}
    for name, background in scorer.member_scores(dataset.test["x"]).items():
        found[name] = np.array([auc(*b) for b in zip(background, signal[name], strict=True)])
    return found, method.convergence(fitted)["reason"]


def conv40() -> None:
    """Trains it, and prints its AUC and the seconds of its phases."""
    changes = SOFT | {"inputs.name": "jet_image", "inputs.n_pixels": 40, "model.name": "conv40"}
    changes |= {"train.epochs": 60, "normalise_train.epochs": 25}
    config = normalised_config(False, changes)
    dataset = data.load(config.data)

    def timed(*args: Any, **more: Any) -> Any:
        began = time.perf_counter()
        found = fit(*args, **more)
        print(f"{more['stage']}: {time.perf_counter() - began:.0f} s, compilation among it")
        return found

    method = methods.get("normalised_autoencoder")
    fitted = method.fit(config, dataset, Bench(timed, None, None))
    scorer = Scorer("normalised_autoencoder", config, fitted, dataset.layout)
    print("AUC {:.3f}".format(*aucs_of(scorer, dataset)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nae", action="store_true", help="normalised autoencoders alone")
    parser.add_argument("--conv40", action="store_true", help="the network alone, timed")
    args = parser.parse_args()
    if args.conv40:
        conv40()
        return
    print("| score | QCD trains, top | top trains, QCD | the smaller |\n|---|---|---|---|")
    if args.nae:
        for inputs, changes in NETWORKS.items():
            (forward, told), (backward, told_back) = (nae(way, changes) for way in (False, True))
            for name in forward:
                both = forward[name], backward[name]
                cells = [f"{v.mean():.3f} ± {v.std(ddof=1):.3f}" for v in both]
                smaller = min(v.mean() for v in both)
                print(f"| {inputs}, `{name}` | {' | '.join(cells)} | {smaller:.3f} |")
            print(f"{inputs}: {told}; the other way round {told_back}", flush=True)
        return
    forward, backward = one_way(False), one_way(True)
    for name in forward:
        both = forward[name], backward[name]
        shown = name.replace("|", "\\|")
        print(f"| {shown} | {both[0]:.3f} | {both[1]:.3f} | {min(both):.3f} |")


if __name__ == "__main__":
    main()
