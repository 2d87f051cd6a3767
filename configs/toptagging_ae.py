"""Convolutional autoencoder on top-tagging jet images: train on QCD jets, flag top jets.

After Farina, Nakai, Shih (arXiv:1808.08992) and Heimel et al. (arXiv:1808.08979). With
--config.data.reverse=True it trains on top jets and flags QCD.
"""

from ml_collections import ConfigDict

from jaxad import data, inputs, training


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    return ConfigDict(
        {
            "seed": 0,
            "data": data.get_config("toptagging", n_simulated=500 if smoke else 12_500),
            "inputs": inputs.get_config("jet_image", n_pixels=16, half_width=0.8),
            "method": {"name": "autoencoder"},
            "model": {"name": "conv", "n_latent": 2, "width": 16 if smoke else 128},
            "train": training.get_config(epochs=2 if smoke else 10, batch_size=32),
            "pca": {"components": 2},
            "baselines": ("pca", "pca_16", "mean_image", "observables"),
        }
    )
