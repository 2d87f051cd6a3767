"""Networks on sets of particles on somebody's labelled jets, over several splits, in one table.

    python benchmarks/set_networks.py jets_hls4ml_20k.h5 --seeds=5
    python benchmarks/set_networks.py jets_hls4ml_20k.h5 --seeds=5 --background=4 --signals=g=0,q=1

Beside benchmarks/jet_references.py, which takes the same splits. Each row is trained on background
alone, its epochs chosen by the loss on validation background. Prints a table in Markdown: mean and
standard deviation of the AUC over the splits, jets that training took a second of processor time,
and jets that were scored in one, compilation apart.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from jet_aucs import aucs_of, markdown, of_split, parser_of
from tqdm import tqdm

from jaxad import data, methods
from jaxad.configs import contrastive, hls4ml_ae, masked_particles, set_autoencoder
from jaxad.devices import compiler
from jaxad.methods import Bench
from jaxad.scorer import Scorer
from jaxad.training import fit

CONFIGS = {
    "set_autoencoder": set_autoencoder,
    "masked_particles": masked_particles,
    "contrastive": contrastive,
}
DEEP, TRANSFORMER = {"model.name": "deep_sets"}, {"model.name": "transformer"}
ROWS = {
    "chamfer, deep sets": ("set_autoencoder", DEEP),
    "energy mover, deep sets": ("set_autoencoder", DEEP | {"method.loss": "energy_mover"}),
    "summaries, deep sets": ("set_autoencoder", DEEP | {"method.loss": "summaries"}),
    "masked, deep sets": ("masked_particles", DEEP),
    "JetCLR, deep sets": ("contrastive", DEEP),
    "AnomalyCLR, deep sets": ("contrastive", DEEP | {"method.loss": "anomaly_clr"}),
    "AnomalyCLR+, deep sets": ("contrastive", DEEP | {"method.loss": "anomaly_clr_plus"}),
    "chamfer, transformer": ("set_autoencoder", TRANSFORMER),
    "summaries, transformer": ("set_autoencoder", TRANSFORMER | {"method.loss": "summaries"}),
    "energy mover, transformer": (
        "set_autoencoder",
        TRANSFORMER | {"method.loss": "energy_mover"},
    ),
    "masked, transformer": ("masked_particles", TRANSFORMER),
    "JetCLR, transformer": ("contrastive", TRANSFORMER),
    "AnomalyCLR, transformer": ("contrastive", TRANSFORMER | {"method.loss": "anomaly_clr"}),
    "AnomalyCLR+, transformer": ("contrastive", TRANSFORMER | {"method.loss": "anomaly_clr_plus"}),
}
"""Name in the table -> (method, changes of its config)."""
RADIUS = 0.4  # of these jets


def config_of(method: str, changes: dict, args: argparse.Namespace, seed: int):
    """The method's config on the file; the training shorter where asked."""
    config = CONFIGS[method].get_config()
    config.data = hls4ml_ae.get_config().data
    config = of_split(config, args, seed)
    config.train.epochs = args.epochs
    if "radius" in config.method:
        config.method.radius = RADIUS
    config.update_from_flattened_dict(changes)
    return config


def rate(function: Callable, rows: np.ndarray) -> float:
    """Rows a second of processor time, once compiled."""
    function(rows)
    began = time.process_time()
    function(rows)
    return len(rows) / (time.process_time() - began)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--only", default="", help="rows whose name holds one of these, A;B")
    args = parser.parse_args()
    compiler.keep_programs()
    chosen = {
        name: row
        for name, row in ROWS.items()
        if any(part in name for part in args.only.split(";"))
    }
    aucs, speeds = defaultdict(list), defaultdict(list)
    splits = [
        data.load(config_of("contrastive", {}, args, seed).data) for seed in range(args.seeds)
    ]
    for name, (method, changes) in tqdm(chosen.items(), "rows", unit="row"):
        for seed, dataset in enumerate(splits):
            config = config_of(method, changes, args, seed)
            began = time.process_time()
            fitted = methods.get(method).fit(config, dataset, Bench(fit, None, None))
            trained = config.train.epochs * len(dataset.train["x"])
            trained /= time.process_time() - began
            scorer = Scorer(method, config, fitted, dataset.layout)
            scores = tuple(scorer.scores(dataset.test["x"][:1]))
            for score in scores:
                found = aucs_of(lambda x, own=score, by=scorer: by.scores(x)[own], dataset)
                label = name if len(scores) == 1 else f"{name}: {score}"
                aucs[label].append(found)
                speeds[label].append((trained, rate(scorer, dataset.test["x"])))
                tqdm.write(f"{seed} {label} {np.round(found, 3)} {np.mean(found):.3f}")
    more = {"": ("trained, jets/s", "scored, jets/s")}
    more |= {n: [f"{speed:,.0f}" for speed in np.mean(v, axis=0)] for n, v in speeds.items()}
    print(markdown(aucs, tuple(splits[0].signals), more))


if __name__ == "__main__":
    main()
