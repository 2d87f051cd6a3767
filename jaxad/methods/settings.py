"""The settings of a whole config: what their numbers may be, and which of them change nothing."""

from collections.abc import Iterator, Mapping

from ml_collections import ConfigDict

from jaxad import data, inputs
from jaxad.data.settings import (
    COUNT,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_COUNT,
    SEED,
    Range,
    require_ranges,
)
from jaxad.errors import UserError
from jaxad.models.trigger import VARIATIONAL

WIDTHS = Range("one or more widths, each 1 or more", 1, whole=True)
OFF = Range("0 (never) or more", 0, whole=True)
BITS = Range("2 to 12", 2, 12, whole=True)

RANGES = {
    "seed": SEED,
    # training
    **dict.fromkeys(("epochs", "batch_size", "keep_best", "ensemble"), POSITIVE_COUNT),
    **dict.fromkeys(("learning_rate", "eps"), POSITIVE),
    **dict.fromkeys(("weight_decay", "min_learning_rate"), NOT_NEGATIVE),
    **dict.fromkeys(("clip", "clip_per_tensor"), Range("0 (none) or more", 0)),
    **dict.fromkeys(("plateau_patience", "early_stop_patience"), OFF),
    **dict.fromkeys(("b2", "plateau_factor"), FRACTION),
    "checkpoint_seconds": NOT_NEGATIVE,
    # networks
    **dict.fromkeys(("hidden", "widths", "features"), WIDTHS),
    **dict.fromkeys(("n_latent", "latent", "width", "n_hidden", "n_layers"), POSITIVE_COUNT),
    **dict.fromkeys(("layers", "heads", "groups", "mask_groups", "n_steps"), POSITIVE_COUNT),
    **dict.fromkeys(("n_slots", "n_gaussians"), POSITIVE_COUNT),
    "n_bins": Range("2 or more", 2, whole=True),
    "bound": POSITIVE,
    # ensembles of classifiers
    **dict.fromkeys(("members", "runs", "max_iter"), POSITIVE_COUNT),
    # methods
    **dict.fromkeys(("oversampling", "sideband", "concentration"), POSITIVE),
    **dict.fromkeys(("bandwidth", "beta", "alpha", "decorrelation", "tolerance"), NOT_NEGATIVE),
    "beta_start": NOT_NEGATIVE,
    **dict.fromkeys(("weight_bits", "activation_bits", "code_bits"), BITS),
    "initial_fraction": FRACTION,
    "corrupted": Range("0 or more and below 1", 0, 1 - 1e-9),
    **dict.fromkeys(("noise", "outliers"), NOT_NEGATIVE),
    "feature_fraction": Range("a number above 0, at most 1", 1e-9, 1),
    # searches
    "efficiencies": FRACTION,
    **dict.fromkeys(("width", "step", "resolution", "sqrt_s"), NOT_NEGATIVE),
    **dict.fromkeys(("train_factor", "count_factor"), POSITIVE),
    **dict.fromkeys(("mass_bins", "power_sets", "n_cosines"), POSITIVE_COUNT),
    **dict.fromkeys(("closure_windows", "fold_salt", "chunk"), COUNT),
    "smooth": Range("0 or more and below 1", 0, 1 - 1e-9),
    "nu": Range("a number above 0, at most 1", 1e-9, 1),
    "time": Range("0 to 1", 0, 1),
    **dict.fromkeys(("k", "samples", "n_fit", "n_trees", "n_components"), POSITIVE_COUNT),
    **dict.fromkeys(("n_neighbours", "max_degree", "components"), POSITIVE_COUNT),
    "efp_degree": Range("0 (none) or more", 0, whole=True),
    **dict.fromkeys(("passes", "folds", "correction", "mass_order", "frame_order"), COUNT),
    "n_events": Range("2 or more", 2, whole=True),
    "n_taus": Range("0 to 5", 0, 5, whole=True),
    # normalised autoencoders, sets
    **dict.fromkeys(("gamma", "l2", "latent_noise", "input_noise"), NOT_NEGATIVE),
    **dict.fromkeys(("temperature", "latent_rate"), POSITIVE),
    **dict.fromkeys(("latent_steps", "input_steps"), COUNT),
    **dict.fromkeys(("projections", "buffer"), POSITIVE_COUNT),
    "limit": Range("0 (none) or more", 0),
    "restart": Range("0 to 1", 0, 1),
    "hidden_fraction": FRACTION,
    "same_rate": Range("0 (not) or more and below 1", 0, 1 - 1e-9),
    # inputs and trigger
    **dict.fromkeys(("n_pixels", "n_particles"), POSITIVE_COUNT),
    "smear": Range("0 (none) or more", 0),
    "power": POSITIVE,
    **dict.fromkeys(("half_width", "radius", "max_energy", "input_rate", "rates"), POSITIVE),
    "fpr": FRACTION,
}
"""Of every section but `data`, whose readers know their own."""


