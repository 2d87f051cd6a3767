"""The autoencoder of "QCD or What?" (arXiv:1808.08979) on event images."""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import codae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = codae.get_config(variant)
    config.method = ConfigDict({"name": "qcd_or_what", "augment": True})
    config.model = ConfigDict({"latent": 32})
    config.train = training.get_config(
        epochs=2 if variant == "smoke" else 50, batch_size=128, learning_rate=1e-3
    )
    return config
