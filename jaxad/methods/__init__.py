"""One file a method: what is its loss, what are its scores, in which stages is it fitted.

A method module has

    KINDS                          what it takes of an event: "vector", "image", "set", the one it
                                   likes best first
    fit(config, dataset, bench) -> fitted
                                   pytree of arrays; `bench` trains, and knows other scorers
    scores(config, layout) -> function
                                   pure (fitted, x) -> {score: (n,) or (members, n)}, larger is
                                   more anomalous; the first is the method's default
    outputs(config, layout) -> function
                                   optional, pure (fitted, x) -> {"input", "reconstruction",
                                   "latent"} for figures
    RESONANT = True                of those that search a window of a mass
    caution(config, dataset) -> str
                                   optional: what a reader of the figures has to know, "" for
                                   nothing: events of the test that trained, a prior on signals
    calibration(config, dataset) -> Calibration
                                   optional: events that trained nothing and chose no epoch
    convergence(fitted) -> dict    optional: {"converged", "reason", figures}, of a training whose
                                   end says nothing by itself

where x is raw input, as `layout` says: everything between an event and its score is inside.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.training import Fitted

NAMES = (
    *("autoencoder", "pca", "trigger_autoencoder", "rbm", "one_class_svm", "gaussian_mixture"),
    *("isolation_forest", "nearest_neighbours", "mahalanobis", "mean_image"),
    "pca_16",
    *("two_views", "student", "hln", "pnn"),
    *("feature_autoencoder", "normalised_autoencoder", "flow_norm", "quantized", "cicada"),
    "decade",
    *("codae", "dirichlet_vae", "qcd_or_what", "cct"),
    *("set_autoencoder", "masked_particles", "contrastive"),
    *("cathode", "iad", "supervised", "cwola", "anode", "lacathode", "ranode"),
)


class Bench(NamedTuple):
    """What a method works with, beside its data.

    Attributes:
        fit: `jaxad.training.fit` bound to the work directory.
        load: work directory of a trained run -> its scorer.
        scorer: (method, config, params, layout) -> a scorer of parameters at hand.
    """

    fit: Callable[..., Fitted]
    load: Callable[[str], Any]
    scorer: Callable[[str, ConfigDict, Any, Layout], Any]

    def under(self, prefix: str) -> "Bench":
        """The same with stages whose names begin with `prefix`, apart from those of other fits."""

        def fit(*args: Any, stage: str, **kwargs: Any) -> Fitted:
            return self.fit(*args, stage=prefix + stage, **kwargs)

        return self._replace(fit=fit)


class Calibration(NamedTuple):
    """Raw events that thresholds are set on, what they are, and their weights (N,).

    None where there are none.
    """

    x: np.ndarray | None
    sample: str
    weight: np.ndarray | None = None


def get(name: str) -> ModuleType:
    """The module of a method by its name in configs.

    Examples:
        >>> get("pca").KINDS
        ('image', 'vector')
    """
    if name not in NAMES:
        raise UserError(f"method.name: expected one of {', '.join(NAMES)}, found {name!r}")
    return importlib.import_module(f"jaxad.methods.{name}")


def stage(name: str, config: ConfigDict, layout: Layout) -> inputs.Stage:
    """What the method `name` sees of an event.

    Raises:
        UserError: it cannot take the input or the events; a search without a mass.
    """
    module = get(name)
    found = inputs.stage(config.inputs, layout, module.KINDS, name)
    if getattr(module, "RESONANT", False) and found.mass is None:
        raise UserError(
            f"data: {name} searches a mass, and these events have none: set data.mass_key"
        )
    return found


def check(name: str, config: ConfigDict, dataset: Dataset) -> None:
    """Raise UserError where a method cannot take a data set."""
    stage(name, config, dataset.layout)
    if getattr(get(name), "RESONANT", False) and "window" not in dataset.info:
        raise UserError(
            f"data: {name} searches a window of the mass, and these data have none: set data.window"
        )


def calibration(name: str, config: ConfigDict, dataset: Dataset) -> Calibration:
    """Events that calibrate the thresholds of a fitted method: they trained nothing of it.

    The test background, but for methods that say otherwise.
    """
    module = get(name)
    if hasattr(module, "calibration"):
        return module.calibration(config, dataset)
    return Calibration(
        dataset.test["x"],
        "test background, which trained nothing and chose no epoch",
        dataset.test.get("weight"),
    )
