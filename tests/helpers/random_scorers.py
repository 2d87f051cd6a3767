"""Scorers of random weights on random events, for what does not depend on training."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.configs import (
    adc2021_quantized,
    adc2021_shallow,
    adc2021_vae,
    cathode,
    cicada,
    toptagging_ae,
)
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.inputs import trigger_integer
from jaxad.inputs.trigger import pt_scale
from jaxad.methods import autoencoder, quantized
from jaxad.methods.stages import weak
from jaxad.methods.stages.integers import FORMS
from jaxad.models import cicada as students
from jaxad.models.affine import Affine
from jaxad.models.integers import ebops, integers
from jaxad.models.quantized import calibrated as calibrated_network
from jaxad.models.reading import layers_of
from jaxad.models.trigger import MODELS
from jaxad.observables.derived import dijet_names
from jaxad.observables.trigger import object_names
from jaxad.scorer import Scorer

TRIGGER = Layout("ptetaphi", (19, 3), objects=object_names())
REGIONS = Layout("image", (18, 14), periodic=True, energies=True)
PREPARED = Layout("features", (5,), columns=dijet_names(), mass="mjj")


def trigger_data(n: int, seed: int = 0) -> np.ndarray:
    """Events (n, 19, 3) = (pT [GeV], eta, phi) with about half of the slots empty."""
    rng = np.random.default_rng(seed)
    x = np.stack(
        [rng.gamma(2, 20, (n, 19)), rng.uniform(-2, 2, (n, 19)), rng.uniform(-3, 3, (n, 19))], -1
    )
    return (x * (rng.random((n, 19, 1)) < 0.5)).astype(np.float32)


def trigger_dataset() -> Dataset:
    """Background events alone: 600 that train, 200 each that choose epochs and test."""
    train, val, test = ({"x": trigger_data(n, seed)} for seed, n in enumerate((600, 200, 200)))
    return Dataset(train, val, test, {}, TRIGGER)


def calibrated(scorer: Scorer, events: np.ndarray) -> Scorer:
    return dataclasses.replace(scorer, background=np.sort(scorer(events)))


def trigger_scorer(name: str = "dense_vae", n_background: int = 2000) -> Scorer:
    """The trigger autoencoder `name`, an ensemble of two with two epochs each."""
    config = adc2021_vae.get_config()
    config.model.name = name
    width = getattr(MODELS[name], "n_latent", 1)
    arguments = (jnp.zeros((1, 19, 3)), jnp.zeros((1, width)), False, jnp.ones(1, bool))
    shapes = dict(jax.eval_shape(lambda: MODELS[name].init(jax.random.key(0), *arguments)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: (
            rng.uniform(0.1, 0.3, (2, 2, *leaf.shape)).astype(np.float32)
            * rng.choice([-1, 1], leaf.shape).astype(np.float32) ** (len(leaf.shape) > 1)
        ),
        shapes,
    )
    fitted = {"params": variables.pop("params"), "state": variables}
    fitted["inputs"] = pt_scale(trigger_data(500, seed=1))
    scorer = Scorer("trigger_autoencoder", config, fitted, TRIGGER)
    return calibrated(scorer, trigger_data(n_background, seed=2))


SIZES = {
    "mu2": (57, 32, 16, 8),
    "mse": (57, 16, 3, 16, 57),
    "distance": (57, 29, 10, 9, 6, 4, 6, 9, 10),
    "student": (57, 16, 8, 1),
}


def float_layers(score: str) -> list[Affine]:
    """Random layers of the score's usual network."""
    rng, last = np.random.default_rng(0), len(SIZES[score]) - 2
    linear = (4, 7) if score == "distance" else (last,)
    return [
        Affine(rng.normal(0, (2 / i) ** 0.5, (i, o)), rng.normal(0, 0.3, o), number not in linear)
        for number, (i, o) in enumerate(itertools.pairwise(SIZES[score]))
    ]


