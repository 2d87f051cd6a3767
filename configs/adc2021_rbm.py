"""Restricted Boltzmann machine on ADC2021 trigger events, scored by its free energy."""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import adc2021_ae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = adc2021_ae.get_config(variant)
    config.inputs.rotate = True
    config.method = ConfigDict({"name": "rbm", "k": 1})  # Gibbs steps of the contrastive divergence
    config.model = ConfigDict({"n_hidden": 8 if smoke else 64})
    config.train = training.get_config(
        epochs=2 if smoke else 100, batch_size=128, monitor="reconstruction"
    )
    return config
