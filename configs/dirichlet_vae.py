"""Dirichlet VAE on event images: every event a mixture of three learned images."""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import codae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = codae.get_config(variant)
    config.method = ConfigDict(
        {
            "name": "dirichlet_vae",
            "augment": False,
            "concentration": (1.0, 0.25, 0.1),
            "alpha": 0.1,  # weight of the latent's KL
        }
    )
    config.model = ConfigDict({"hidden": 16 if smoke else 512})
    config.train = training.get_config(
        epochs=2 if smoke else 200,
        batch_size=256,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-4,
        b2=0.99,
        eps=1e-8,
        early_stop_patience=50,
    )
    return config
