"""An autoencoder of self-supervised features of ADC2021 trigger events: 57-29-10 | 9-6-4-6-9-10.

    train.py --config=configs/adc2021_features.py --workdir=runs/adc2021/features

The layout of CMS's AXOL1TL since its v5; how it is trained is jaxad's own.
"""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import adc2021_ae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = adc2021_ae.get_config(variant)
    config.method = ConfigDict(
        {
            "name": "feature_autoencoder",
            "corrupted": 0.2,  # probability that a view has an object of another event
            "noise": 0.1,  # of a view, in units of the input
        }
    )
    config.model = ConfigDict({"features": (29, 10), "widths": (9, 6), "n_latent": 4})
    config.feature_train = training.get_config(
        epochs=2 if smoke else 100, batch_size=256, schedule="cosine"
    )
    config.train = training.get_config(
        epochs=2 if smoke else 100, batch_size=256, schedule="cosine"
    )
    return config
