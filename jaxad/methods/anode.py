"""ANODE: anomaly detection with density estimation (Nachman, Shih, arXiv:2001.04990).

Two densities p(x | m), one fitted to the data of the signal region and one to the sidebands; the
score is the log of their ratio, each averaged over its best epochs.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.methods import Bench, cathode
from jaxad.methods.stages import atoms, density, weak

KINDS = ("vector",)
RESONANT = True


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Density of the sidebands, then `classifier.runs` densities of the signal region.

    Raises:
        UserError: no data in one of them to learn from, or none to choose epochs by; no section
            `region_train`.
    """
    if "region_train" not in config:
        raise UserError(
            "region_train: expected how to train the density of the window, found no such section: "
            "begin from configs/anode.py"
        )
    data = weak.data_events(config, dataset)
    train, val = (
        {
            key: data[key][data["inside"] & (data["part"] == part)]
            for key in ("x", "m", "weight")
            if key in data
        }
        for part in (0, 1)
    )
    if not (len(train["m"]) and len(val["m"])):
        raise UserError(
            "data: anode learns the data in the window: expected events there in train and val, "
            f"found {len(train['m'])} and {len(val['m'])}: widen it, or give more events"
        )
    background = cathode.fit_background(config, data, bench)
    for name, rows in (("train", train), ("val", val)):
        rows["x"] = atoms.spread(config, background, rows["x"], f"data density, {name}")
    runs = config.classifier.runs
    region = density.fit(config, train, val, bench, "data density", runs, "region_train")
    return {"background": background, "region": region}


def feature_scores(config: ConfigDict) -> Callable[..., dict[str, Array]]:
    """{"log_ratio": (runs, n)}: log p_data(x | m) - log p_background(x | m)."""

    def function(fitted: dict, m: Array, x: Array, raw: Array) -> dict[str, Array]:
        region, x = fitted["region"], atoms.centred(fitted["background"], x)

        def log_data(params: Any) -> Array:
            one = region | {"params": jax.tree.map(lambda a: a[None], params)}
            return density.log_prob(config, one, x, m)

        background = density.log_prob(config, fitted["background"], x, m)
        return {"log_ratio": jax.lax.map(log_data, region["params"]) - background}

    return function


scores = weak.from_features(feature_scores)