def check(config: ConfigDict) -> None:
    """Refuses numbers that cannot be, in all sections of a config.

    Raises:
        UserError: the first of them.
    """
    require_ranges({"seed": config.get("seed", 0)}, "", RANGES)
    data.check_settings(config.data)
    for name, section in _sections(config):
        own = {"eps": Range("a number above 0, below 0.5", 0, 0.5, True)} if "flow" in name else {}
        if name.endswith("inputs."):
            own = {"max_degree": Range("0 (none) or more", 0, whole=True), "n_taus": COUNT}
        ranges = RANGES | own
        if name == "search.":  # numbers of signal events, which `jaxad.search.settings` checks
            ranges.pop("power")
        require_ranges(section, name, ranges)
    if "classifier" in config and config.classifier.folds == 1:
        raise UserError(
            "classifier.folds: expected 0 (every member sees every event) or 2 and more, found 1"
        )
    if config.method.get("name") == "trigger_autoencoder" and config.method.beta > 1:
        raise UserError(f"method.beta: expected 0 to 1, found {config.method.beta}")
    if "trigger" in config and max(config.trigger.rates, default=0) > config.trigger.input_rate:
        raise UserError(
            f"trigger.rates: expected at most trigger.input_rate={config.trigger.input_rate:g} Hz, "
            f"found {max(config.trigger.rates):g}"
        )


def _sections(config: Mapping, prefix: str = "") -> Iterator[tuple[str, Mapping]]:
    """Sections and those within them, by "NAME.", without `data`."""
    for name, value in config.items():
        if isinstance(value, ConfigDict) and prefix + name != "data":
            yield f"{prefix}{name}.", value
            yield from _sections(value, f"{prefix}{name}.")


METHODS_OF = {
    "oversampling": ("cathode", "anode", "lacathode", "ranode"),
    **dict.fromkeys(("bandwidth", "closure_windows"), ("cathode", "anode", "ranode")),
    "initial_fraction": ("ranode",),
    "sideband": ("cwola",),
    "n_trees": ("isolation_forest",),
    "nu": ("one_class_svm",),
    "n_components": ("gaussian_mixture",),
    "n_neighbours": ("nearest_neighbours", "two_views", "contrastive"),
    "n_fit": (
        *("isolation_forest", "one_class_svm", "gaussian_mixture", "nearest_neighbours"),
        *("mahalanobis", "two_views", "contrastive"),
    ),
    "decorrelation": ("codae",),
    "samples": ("codae",),
    "monte_carlo": ("codae",),
    "augment": ("codae", "dirichlet_vae", "qcd_or_what", "cct", "autoencoder", "cicada"),
    "symmetric": ("autoencoder",),
    "smooth": ("cct",),
    "concentration": ("dirichlet_vae",),
    "alpha": ("dirichlet_vae",),
    **dict.fromkeys(("corrupted", "noise"), ("feature_autoencoder",)),
    **dict.fromkeys(
        ("normalisation", "energy_scale", "l2", "transport", "projections"),
        ("normalised_autoencoder",),
    ),
    "gamma": ("normalised_autoencoder", "quantized"),
    "k": ("rbm",),
    "time": ("flow_norm",),
    "loss": ("trigger_autoencoder", "set_autoencoder", "contrastive"),
    "radius": ("set_autoencoder", "contrastive"),
    "hidden_fraction": ("masked_particles",),
    "temperature": ("contrastive", "normalised_autoencoder"),
    "beta": ("trigger_autoencoder", "codae", "quantized"),
    "teacher": ("student", "hln", "pnn", "quantized", "cicada"),
    **dict.fromkeys(("outliers", "same_rate"), ("cicada",)),
    **dict.fromkeys(("weight_bits", "activation_bits", "code_bits", "rounding"), ("quantized",)),
    **dict.fromkeys(("target", "input_type", "granularity", "learned"), ("quantized",)),
    "beta_start": ("quantized",),
    "score": ("quantized", "contrastive"),
}
"""Settings of `method` and the methods that read them; all methods read the others they have."""

DENSITY = ("cathode", "lacathode", "anode", "ranode")
SECTIONS_OF = {
    "flow": DENSITY,
    "flow_train": DENSITY,
    "signal_flow": ("ranode",),
    "region_train": ("anode",),
    "feature_train": ("feature_autoencoder",),
    **dict.fromkeys(("chains", "normalise_train"), ("normalised_autoencoder",)),
    "classifier": ("cathode", "lacathode", "anode", "ranode", "cwola", "iad", "supervised"),
}
"""Sections that some methods alone read."""

