"""CWoLa hunting: data of the signal region against data of narrow sidebands next to it.

Collins, Howe, Nachman (arXiv:1805.02664), with the weights of Hallin et al. (arXiv:2109.00546,
section V): each of the two sidebands a quarter of the total, the signal region one half.
"""

import numpy as np

from jaxad.data.dataset import Dataset, take
from jaxad.errors import UserError
from jaxad.methods import Bench, cathode
from jaxad.methods.stages import weak

SHARES = {0: 1 / 2, 1: 1 / 4, 2: 1 / 4}

KINDS, RESONANT = cathode.KINDS, True

feature_scores, scores = cathode.feature_scores, cathode.scores


def fit(config, dataset: Dataset, bench: Bench) -> dict:
    """Classifiers of the signal region against sidebands `method.sideband` TeV wide.

    Raises:
        UserError: no events in one of them.
    """
    data = weak.data_events(config, dataset)
    (low, high), width = dataset.info["window"], config.method.sideband
    below = ~data["inside"] & (data["m"] > low - width) & (data["m"] <= low)
    above = ~data["inside"] & (data["m"] >= high) & (data["m"] < high + width)
    region = take(data, data["inside"])
    sides = [take(data, below), take(data, above)]
    if not all(len(rows["m"]) for rows in sides):
        counts = " and ".join(str(len(rows["m"])) for rows in sides)
        raise UserError(
            f"data: cwola compares the window with sidebands of method.sideband={width:g} TeV: "
            f"expected events below and above it, found {counts}"
        )
    group = np.repeat([0, 1, 2], [len(rows["m"]) for rows in (region, *sides)])
    background = {key: np.concatenate([s[key] for s in sides]) for key in sides[0]}
    weight = weak.balanced(group, SHARES, weak.of_events(region, background))
    return {"classifier": weak.fit(config, bench, region, background, weight)}
