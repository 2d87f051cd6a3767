"""LaCATHODE on LHC Olympics events: CATHODE's classifier in the latent space of its density."""

from ml_collections import ConfigDict

from jaxad.configs import cathode


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = cathode.get_config(variant)
    config.method = ConfigDict({"name": "lacathode", "oversampling": 4.0})
    config.flow.correction = 0  # its template is Gaussian, and nothing is drawn from the density
    config.flow_train.ensemble = 1  # one latent space
    return config
