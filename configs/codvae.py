"""Categorical CoDVAE on event images: CoDAE with a relaxed categorical latent and a prior."""

from ml_collections import ConfigDict

from jaxad.configs import codae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = codae.get_config(variant)
    config.model.name = "codvae"
    config.train.epochs = 2 if variant == "smoke" else 100
    return config
