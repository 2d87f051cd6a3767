"""ANODE on LHC Olympics events: ratio of the densities of signal region and sidebands."""

from ml_collections import ConfigDict

from jaxad.configs import cathode


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = cathode.get_config(variant)
    config.method.name = "anode"
    config.flow.correction = 0  # a ratio of densities, which has none
    config.region_train = config.flow_train.copy_and_resolve_references()
    config.region_train.ensemble = 1
    if variant != "smoke":
        config.region_train.update({"epochs": 100, "keep_best": 10})
    return config
