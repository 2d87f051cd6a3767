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

from jaxad.errors import UserError

NAMES = (
    "autoencoder", "pca",
    "cathode", "iad", "supervised", "cwola", "anode", "lacathode", "ranode",
    "codae", "dirichlet_vae", "qcd_or_what", "cct",
    "hln", "pnn",
    "trigger_autoencoder", "rbm", "one_class_svm", "gaussian_mixture", "isolation_forest",
    "nearest_neighbours", "student",
)  # fmt: skip


def get(name: str) -> ModuleType:
    """The module of a method by its name in configs."""
    if name not in NAMES:
        raise UserError(f"method.name: expected one of {', '.join(NAMES)}, found {name!r}")
    return importlib.import_module(f"jaxad.methods.{name}")
