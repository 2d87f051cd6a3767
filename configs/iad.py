"""Idealised anomaly detector on LHC Olympics events: what a perfect template would reach."""

from ml_collections import ConfigDict

from jaxad.configs import cathode


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = cathode.get_config(variant)
    config.method = ConfigDict({"name": "iad"})
    config.classifier.folds = 5
    return config
