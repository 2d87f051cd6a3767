"""Autoencoder on the particles of a jet as a set: deep sets or a small transformer.

    train.py --config=configs/set_autoencoder.py --workdir=runs/set_autoencoder

Trains on simulated QCD jets and flags top jets; jets of one's own by the settings of `data`, as in
docs/sets.md, which has the figures: neighbours in five features beat it. --config.model.name is
deep_sets or transformer, --config.method.loss chamfer, energy_mover or summaries.
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
            "inputs": inputs.get_config(
                "particle_set", n_particles=16 if smoke else 64, efp_degree=3
            ),
            "method": {
                "name": "set_autoencoder",
                "loss": "chamfer",  # chamfer | energy_mover | summaries
                "radius": 0.8,  # unit of angles in the losses: that of the jets
            },
            "model": {
                "name": "deep_sets",  # deep_sets | transformer
                "n_latent": 8,
                "n_slots": 8 if smoke else 32,  # that are decoded
                "width": 16 if smoke else 64,
                "layers": 2 if smoke else 3,  # transformer
                "heads": 4,  # transformer
            },
            "train": training.get_config(epochs=2 if smoke else 50, batch_size=128),
            "baselines": ("mean_image", "observables"),
        }
    )
