"""The norm of a flow's velocity (arXiv:2508.11594) on ADC2021 trigger events, one pass an event.

train.py --config=configs/adc2021_flow_norm.py --workdir=runs/adc2021/flow_norm
"""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import adc2021_ae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = adc2021_ae.get_config(variant)
    config.method = ConfigDict({"name": "flow_norm", "time": 0.5})  # t*, 0 (noise) to 1 (events)
    config.model = ConfigDict({"hidden": (4,) if smoke else (32, 32)})
    config.train = training.get_config(epochs=2 if smoke else 100, batch_size=128)
    return config
