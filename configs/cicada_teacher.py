"""The teacher of CICADA: a convolutional autoencoder of calorimeter regions, in raw counts.

    train.py --config=configs/cicada_teacher.py --workdir=runs/cicada/teacher

18 x 14 regions of zero bias, 323,731 parameters, mean squared error (arXiv:2310.06047).
"""

from ml_collections import ConfigDict

from jaxad import data, inputs, training


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    n_simulated = 200 if smoke else 70_000
    return ConfigDict(
        {
            "seed": 0,
            "data": data.get_config("regions", n_simulated=n_simulated),
            "inputs": inputs.get_config("image", pixels="counts"),
            "method": {
                "name": "autoencoder",
                "augment": True,  # copies of events, turned in phi and mirrored in eta
                "symmetric": True,  # reconstructions of six copies are averaged
            },
            "model": {"name": "counts", "n_latent": 4 if smoke else 80},
            "train": training.get_config(
                epochs=2 if smoke else 16,
                batch_size=32 if smoke else 128,
            ),
            "baselines": ("pca_16", "observables"),
        }
    )
