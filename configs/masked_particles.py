"""Masked particles: a set network guesses hidden particles of a jet, and the guess is the score.

    train.py --config=configs/masked_particles.py --workdir=runs/masked_particles

Trains on simulated QCD jets and flags top jets; docs/sets.md has the figures of other jets.
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
            "inputs": inputs.get_config("particle_set", n_particles=16 if smoke else 64),
            "method": {"name": "masked_particles", "hidden_fraction": 0.3},
            "model": {
                "name": "deep_sets",  # deep_sets | transformer
                "n_latent": 32,
                "n_gaussians": 4 if smoke else 8,  # of a hidden particle's density
                "width": 16 if smoke else 64,
                "layers": 2 if smoke else 3,  # transformer
                "heads": 4,  # transformer
            },
            "train": training.get_config(epochs=2 if smoke else 50, batch_size=128),
            "baselines": ("mean_image", "observables"),
        }
    )
