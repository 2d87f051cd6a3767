"""The idealised anomaly detector: data of the signal region against true background there.

The upper limit of weak supervision (Hallin et al., arXiv:2109.00546, section V): what CATHODE
would reach with a perfect template. The background is extra simulated background where the data
set has it, else the test background, whose events are then scored out of fold.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, take
from jaxad.methods import cathode, weak
from jaxad.training import Fitted

scores = cathode.scores


def fit(config: ConfigDict, dataset: Dataset, fitter: Callable[..., Fitted]) -> dict:
    """Classifiers of data against true background of the signal region."""
    data = weak.data_events(config, dataset)
    background = weak.events(config, dataset.extra.get("background", dataset.test))
    region = take(data, data["inside"])
    return {"classifier": weak.fit(config, fitter, region, background)}
