"""Softened images, or a code on a sphere? An ablation of the autoencoder of docs/normalised.md.

    python benchmarks/softening.py jets_hls4ml_20k.h5 --seeds=5
    python benchmarks/softening.py jets_hls4ml_20k.h5 --seeds=5 --background=4 --signals=g=0,q=1

The first phase of configs/normalised.py on images of 20 x 20 pixels, plain, smoothed and softened
(smoothed, and the root of each pixel), with its code on the unit sphere and with the same network
without. Beside it the distances of the same images from their mean and from 16 components. Prints a
table in Markdown: mean and standard deviation of the AUC over the splits of
benchmarks/jet_references.py.
"""

import argparse
from collections import defaultdict

import jax
import numpy as np
from jax import Array
from jet_aucs import aucs_of, markdown, of_split, parser_of
from tqdm import tqdm

from jaxad import data, methods
from jaxad.configs import normalised
from jaxad.devices import compiler
from jaxad.devices.batches import in_batches
from jaxad.methods import normalised_autoencoder
from jaxad.methods.stages import rows
from jaxad.models.spherical import SphericalAutoencoder
from jaxad.scorer import Scorer
from jaxad.training import fit

IMAGES = {
    "plain": {},
    "smoothed": {"inputs.smear": 1.0},
    "root": {"inputs.power": 0.5},
    "softened": {"inputs.smear": 1.0, "inputs.power": 0.5},
}
"""Name in the table -> changes of the config."""
REFERENCES = {"mean image": "mean_image", "PCA, 16 components": "pca_16"}


class FlatAutoencoder(SphericalAutoencoder):
    """The same layers with a code that is anywhere."""

    def encode(self, x: Array) -> Array:
        return self.encoder(x)


NETWORKS = {"sphere": SphericalAutoencoder, "no sphere": FlatAutoencoder}


def config_of(args: argparse.Namespace, seed: int, changes: dict):
    """The images of a split."""
    config = of_split(normalised.get_config(), args, seed)
    config.inputs.name = "jet_image"
    config.update_from_flattened_dict(changes)
    return config


def autoencoder_aucs(config, dataset, kind: type[SphericalAutoencoder]) -> list[float]:
    """AUC of every signal by the error of an autoencoder after the first phase."""
    stage = normalised_autoencoder.stage_of(config, dataset.layout)
    learnt, train, val = rows.background(config, stage, dataset)
    network = kind(
        rows.shape_of(stage)[1:], tuple(config.model.widths), config.model.n_latent, bounded=True
    )
    task = normalised_autoencoder.pretraining(network)
    fitted = fit(task, train, val, config.train, config.seed, stage="autoencoder")
    params = jax.tree.map(lambda a: a[0, 0], fitted.params)

    def energies(raw: Array) -> Array:
        return normalised_autoencoder.energy(network, params, stage.apply({"inputs": learnt}, raw))

    return aucs_of(lambda x: in_batches(energies, x, "energies"), dataset)


def reference_aucs(config, dataset, name: str) -> list[float]:
    """AUC of every signal by a reference on the same images."""
    fitted = methods.get(name).fit(config, dataset, None)
    return aucs_of(Scorer(name, config, fitted, dataset.layout), dataset)


def main() -> None:
    args = parser_of(__doc__).parse_args()
    compiler.keep_programs()
    table = defaultdict(list)
    for seed in tqdm(range(args.seeds), "splits", unit="split"):
        dataset = data.load(config_of(args, seed, {}).data)
        for image, changes in IMAGES.items():
            config = config_of(args, seed, changes)
            for label, kind in NETWORKS.items():
                table[f"{image}: {label}"].append(autoencoder_aucs(config, dataset, kind))
            for label, name in REFERENCES.items():
                table[f"{image}: {label}"].append(reference_aucs(config, dataset, name))
            tqdm.write(f"{seed} {image} " + str([np.round(table[k][-1], 3) for k in table]))
    print(markdown(table, tuple(dataset.signals)))


if __name__ == "__main__":
    main()
