"""ANODE on LHC Olympics events: ratio of the densities of signal region and sidebands."""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import cathode


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = cathode.get_config(variant)
    config.method.name = "anode"
    config.flow.correction = 0  # a ratio of densities, which has none
    config.region_train = training.get_config(
        epochs=2 if smoke else 100,
        batch_size=512,
        learning_rate=3e-3,
        schedule="cosine",
        clip=5.0,
        keep_best=2 if smoke else 10,
    )
    return config
