"""Made-up events, files of them, and every method at its smallest: nothing is downloaded."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxad import data, inputs
from jaxad.configs import adc2021_vae
from jaxad.data.layout import Layout
from jaxad.inputs.trigger import pt_scale
from jaxad.models.trigger import MODELS
from jaxad.observables.trigger import object_names
from jaxad.scorer import Scorer

N_BACKGROUND, N_SIGNAL = 500, 80
RESONANT = ("cathode", "iad", "supervised", "cwola", "anode", "lacathode", "ranode")
SHALLOW = (
    *("isolation_forest", "one_class_svm", "gaussian_mixture", "nearest_neighbours"),
    "mahalanobis",
)


class Case(NamedTuple):
    """A method on one kind of events."""

    name: str
    config: str  # name of the config whose smoke variant is taken
    file: str
    data: dict
    inputs: dict
    method: str = ""  # "": the name
    model: str = ""  # "": the config's


def _cases() -> Iterator[Case]:
    trigger = ("trigger", {"format": "ptetaphi"}, {"name": "trigger_event"})
    jets = ("jets", {"format": "ptetaphi"})
    image = ("detector", {"format": "image"}, {"name": "image", "pixels": "mask"})
    table = ("table", {"format": "features", "mass_key": "mass"}, {"name": "features"})
    for name in RESONANT:
        yield Case(name, name, *table)
    for name in ("hln", "pnn"):
        yield Case(name, f"interpretable_{name}", *jets, {"name": "particles"})
    for name in ("codae", "codvae"):
        yield Case(name, name, *image, "codae")
    for name in ("dirichlet_vae", "qcd_or_what", "cct"):
        yield Case(name, name, *image)
    yield Case("cicada", "cicada", "regions", image[1], {"name": "image", "pixels": "counts"})
    jet_image = {"name": "jet_image", "n_pixels": 16}
    for name, into in (("features", {"name": "jet_features", "efp_degree": 1}),
                       ("images", jet_image)):  # fmt: skip
        yield Case(f"normalised_autoencoder ({name})", "normalised", *jets, into,
                   "normalised_autoencoder")  # fmt: skip
    for name in ("set_autoencoder", "masked_particles", "contrastive"):
        for model in ("deep_sets", "transformer"):
            into = {"name": "particle_set", "n_particles": 12}
            yield Case(f"{name} ({model})", name, *jets, into, name, model)
    yield Case("mean_image", "toptagging_ae", *jets, jet_image)
    yield Case("pca_16", "toptagging_ae", *jets, jet_image)
    yield Case("two_views", "jets_best", *jets, {"name": "jet_features"})
    yield Case("autoencoder (conv)", "toptagging_ae", *jets, {"name": "jet_image", "n_pixels": 16},
               "autoencoder")  # fmt: skip
    yield Case("autoencoder (pooled)", "interpretable_ae", *jets,
               {"name": "jet_image", "n_pixels": 12}, "autoencoder")  # fmt: skip
    yield Case("autoencoder (dense)", "features_ae", *table, "autoencoder")
    yield Case("pca", "features_ae", *table)
    for model in ("dense_vae", "conv_vae"):
        name = f"trigger_autoencoder ({model})"
        yield Case(name, "adc2021_vae", *trigger, "trigger_autoencoder", model)
    yield Case("rbm", "adc2021_rbm", *trigger)
    yield Case("flow_norm", "adc2021_flow_norm", *trigger)
    integers = ("trigger", {"format": "ptetaphi"}, {"name": "trigger_integer"})
    yield Case("feature_autoencoder", "adc2021_features", *integers)
    yield Case("quantized", "adc2021_quantized", *integers)
    for name in SHALLOW:
        yield Case(name, "adc2021_shallow", *trigger)
    yield Case("student", "adc2021_student", *trigger)
    yield Case("decade", "adc2021_decade", *trigger)


CASES = {case.name: case for case in _cases()}


def write_files(folder: Path) -> None:
    """One npz file a raw format, its last events signal."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, n = np.random.default_rng(0), N_BACKGROUND + N_SIGNAL
    label = np.repeat([0, 1], [N_BACKGROUND, N_SIGNAL])
    table = rng.normal(size=(n, 4)) * [1, 2, 3, 4] + label[:, None]
    mass = np.where(label, rng.normal(3500, 30, n), rng.uniform(2800, 4200, n))
    hot = 1 + 0.5 * label[:, None, None, None]
    for name, x in {
        "trigger": trigger_events(n),
        "jets": jets(n, 14),
        "table": table,
        "detector": rng.poisson(0.15 * hot, (n, 24, 20, 3)),
        "regions": rng.poisson(3 * hot, (n, 18, 14, 1)),
    }.items():
        np.savez(folder / f"{name}.npz", x=x.astype(np.float32), label=label, mass=mass)