def convolution_layers() -> list[Affine]:
    """Events as images (19, 3): a random convolution 3 x 3 of stride 2, and a dense layer of 4."""
    rng = np.random.default_rng(0)
    variables = {"kernel": rng.normal(0, 0.5, (3, 3, 1, 4)), "bias": rng.normal(0, 0.3, 4)}
    variables |= {"dense": rng.normal(0, 0.25, (36, 4))}

    def network(v: dict, x: jax.Array) -> jax.Array:
        y = jax.lax.conv_general_dilated(
            *(x.reshape(-1, 19, 3, 1), v["kernel"], (2, 2), "VALID"),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return jax.nn.relu(y + v["bias"]).reshape(len(x), -1) @ v["dense"]

    return layers_of(network, jax.tree.map(np.float32, variables), 57)


def integer_scorer(
    rounding: str = "RND_CONV",
    bits: int = 4,
    score: str = "mu2",
    layers: list[Affine] | None = None,
) -> Scorer:
    """A quantised network of `layers`, or random; inputs round alike, two are doubled."""
    config = adc2021_quantized.get_config("smoke")
    config.inputs.type = f"fixed<8,6,{rounding},SAT>"
    config.method.update({"rounding": rounding, "weight_bits": bits, "score": score})
    counts = np.asarray(trigger_integer.counts(trigger_data(2000, seed=1)))
    fitted = {"inputs": trigger_integer.scales(counts)}
    fitted["inputs"]["shift"][[0, 31]] = -1
    x = trigger_integer.scaled(fitted["inputs"], counts, trigger_integer.type_of(config.inputs))
    widths, layers = quantized.widths_of(config), layers or float_layers(score)
    fraction = trigger_integer.type_of(config.inputs).fraction
    calibration = layers, np.asarray(x), fraction, widths
    start = calibrated_network(*calibration, FORMS[score].compared)
    found = integers(*start, widths, [layer.relu for layer in layers])
    fitted["layers"] = jax.tree.map(lambda a: a[None], found)
    fitted["ebops"] = np.array([ebops(found, 7)], np.int32)
    scorer = Scorer("quantized", config, fitted, TRIGGER)
    return calibrated(scorer, trigger_data(2000, seed=2))


def regions(n: int, seed: int = 0) -> np.ndarray:
    """Images (n, 18, 14) of sparse counts, a region of some of them full."""
    rng = np.random.default_rng(seed)
    x = np.floor(rng.exponential(3, (n, 18, 14)) * (rng.random((n, 18, 14)) < 0.5))
    x[::30, 3, 2] = 1023
    return x.astype(np.float32)


def region_params() -> tuple[dict, students.Statistics]:
    """Weights of a student off any grid, and the statistics of images."""
    params = students.initial(jax.random.key(1), 252, 50.0)
    scales, shifts = jax.random.normal(jax.random.key(2), (2, 16))
    params["scale"] *= 15 * (1 + 0.3 * scales)
    params["shift"] += shifts
    y = jax.jit(students.hidden)(params, regions(300, 1)[..., None])
    return params, jax.jit(students.statistics)(params, y, np.ones(300))


def region_scorer() -> Scorer:
    """A student of random weights."""
    stored = students.integers(*region_params())
    fitted = {
        "layers": jax.tree.map(lambda a: a[None], stored),
        "inputs": {},
        "ebops": np.array([students.ebops(stored)], np.int32),
    }
    return calibrated(Scorer("cicada", cicada.get_config(), fitted, REGIONS), regions(2000, 2))


def random_like(shapes, *leading: int):
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(0, 0.3, (*leading, *leaf.shape)).astype(np.float32), shapes
    )


def classifier_scorer(folds: int = 0) -> Scorer:
    """CATHODE's ensemble of three networks, one a fold where there are three folds."""
    config = cathode.get_config()
    network = weak._network(config)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 4))))
    fitted = {
        "shift": np.full(4, 0.1, np.float32),
        "scale": np.full(4, 2.0, np.float32),
        "fold": np.arange(3) * (folds > 0),
        "params": random_like(shapes, 3, 2),
    }
    config.classifier.update({"members": 3 // max(folds, 1), "folds": folds})
    return Scorer("cathode", config, {"classifier": fitted}, PREPARED)


def mixture_scorer() -> Scorer:
    rng = np.random.default_rng(0)
    config = adc2021_shallow.get_config()
    config.method.name = "gaussian_mixture"
    fitted = {
        "centres": rng.normal(0, 1, (2, 57)).astype(np.float32),
        "precisions": rng.normal(0, 1, (2, 57, 57)).astype(np.float32),
        "norms": np.zeros(2, np.float32),
    }
    return Scorer("gaussian_mixture", config, fitted, TRIGGER)


def jet_scorer(align: bool = False) -> Scorer:
    """The autoencoder of jet images, of any number of particles (E, px, py, pz)."""
    config = toptagging_ae.get_config("smoke")
    config.inputs.align = align
    network = autoencoder.model(config)
    image = jnp.zeros((1, config.inputs.n_pixels, config.inputs.n_pixels, 1))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), image))["params"]
    params = {"params": random_like(shapes, 1, 1)}
    return Scorer("autoencoder", config, params, Layout("epxpypz", (200, 4)))


def jets(n: int, n_particles: int) -> np.ndarray:
    """Jets (n, particles, 4) of massless particles, (E, px, py, pz) [GeV], zero padded."""
    rng = np.random.default_rng(0)
    there = np.arange(n_particles) < rng.integers(3, n_particles + 1, (n, 1))
    pt = np.sort(rng.gamma(2, 30, (n, n_particles)))[:, ::-1] * there
    eta, phi = rng.normal(0, 0.3, (2, n, n_particles))
    eta += 1
    momenta = [pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)]
    return np.stack(momenta, -1).astype(np.float32)
