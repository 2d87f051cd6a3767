"""The section `search` of a config, and the recipe of its classifiers."""

from typing import Any

import jax
from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.metrics.families import orders

CLASSIFIERS = ("auto", "network", "trees", "discriminant")
FREE = ("blind", "chunk", "power", "power_sets", "inject")
"""Settings that change no observed number: a search goes on with others."""
NORMALISATIONS = ("window", "fit")
NETWORK_FEATURES = 5
"""Up to so many features "auto" is a network: features that say nothing cost networks more than
trees (Finke et al., arXiv:2309.13111)."""


def get_config(**changes: Any) -> ConfigDict:
    """Settings of a search with their defaults; `changes` override."""
    return ConfigDict(
        {
            "windows": "",  # LOW-HIGH,LOW-HIGH,... in data.mass_unit; "": that of `data`, or a scan
            "scan": "",  # LOW:HIGH in data.mass_unit: windows of `width` every `step`
            "width": 0.0,
            "step": 0.0,
            "resolution": 0.0,  # in place of both, sigma / mass: width 2 sigma, step sigma / 2
            "efficiencies": (0.1, 0.01, 0.001),  # of the cuts, on the background
            "half_split": False,  # the cross-check without pseudo-experiments: half is scored
            "fold_salt": 0,
            "mass_bins": 1,  # within which cuts are set, so that they shape no spectrum
            "normalise": "window",  # window: its own events | fit: the sidebands
            "spectrum": "dijet",  # smooth function of the sidebands: dijet | exponential | power
            "sqrt_s": 13_000.0,  # [GeV], of dijet
            "train_factor": 4.0,  # template rows to train on, of the data in the window
            "count_factor": 16.0,  # fresh ones to count with, and 100 above the hardest cut
            "closure_windows": 6,  # false windows in the sidebands, 0: none
            "chunk": 0,  # pseudo-experiments that train at once: memory; 0: as the device likes
            "power": (),  # injected signal events, at which the power is measured
            "power_sets": 100,  # data sets of each
            "inject": "",  # gauss:MASS:WIDTH, or a file of signal with the same columns
            "blind": True,
        }
        | changes
    )


def require_choices(config: ConfigDict) -> None:
    """Refuses words that are none of those known, before anything is read.

    Raises:
        UserError: the first of them, or as `recipe`.
    """
    recipe(config)
    if config.search.normalise not in NORMALISATIONS:
        raise UserError(
            f"search.normalise: expected one of {', '.join(NORMALISATIONS)}, found "
            f"{config.search.normalise!r}"
        )
    orders(config.search.spectrum)
    cuts = tuple(config.search.efficiencies)
    if len({f"{efficiency:g}" for efficiency in cuts}) < len(cuts):
        raise UserError(f"search.efficiencies: expected no cut twice in six digits, found {cuts}")
    if config.search.closure_windows == 1:
        raise UserError(
            "search.closure_windows: expected 0, or 2 and more, found 1, which shows no spread"
        )
    if min(config.search.power, default=0) < 0:
        raise UserError(
            f"search.power: expected numbers of signal events, 0 or more, found "
            f"{tuple(config.search.power)}"
        )


def settled(config: ConfigDict, n_features: int) -> ConfigDict:
    """The config with `classifier.name=auto` replaced by what suits the features, which is said."""
    if config.classifier.name != "auto":
        return config
    found = config.copy_and_resolve_references()
    found.classifier.name = "network" if n_features <= NETWORK_FEATURES else "trees"
    print(
        f"classifier.name=auto: {found.classifier.name}, for {n_features} features: networks up to "
        f"{NETWORK_FEATURES}, trees beyond, which features that say nothing disturb less",
        flush=True,
    )
    return found


def chunk_of(config: ConfigDict) -> int:
    """Pseudo-experiments that train at once: `search.chunk`, or what is quick on the device."""
    if config.search.chunk:
        return config.search.chunk
    if recipe(config).name != "network":
        return 64
    return 2 if jax.default_backend() == "cpu" else 200


def recipe(config: ConfigDict) -> ConfigDict:
    """What a classifier is, and how it trains: the same for data and pseudo-experiments.

    Raises:
        UserError: an unknown classifier, or too few folds.
    """
    classifier, train = config.classifier, config.train
    if classifier.name not in CLASSIFIERS:
        raise UserError(
            f"classifier.name: expected one of {', '.join(CLASSIFIERS)}, found {classifier.name!r}"
        )
    folds = 2 if config.search.half_split else classifier.folds
    if folds < 2:
        raise UserError(
            "classifier.folds: a search scores every event by classifiers that did not see it: "
            f"expected 2 or more, found {folds}"
        )
    return ConfigDict(
        {
            "name": classifier.name,
            "hidden": tuple(classifier.hidden),
            "members": classifier.members,
            "folds": folds,
            "half_split": config.search.half_split,
            "feature_fraction": classifier.feature_fraction,
            "max_iter": classifier.max_iter,
            "n_cosines": classifier.n_cosines,
            "epochs": train.epochs,
            "batch_size": train.batch_size,
            "learning_rate": train.learning_rate,
            "average_last": train.keep_best,
        }
    )
