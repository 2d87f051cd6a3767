"""A mimicker of the image autoencoder: a paired network that learns to order jets as it does."""

from ml_collections import ConfigDict

from jaxad.configs import interpretable_hln


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = interpretable_hln.get_config(variant)
    config.method.name = "pnn"
    return config