INPUTS_OF = {
    "n_particles": ("particle_set",),
    **dict.fromkeys(("n_pixels", "half_width", "align"), ("jet_image",)),
    **dict.fromkeys(("max_degree", "n_taus"), ("jet_observables",)),
    **dict.fromkeys(("efp_degree", "unskew"), ("jet_features",)),
    "rotate": ("trigger_event",),
    "type": ("trigger_integer",),
    **dict.fromkeys(("pixels", "max_energy"), ("image",)),
    **dict.fromkeys(("smear", "power"), ("jet_image", "image")),
}
"""Settings of `inputs` and the inputs that read them."""

FLOW_OF = {
    **dict.fromkeys(("coupling", "n_layers", "n_bins", "bound"), ("realnvp", "autoregressive")),
    "mass_order": ("autoregressive",),
    "n_steps": ("matching",),
}

CLASSIFIER_OF = {
    "hidden": ("network", "auto"),
    "max_iter": ("trees", "auto"),
    "feature_fraction": ("network", "trees", "auto"),
    "n_cosines": ("discriminant",),
}
"""Settings of `classifier` and the classifiers that read them; "auto" is a network or trees."""

SEARCH_TRAINING = ("epochs", "batch_size", "learning_rate", "keep_best")
"""Settings of `train` that the networks of a search read."""


def idle(config: ConfigDict) -> dict[str, str]:
    """Settings outside `data` that change nothing with the others as they are: name -> why."""
    return {name: why for name, why in _reasons(config) if why}


def _reasons(config: ConfigDict) -> Iterator[tuple[str, str]]:
    method = config.method.get("name", "")
    for key, names in METHODS_OF.items():
        if key in config.method and method not in names:
            yield f"method.{key}", f"method.name={method} does not read it"
    for section, names in SECTIONS_OF.items():
        for key in config.get(section, ()):
            if method not in names:
                yield f"{section}.{key}", f"method.name={method} does not read it"
    of_images = {"mean_image", "pca_16", "two_views"} & {method, *config.baselines}
    also = {"jet_image"} if of_images else set()
    if method == "set_autoencoder" and config.method.loss == "summaries":
        also.add("jet_features")
    for key, names in INPUTS_OF.items():
        if not {config.inputs.name, *also} & {*names}:
            yield f"inputs.{key}", f"it is of inputs.name={names[0]}"
    for section in ("flow", "signal_flow"):
        if section in config:
            yield from _of_flow(config[section], section)
    if "search" in config:
        yield from _of_search(config)
    elif "classifier" in config:
        yield from _of_classifier(config, method)
    for section in ("train", "flow_train", "region_train", "feature_train", "normalise_train"):
        if section in config:
            yield from _of_training(config[section], section)
    if "pca" in config and not {"pca", "two_views"} & {method, *config.baselines}:
        yield "pca.components", "it is of the method or reference pca"
    for section in ("feature_train", "normalise_train"):
        if section in config:
            yield f"{section}.ensemble", "train.ensemble says how many"
    if "region_train" in config:
        yield "region_train.ensemble", "classifier.runs says how many"
    if method == "normalised_autoencoder":
        yield from _of_chains(config)
    if "model" in config:
        yield from _of_model(config, method)
    if method == "quantized":
        yield from _of_quantized(config)
    if "teacher" in config and config.method.get("teacher"):
        for section, settings in _sections(config.teacher, "teacher."):
            yield from (
                (f"{section}{key}", "method.teacher is trained already") for key in settings
            )


def _of_model(config: ConfigDict, method: str) -> Iterator[tuple[str, str]]:
    name = config.model.get("name", "")
    if method == "codae" and name == "codae":
        for key in ("beta", "samples", "monte_carlo"):
            yield f"method.{key}", "it is of model.name=codvae"
    if config.model.get("weights"):
        yield from ((f"train.{key}", "model.weights replace the training") for key in config.train)
    if method == "trigger_autoencoder" and name not in VARIATIONAL:
        yield "method.beta", f"model.name={name} is not variational"
    if name == "deep_sets":
        for key in ("layers", "heads"):
            yield f"model.{key}", "it is of model.name=transformer"
    if method == "set_autoencoder" and config.method.loss == "summaries":
        for key in ("method.radius", "model.n_slots"):
            yield key, "method.loss=summaries decodes no particles"
    if method == "autoencoder":
        for key, owner in (("width", "conv"), ("widths", "dense")):
            if key in config.model and name != owner:
                yield f"model.{key}", f"it is of model.name={owner}"


