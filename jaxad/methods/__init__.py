"""One file a method: what is its loss, what are its scores, in which stages is it fitted.

A method module has

    fit(config, dataset, fitter) -> fitted         pytree of arrays; `fitter` is
                                                   `jaxad.training.fit` bound to the work directory
    scores(config) -> function                     pure (fitted, x) -> {score: (n,) or
                                                   (members, n)}, larger is more anomalous; the
                                                   first is the method's default
    outputs(config) -> function                    optional, pure (fitted, x) -> {"input",
                                                   "reconstruction", "latent"} for figures

where x is raw input: everything between an event and its score is inside.
"""

import importlib
from types import ModuleType

from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.errors import UserError

JETS = ("autoencoder", "pca", "hln", "pnn")
RESONANT = ("cathode", "iad", "supervised", "cwola", "anode", "lacathode", "ranode")
EVENT_IMAGES = ("codae", "dirichlet_vae", "qcd_or_what", "cct")
TRIGGER = (
    "trigger_autoencoder", "rbm", "one_class_svm", "gaussian_mixture", "isolation_forest",
    "nearest_neighbours", "student",
)  # fmt: skip
NAMES = JETS + RESONANT + EVENT_IMAGES + TRIGGER


def get(name: str) -> ModuleType:
    """The module of a method by its name in configs."""
    if name not in NAMES:
        raise UserError(f"method.name: expected one of {', '.join(NAMES)}, found {name!r}")
    return importlib.import_module(f"jaxad.methods.{name}")


def check_data(name: str, config: ConfigDict, dataset: Dataset) -> None:
    """Raise UserError where a method cannot take the rows of a data set."""
    shape, found = dataset.train["x"].shape[1:], dataset.info["format"]
    if name in RESONANT:
        fits, wanted = "window" in dataset.info, "the events of data.name=lhco"
    elif name in EVENT_IMAGES:
        fits, wanted = len(shape) == 3, "images (h, w, channels)"
    elif name in TRIGGER:
        fits, wanted = shape == (19, 3), "trigger events (19, 3)"
    elif "inputs" in config and config.inputs.name in ("image", "features"):
        fits = found == config.inputs.name
        wanted = f"events of format {config.inputs.name}, as inputs.name says"
    else:
        fits = found in ("epxpypz", "ptetaphi")
        wanted = "particles; for images set inputs.name=image"
    if not fits:
        raise UserError(f"data: {name} takes {wanted}; found {found} of shape {shape}")
