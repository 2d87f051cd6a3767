"""Supervised classifiers on LHC Olympics events: what knowing the signal would reach."""

from ml_collections import ConfigDict

from jaxad.configs import cathode


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = cathode.get_config(variant)
    config.method = ConfigDict({"name": "supervised"})
    config.classifier.folds = 5
    return config
