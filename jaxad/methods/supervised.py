"""Fully supervised classifiers of the signal region: what knowing the signal would give.

Signal is simulated signal beyond the injected one where the data set has enough of it, else the
test signal, scored out of fold; background is the true background in the data.
"""

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, concatenate, take
from jaxad.data.event_weights import without_negative
from jaxad.methods import Bench, cathode
from jaxad.methods.stages import weak

KINDS, RESONANT = cathode.KINDS, True

feature_scores, scores = cathode.feature_scores, cathode.scores


def caution(config: ConfigDict, dataset: Dataset) -> str:
    """Whether the test signal trained the members that score it."""
    if "signal" in dataset.extra or config.classifier.folds:
        return ""
    return "the test signal trained the classifiers that score it: set classifier.folds"


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Classifiers of true signal against true background of the signal region."""
    data = weak.data_events(config, dataset)
    background = take(data, data["inside"] & (data["label"] == 0))
    parts = dict(dataset.parts())
    names = [name for name in parts if name == "extra.signal"]
    names = names or [name for name in parts if name.startswith("signals.")]
    spare = [without_negative(parts[name], name, dataset, config.data) for name in names]
    signal = weak.events(config, dataset, concatenate(spare))
    signal = take(signal, np.asarray(signal["inside"]))
    return {"classifier": weak.fit(config, bench, signal, background)}