def _of_chains(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """Settings of a normalised autoencoder that its other settings leave unread."""
    if config.method.normalisation == "wasserstein":
        why = "it is of method.normalisation=langevin"
        for key in ("latent_steps", "latent_rate", "latent_noise"):
            yield f"chains.{key}", why
        yield from ((f"method.{key}", why) for key in ("gamma", "l2"))
    else:
        yield "method.transport", "it is of method.normalisation=wasserstein"
    if config.chains.tied:
        for key in ("latent_noise", "input_noise", "annealed"):
            yield f"chains.{key}", "chains.tied sets the noise"
    if "image" in inputs.INPUTS[config.inputs.name][1]:
        yield "chains.bound", "pixels lie between 0 and 1"
    if config.model.name == "conv40":
        yield "model.widths", "it is of model.name=dense"


def _of_quantized(config: ConfigDict) -> Iterator[tuple[str, str]]:
    if config.method.target == "none":
        for key in config.train:
            yield f"train.{key}", "method.target=none trains nothing"
        yield "method.learned", "method.target=none trains nothing"
    if not config.method.learned or config.method.target == "none":
        for key in ("beta", "beta_start", "gamma"):
            yield f"method.{key}", "it is of method.learned=True"


def _of_flow(section: ConfigDict, name: str) -> Iterator[tuple[str, str]]:
    if name == "signal_flow":
        for key in ("correction", "mass", "mass_order", "frame_order", "eps"):
            yield (
                f"{name}.{key}",
                "the density of the signal is one of mass and features, and not drawn",
            )
    for key, owners in FLOW_OF.items():
        if section.name not in owners:
            yield f"{name}.{key}", f"it is of {name}.name={' or '.join(owners)}"
        elif key in ("n_bins", "bound") and section.coupling != "spline":
            yield f"{name}.{key}", f"it is of {name}.coupling=spline"


def _of_classifier(config: ConfigDict, method: str) -> Iterator[tuple[str, str]]:
    name = config.classifier.name
    trees = name == "trees"
    if method in ("anode", "ranode"):
        reads = {"runs"} if method == "anode" else {"runs", "members", "folds"}
        for key in set(config.classifier) - reads:
            yield f"classifier.{key}", f"{method} does not read it"
    else:
        for key, owners in CLASSIFIER_OF.items():
            if key in config.classifier and name not in owners:
                yield f"classifier.{key}", f"classifier.name={name} does not read it"
    if method in SECTIONS_OF["classifier"]:
        yield "train.ensemble", "classifier.members and classifier.runs say how many"
    if method == "anode" or (trees and method != "ranode"):
        what = "anode trains densities alone" if method == "anode" else "trees are fitted at once"
        for key in config.train:
            yield f"train.{key}", what


def _of_search(config: ConfigDict) -> Iterator[tuple[str, str]]:
    section, name = config.search, config.classifier.name
    yield "method.oversampling", "search.train_factor and search.count_factor say how many rows"
    yield "classifier.runs", "a search trains its classifiers once"
    for key, owners in CLASSIFIER_OF.items():
        if name not in owners:
            yield f"classifier.{key}", f"classifier.name={name} does not read it"
    if name == "discriminant":
        yield "classifier.members", "a discriminant is in closed form: all would be the same"
    if section.half_split:
        yield "classifier.folds", "search.half_split has two"
    for key in config.train:
        if name in ("trees", "discriminant"):
            yield f"train.{key}", f"classifier.name={name} is fitted at once"
        elif key not in SEARCH_TRAINING:
            yield f"train.{key}", "a search trains for train.epochs by Adam at a constant rate"
    if not section.scan:
        for key in ("width", "step", "resolution"):
            yield f"search.{key}", "it is of search.scan"
    if not section.power:
        for key in ("power_sets", "inject"):
            yield f"search.{key}", "it is of search.power"
    if section.spectrum != "dijet":
        yield "search.sqrt_s", "it is of search.spectrum=dijet"


def _of_training(section: ConfigDict, name: str) -> Iterator[tuple[str, str]]:
    if section.optimizer != "adamw":
        yield f"{name}.weight_decay", f"it is of {name}.optimizer=adamw"
    if section.optimizer == "sgd":
        yield from ((f"{name}.{key}", f"{name}.optimizer=sgd has none") for key in ("b2", "eps"))
    if not section.plateau_patience:
        yield f"{name}.plateau_factor", f"{name}.plateau_patience is 0"
        if section.schedule != "cosine":
            yield f"{name}.min_learning_rate", f"the rate is constant: set {name}.schedule"
