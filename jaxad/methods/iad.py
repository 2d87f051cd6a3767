"""The idealised anomaly detector: data of the signal region against true background there.

The upper limit of weak supervision (Hallin et al., arXiv:2109.00546, section V): what CATHODE
would reach with a perfect template. The background is extra simulated background where the data
set has it, else the test background, whose events are then scored out of fold.
"""

from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, take
from jaxad.data.event_weights import without_negative
from jaxad.methods import Bench, Calibration, cathode
from jaxad.methods.stages import weak

KINDS, RESONANT = cathode.KINDS, True

feature_scores, scores = cathode.feature_scores, cathode.scores


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Classifiers of data against true background of the signal region."""
    data = weak.data_events(config, dataset)
    part = "extra.background" if "background" in dataset.extra else "test"
    rows = without_negative(dict(dataset.parts())[part], part, dataset, config.data)
    background = weak.events(config, dataset, rows)
    region = take(data, data["inside"])
    return {"classifier": weak.fit(config, bench, region, background)}


def caution(config: ConfigDict, dataset: Dataset) -> str:
    """Whether the test background trained the members that score it."""
    if "background" in dataset.extra or config.classifier.folds:
        return ""
    return "the test background trained the classifiers that score it: set classifier.folds"


def calibration(config: ConfigDict, dataset: Dataset) -> Calibration:
    """The test background, if it trained nothing, or is scored out of fold."""
    if "background" in dataset.extra:
        return Calibration(
            dataset.test["x"],
            "test background, which trained nothing and chose no epoch",
            dataset.test.get("weight"),
        )
    if config.classifier.folds:
        return Calibration(
            dataset.test["x"],
            "test background, each event by members that it did not train",
            dataset.test.get("weight"),
        )
    return Calibration(None, "the test background trained the classifiers: set classifier.folds")
