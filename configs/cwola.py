"""CWoLa hunting on LHC Olympics events: signal region against sidebands of 0.2 TeV."""

from ml_collections import ConfigDict

from jaxad.configs import cathode


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = cathode.get_config(variant)
    config.method = ConfigDict({"name": "cwola", "sideband": 0.2})
    return config