def experiment(case: Case, folder: Path) -> ConfigDict:
    """The smoke variant of the case's config, pointed at its file in `folder`."""
    config = importlib.import_module(f"jaxad.configs.{case.config}").get_config("smoke")
    source, method = str(folder / f"{case.file}.npz"), case.method or case.name
    settings = {"label_key": "label", "signals": "s=1", "cache": str(folder / "cache")}
    if method in RESONANT:
        settings |= {"window": "3.3-3.7", "inject": 40}
    if method == "cct":
        settings["supervised"] = True
    config.data = data.get_config("events", source=source, **case.data, **settings)
    config.inputs = inputs.get_config(**case.inputs)
    config.method.name, config.baselines = method, ()
    if case.model:
        config.model.name = case.model
    for section in (config, config.get("teacher", {})):
        if "augment" in section.get("method", {}):
            section.method.augment = False
    if method == "student":
        config.method.teacher = str(folder / "teacher")
    if method in ("hln", "pnn"):
        config.method.passes = 1
    return config


def trigger_events(n: int, seed: int = 0) -> np.ndarray:
    """Events (n, 19, 3) = (pT [GeV], eta, phi) with about half of the slots empty."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, 19, 3), np.float32) * np.float32([80, 4, 6]) - np.float32([0, 2, 3])
    return x * (rng.random((n, 19, 1), np.float32) < 0.5)


def jets(n: int, n_particles: int) -> np.ndarray:
    """Collimated jets (n, particles, 3) = (pT [GeV], eta, phi), zero padded."""
    rng = np.random.default_rng(1)
    pt = -np.sort(-rng.exponential(size=(n, n_particles)), axis=1)
    pt *= 600 / pt.sum(axis=1, keepdims=True)
    angles = rng.uniform(-1, 1, (n, 1, 2)) + rng.normal(0, 0.15, (n, n_particles, 2))
    there = np.arange(n_particles) < rng.integers(4, n_particles, (n, 1))
    x = np.concatenate([pt[..., None], angles], axis=2)
    return (x * there[..., None]).astype(np.float32)


def trigger_scorer() -> Scorer:
    """The dense VAE of trigger events with random weights; its score is the KL."""
    config = adc2021_vae.get_config()
    arguments = (jnp.zeros((1, 19, 3)), jnp.zeros((1, 3)), False, jnp.ones(1, bool))
    variables = jax.jit(lambda key: MODELS["dense_vae"].init(key, *arguments))(jax.random.key(0))
    rng = np.random.default_rng(0)
    # Running averages as of a trained network, in whose place zeros and ones would be folded away.
    state = jax.tree.map(
        lambda a: rng.uniform(0.5, 1.5, a.shape).astype(np.float32), variables["batch_stats"]
    )
    fitted = {"params": variables["params"], "state": {"batch_stats": state}}
    fitted = jax.tree.map(lambda a: np.asarray(a)[None, None], fitted)
    fitted["inputs"] = pt_scale(trigger_events(500, seed=1))
    layout = Layout("ptetaphi", (19, 3), objects=object_names())
    return Scorer("trigger_autoencoder", config, fitted, layout)
