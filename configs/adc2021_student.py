"""A small network that learns the score of a trained run on ADC2021 trigger events.

train.py --config=configs/adc2021_student.py --config.method.teacher=runs/adc2021/conv_vae ...

The variant "smoke" trains a small autoencoder to learn from, unless a run is named.
"""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import adc2021_ae

TEACHER = ("method", "model", "train")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = adc2021_ae.get_config(variant)
    if smoke:
        config.teacher = {key: config[key].copy_and_resolve_references() for key in TEACHER}
    config.method = ConfigDict({"name": "student", "teacher": ""})
    config.model = ConfigDict({"hidden": (4,) if smoke else (16, 8)})
    config.train = training.get_config(epochs=2 if smoke else 100, batch_size=128)
    return config
