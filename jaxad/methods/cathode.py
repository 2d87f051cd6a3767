"""CATHODE: classifying anomalies through outer density estimation (Hallin et al.,
arXiv:2109.00546).

The background's features given the resonant mass are learned in the sidebands, sampled in the
signal region, and an ensemble of classifiers separates the data there from these samples.
"""

from collections.abc import Callable

import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, Rows, take
from jaxad.errors import UserError
from jaxad.methods import Bench
from jaxad.methods.stages import atoms, densities, density, weak
from jaxad.training import streams
from jaxad.training.streams import Purpose

KINDS = ("vector",)
RESONANT = True


def fit_background(config: ConfigDict, data: Rows, bench: Bench) -> dict:
    """The density of the sidebands, p(x | m) of the background.

    Whole numbers and spikes are spread for it; where they are, it has "atoms" (`stages.atoms`).

    Raises:
        UserError: no data there to learn from, or none to choose epochs by.
    """
    train, val = (
        {
            key: data[key][~data["inside"] & (data["part"] == part)]
            for key in ("x", "m", "weight")
            if key in data
        }
        for part in (0, 1)
    )
    if not (len(train["m"]) and len(val["m"])):
        raise UserError(
            f"data: {config.method.name} learns the background beside the window: expected events "
            f"there in train and val, found {len(train['m'])} and {len(val['m'])}"
        )
    stage = "background density"
    sidebands = {key: np.concatenate([train[key], val[key]]) for key in train}
    found = atoms.found_in(sidebands["x"])
    sidebands["x"] = atoms.spread(config, found, sidebands["x"], stage)
    n = len(train["m"])
    train = {key: values[:n] for key, values in sidebands.items()}
    val = {key: values[n:] for key, values in sidebands.items()}
    fitted = density.fit(config, train, val, bench, stage) | found
    return densities.corrected([densities.Uncorrected(config, fitted, sidebands, stage)])[0]


def template(
    config: ConfigDict,
    background: dict,
    m: np.ndarray,
    stage: str,
    weight: np.ndarray | None = None,
) -> Rows:
    """Background samples in the signal region, a fresh set for every run.

    Masses follow those of the data `m` (N,) [TeV] with their `weight` (N,);
    `method.oversampling` x N samples a run. Samples follow from the seed and `stage`.
    """
    runs, n = config.classifier.runs, round(config.method.oversampling * len(m))
    rng = streams.generator(config.seed, Purpose.MASSES, stage)
    masses = density.sample_mass(m, runs * n, rng, config.method.bandwidth, weight)
    x = density.sample(config, background, stage, masses)
    x = atoms.put_back(background, x)
    return {"x": x, "m": masses, "run": np.arange(runs * n) % runs}


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Density of the sidebands, template, classifiers: three stages."""
    data = weak.data_events(config, dataset)
    background = fit_background(config, data, bench)
    region = take(data, data["inside"])
    region["x"] = atoms.put_back(background, region["x"])
    samples = template(config, background, region["m"], "template", region.get("weight"))
    return {"background": background, "classifier": weak.fit(config, bench, region, samples)}


def feature_scores(config: ConfigDict) -> Callable[..., dict[str, Array]]:
    """{"anomaly": (runs, n)}: probability of being data rather than background."""

    def function(fitted: dict, m: Array, x: Array, raw: Array) -> dict[str, Array]:
        x = atoms.floored(fitted.get("background", {}), x)  # others than cathode have none
        return {"anomaly": weak.score(config, fitted["classifier"], x, raw)}

    return function


scores = weak.from_features(feature_scores)
