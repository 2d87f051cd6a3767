"""The top-tagging autoencoder on somebody's own particles: the hls4ml jets as the example.

    train.py --config=configs/hls4ml_ae.py --config.data.source=jets.h5 --workdir=runs/hls4ml

Jets of about 1 TeV; light quarks and gluons are background, t, W and Z anomalies. The same
settings of `data` point any image config at other files of particles, images or features.
"""

from ml_collections import ConfigDict

from jaxad import data
from jaxad.configs import toptagging_ae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = toptagging_ae.get_config(variant)
    config.data = data.get_config(
        "events",
        source="jets_hls4ml.h5",
        format="ptetaphi",
        x_key="constituents",
        label_key="label",
        background="0,1",
        signals="t=4,W=2,Z=3",
        n_events=500 if variant == "smoke" else 0,
    )
    config.inputs.half_width = 0.4
    return config
