"""Dense autoencoder on somebody's own features, one row an event: standardised, then reconstructed.

    train.py --config=configs/features_ae.py --config.data.source=events.npz --workdir=runs/features

`x` (N, d) in npz, npy or HDF5; labels and signals by the settings of `data` (docs/data.md).
"""

from ml_collections import ConfigDict

from jaxad import data, inputs, training


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    return ConfigDict(
        {
            "seed": 0,
            "data": data.get_config(
                "events", source="features.npz", format="features", n_events=500 if smoke else 0
            ),
            "inputs": inputs.get_config("features"),
            "method": {"name": "autoencoder"},
            "model": {"name": "dense", "n_latent": 2, "widths": (64, 32)},
            "train": training.get_config(epochs=2 if smoke else 50, batch_size=256),
            "pca": {"components": 2},
            "baselines": ("pca", "observables"),
        }
    )
