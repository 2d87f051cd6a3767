"""CATHODE on LHC Olympics events: density of the sidebands, template, classifiers.

    train.py --config=configs/cathode.py --config.data.source=FEATURES.h5 --workdir=runs/cathode

Hallin et al. (arXiv:2109.00546). `data.source` is the official feature file, raw events, or a
folder of the arrays that the reference code prepares; the default simulates events.
"""

from ml_collections import ConfigDict

from jaxad import data, inputs, training
from jaxad.methods.stages import density, weak


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    smoke = variant == "smoke"
    simulated = {"n_simulated": 1500, "n_simulated_signal": 300, "n_signal": 100} if smoke else {}
    return ConfigDict(
        {
            "seed": 0,
            "data": data.get_config("lhco", **simulated),
            "inputs": inputs.get_config("features"),
            "method": {
                "name": "cathode",
                "oversampling": 4.0,
                "bandwidth": 0.01,
                "closure_windows": 0,  # false windows that measure the template's error, each
                # a training of its own; 0: none
            },
            "flow": density.get_config(
                **({"n_layers": 2, "hidden": (16,), "correction": 1} if smoke else {})
            ),
            "flow_train": training.get_config(
                epochs=2 if smoke else 12,
                batch_size=512,
                learning_rate=3e-3,
                schedule="cosine",
                clip=5.0,
                keep_best=2 if smoke else 5,
                ensemble=2 if smoke else 6,
            ),
            "classifier": weak.get_config(members=2 if smoke else 10),
            "train": weak.train_config(**({"epochs": 2, "keep_best": 2} if smoke else {})),
            "baselines": (),
        }
    )
