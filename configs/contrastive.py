"""A contrastive representation of jets as sets, and distances in it: JetCLR and AnomalyCLR.

    train.py --config=configs/contrastive.py --workdir=runs/contrastive

Trains on simulated QCD jets and flags top jets; docs/sets.md has the figures of other jets. The
anomalous views of anomaly_clr and anomaly_clr_plus are a prior on signals, which the report names.
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
            "method": {
                "name": "contrastive",
                "loss": "jet_clr",  # jet_clr | anomaly_clr | anomaly_clr_plus
                "temperature": 0.1,
                "radius": 0.8,  # jets are moved by up to this: that of the jets
                "score": "nearest_neighbours",  # nearest_neighbours | mahalanobis
                "n_fit": 10_000,  # random training jets, at most, that distances are from
                "n_neighbours": 50,
            },
            "model": {
                "name": "deep_sets",  # deep_sets | transformer
                "n_latent": 16,
                "width": 16 if smoke else 64,
                "layers": 2 if smoke else 3,  # transformer
                "heads": 4,  # transformer
            },
            "train": training.get_config(epochs=2 if smoke else 50, batch_size=128),
            "baselines": ("mean_image", "observables"),
        }
    )
