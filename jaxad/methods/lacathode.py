"""LaCATHODE: CATHODE in the latent space of its density (Hallin et al., arXiv:2210.14924).

The data of the signal region are carried to the flow's latent space, where background is a unit
Gaussian whatever the mass; the classifier separates them from Gaussian noise and so cannot sculpt
the mass spectrum of the background.
"""

from collections.abc import Callable

import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, take
from jaxad.methods import Bench, cathode
from jaxad.methods.stages import atoms, density, weak
from jaxad.training import streams
from jaxad.training.streams import Purpose

KINDS = ("vector",)
RESONANT = True


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Density of the sidebands, then classifiers of latent data against Gaussian noise."""
    data = weak.data_events(config, dataset)
    background = cathode.fit_background(config, data, bench)
    region = take(data, data["inside"])
    x = atoms.spread(config, background, region["x"], "latent data")
    z = np.asarray(density.latent(config, background, x, region["m"]))
    runs, n = config.classifier.runs, round(config.method.oversampling * len(z))
    rng = streams.generator(config.seed, Purpose.NOISE, "latent background")
    noise = rng.normal(size=(runs * n, z.shape[1]))
    samples = {"x": noise.astype(np.float32), "run": np.arange(runs * n) % runs}
    return {
        "background": background,
        "classifier": weak.fit(config, bench, region | {"x": z}, samples),
    }


def feature_scores(config: ConfigDict) -> Callable[..., dict[str, Array]]:
    """{"anomaly": (runs, n)}: probability of being data rather than background."""

    def function(fitted: dict, m: Array, x: Array, raw: Array) -> dict[str, Array]:
        x = atoms.centred(fitted["background"], x)
        z = density.latent(config, fitted["background"], x, m)
        return {"anomaly": weak.score(config, fitted["classifier"], z, raw)}

    return function


scores = weak.from_features(feature_scores)
