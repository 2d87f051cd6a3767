"""Shallow detectors on ADC2021 trigger events, fitted by scikit-learn, scored by jaxad.

    train.py --config=configs/adc2021_shallow.py --config.method.name=one_class_svm --workdir=...

method.name: isolation_forest, one_class_svm, gaussian_mixture or nearest_neighbours.
"""

from ml_collections import ConfigDict

from jaxad.configs import adc2021_ae


def get_config(variant: str = "") -> ConfigDict:
    """The experiment; variant "smoke" takes seconds."""
    config = adc2021_ae.get_config(variant)
    config.inputs.rotate = True
    config.method = ConfigDict(
        {
            "name": "isolation_forest",
            "n_fit": 10_000,  # random training events, at most
            "n_trees": 100,  # isolation_forest
            "nu": 0.01,  # one_class_svm: share of training events outside
            "n_components": 8,  # gaussian_mixture
            "n_neighbours": 5,  # nearest_neighbours
        }
    )
    del config.model, config.train
    return config
