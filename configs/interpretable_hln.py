"""A mimicker of the image autoencoder: regression of its score from mass, pT and chosen EFPs.

    train.py --config=configs/interpretable_hln.py --workdir=runs/interpretable_hln

Bradshaw, Chang, Ostdiek (arXiv:2203.01343). Trains the autoencoder first; with
--config.method.teacher=RUN the run of that work directory, any of the same data, is explained.
"""

from ml_collections import ConfigDict

from jaxad import inputs, training
from jaxad.configs import interpretable_ae
from jaxad.methods.stages import mimicker


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    autoencoder = interpretable_ae.get_config(variant)
    return ConfigDict(
        {
            "seed": 0,
            "data": autoencoder.data,
            "inputs": inputs.get_config("particles"),
            "teacher": {key: autoencoder[key] for key in ("inputs", "model", "train")},
            "method": mimicker.get_config(
                name="hln", **({"passes": 2, "max_degree": 3} if smoke else {})
            ),
            "train": training.get_config(
                epochs=2 if smoke else 200,
                batch_size=256,
                plateau_patience=5,
                min_learning_rate=1e-6,
                early_stop_patience=10,
            ),
            "baselines": ("teacher", "observables"),
        }
    )
