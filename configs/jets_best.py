"""What jaxad recommends for jets: neighbours in five features, averaged with a PCA of the image.

    train.py --config=configs/jets_best.py --config.data.source=jets.h5 --workdir=runs/jets_best

Trains in seconds on a CPU; docs/jets.md has the figures, and how it was chosen. inputs.half_width
is half of what the image shows: take about 2 m / pT of the heaviest jets looked for. It is for
signals richer than the background. Where one may be simpler, which the image reconstructs better:

    ... --config.method.name=nearest_neighbours --config.inputs.unskew=False
"""

from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.configs import hls4ml_ae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    return ConfigDict(
        {
            "seed": 0,
            "data": hls4ml_ae.get_config(variant).data,
            "inputs": inputs.get_config("jet_features", unskew=True, n_pixels=20, half_width=0.4),
            "method": {
                "name": "two_views",
                "n_fit": 10_000,  # random training events, at most
                "n_neighbours": 50,
                "n_components": 8,  # gaussian_mixture
                "n_trees": 100,  # isolation_forest
            },
            "pca": {"components": 16},
            "baselines": ("mean_image", "observables"),
        }
    )
