"""The image autoencoder that the mimickers explain: QCD jets against eight signals.

    train.py --config=configs/interpretable_ae.py --workdir=runs/interpretable_ae

After Bradshaw, Chang, Ostdiek (arXiv:2203.01343). `data.source` is "simulation", "download", or a
folder of the published files; any other jets are read with --config.data.name=events.
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
                "jets", n_simulated=100 if smoke else 12_000, val_fraction=0.25
            ),
            "inputs": inputs.get_config("jet_image", n_pixels=40, half_width=1.0, align=True),
            "method": {"name": "autoencoder"},
            "model": {"name": "pooled", "n_latent": 32},
            "train": training.get_config(
                epochs=2 if smoke else 50,
                batch_size=256,
                plateau_patience=5,
                early_stop_patience=10,
            ),
            "pca": {"components": 2},
            "baselines": ("pca", "pca_16", "mean_image", "observables"),
        }
    )
