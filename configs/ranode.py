"""R-ANODE on LHC Olympics events: only the signal's density is learned in the signal region."""

from ml_collections import ConfigDict

from jaxad import training
from jaxad.configs import cathode
from jaxad.methods.stages import density


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    config = cathode.get_config(variant)
    config.method.update({"name": "ranode", "initial_fraction": 0.01})
    config.flow.correction = 0  # a ratio of densities, which has none
    config.signal_flow = density.get_config(
        name="realnvp",
        coupling="spline",
        n_layers=2 if smoke else 6,
        hidden=(16,) if smoke else (64, 64),
        correction=0,
    )
    config.train = training.get_config(
        epochs=2 if smoke else 300,
        batch_size=256,
        optimizer="adamw",
        learning_rate=3e-4,
        keep_best=2 if smoke else 10,
        early_stop_patience=20,
    )
    return config
