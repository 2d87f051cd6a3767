"""The dense variational autoencoder of arXiv:2108.03986 on ADC2021 trigger events, masked loss.

--config.model.name=dense_ae, conv_ae or conv_vae takes the paper's other networks.
"""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import adc2021_ae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = adc2021_ae.get_config(variant)
    config.method.loss = "masked"
    config.method.beta = 0.01
    config.model.name = "dense_vae"
    config.train = training.get_config(
        epochs=2 if variant == "smoke" else 100, batch_size=256, early_stop_patience=20
    )
    return config
