"""Supervised reference on event images: a compact convolutional transformer."""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import codae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = codae.get_config(variant)
    config.data.supervised = True
    config.inputs.pixels = "energy"
    config.method = ConfigDict({"name": "cct", "augment": True, "smooth": 0.1})
    config.model = ConfigDict(
        {
            "features": (4, 8) if smoke else (64, 128),
            "layers": 2,
            "heads": 2,
            "learned_position": True,  # False: fixed random embedding, as the original
        }
    )
    config.train = training.get_config(
        epochs=2 if smoke else 30,
        batch_size=128,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.1,  # times the rate: the original's 1e-4
        monitor="accuracy",
        maximize=True,
    )
    return config
