"""A VAE on ADC2021 trigger events whose threshold follows HT and its like (arXiv:2508.10224).

train.py --config=configs/adc2021_decade.py --workdir=runs/adc2021/decade

trains the network of adc2021_vae first; the section `teacher` may hold any other method.
"""

from ml_collections import ConfigDict

from jaxad.configs import adc2021_vae

TEACHER = ("method", "model", "train")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = adc2021_vae.get_config(variant)
    config.teacher = {key: config[key].copy_and_resolve_references() for key in TEACHER}
    config.method = ConfigDict({"name": "decade"})
    del config.model, config.train
    # Three quarters of the validation events hold several leaves of 10 / fpr: of one, tau is
    # constant.
    config.data.val_fraction = 0.4 if smoke else 0.3
    config.trigger.fpr = 0.5 if smoke else 0.01
    config.data.n_simulated = 200 if smoke else 20_000
    return config
