"""The autoencoder of the ADC2021 challenge on trigger events: 57-16-3-16-57, linear output."""

from ml_collections import ConfigDict

from jaxad.configs import adc2021_ae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = adc2021_ae.get_config(variant)
    config.model.name = "challenge"
    return config
