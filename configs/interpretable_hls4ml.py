"""A mimicker and its teacher on real particles: the hls4ml jets as the example.

    train.py --config=configs/interpretable_hls4ml.py --config.data.source=jets.h5 \\
        --workdir=runs/hls4ml_hln

Jets of about 1 TeV; light quarks and gluons are background, t, W and Z anomalies. With
--config.method.name=pnn a paired network.
"""

from ml_collections import ConfigDict

from jaxad.configs import hls4ml_ae, interpretable_hln


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = interpretable_hln.get_config(variant)
    config.data = hls4ml_ae.get_config(variant).data
    config.data.val_fraction = 0.25
    config.teacher.inputs.half_width = 0.8
    return config
