"""The convolutional variational autoencoder of arXiv:2108.03986 on ADC2021 trigger events."""

from ml_collections import ConfigDict

from jaxad.configs import adc2021_vae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = adc2021_vae.get_config(variant)
    config.model.name = "conv_vae"
    return config
