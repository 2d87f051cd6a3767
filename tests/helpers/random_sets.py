"""Scorers on sets of particles, and jets that are the same but for their slots."""

import importlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_case import ABOUT
from random_scorers import random_like

from jaxad import methods
from jaxad.data.layout import Layout
from jaxad.export import cpp, onnx, stablehlo
from jaxad.methods import contrastive, masked_particles
from jaxad.scorer import Scorer

LAYOUT = Layout("ptetaphi", (20, 3))
INPUTS = {"shift": np.float32([-4, 0, 0, -4]), "scale": np.float32([2, 0.2, 0.2, 2])}


def config_of(method, **changes):
    config = importlib.import_module(f"jaxad.configs.{method}").get_config("smoke")
    config.inputs.n_particles = 24
    config.train.batch_size = 16
    if method == "contrastive":
        config.method.n_neighbours = 5
    config.update_from_flattened_dict(changes)
    return config


def set_scorer(model="deep_sets", loss="chamfer", n_particles=24):
    """A scorer of two members and one epoch, of random weights."""
    config = config_of("set_autoencoder")
    config.model.name, config.method.loss = model, loss
    config.inputs.n_particles, config.inputs.efp_degree = n_particles, 2
    module = methods.get("set_autoencoder")
    network = module.model(config, LAYOUT)
    sets = jnp.zeros((1, n_particles, 5))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), sets))["params"]
    params = {"params": random_like(shapes, 2, 1), "inputs": INPUTS}
    if loss == "summaries":
        n = len(module.summaries_of(config, LAYOUT).names)
        params["summaries"] = {"shift": np.zeros(n, np.float32), "scale": np.ones(n, np.float32)}
    return Scorer("set_autoencoder", config, params, LAYOUT)


def random_scorer(method, model="deep_sets"):
    """Of two members and random weights."""
    config = config_of(method, **{"model.name": model})
    if method == "masked_particles":
        network, width = masked_particles.model(config), 5
        arguments = jnp.zeros((1, 24, 5)), jnp.ones((1, 24))
    else:
        network, width = contrastive.model(config), 4
        arguments = (jnp.zeros((1, 24, width)),)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), *arguments))["params"]
    if method == "masked_particles":
        fitted = {"params": random_like(shapes, 2, 1), "inputs": INPUTS}
        return Scorer(method, config, fitted, LAYOUT)
    d, rng = config.model.n_latent, np.random.default_rng(0)
    fitted = {
        "params": random_like(shapes, 2),
        "inputs": INPUTS,
        "spread": np.ones((2, d), np.float32),
        "reference": rng.normal(size=(2, 40, d)).astype(np.float32),
        "mean": np.zeros((2, d), np.float32),
        "whitening": rng.normal(size=(2, d, d)).astype(np.float32),
    }
    return Scorer(method, config, fitted, LAYOUT)


def changed(jets):
    """The same jets: permuted, with more padding, padding between particles, turned by 2 rad."""
    rng = np.random.default_rng(0)
    order = rng.permuted(np.tile(np.arange(20), (len(jets), 1)), axis=1)
    longer = np.concatenate([jets, np.zeros((len(jets), 50, 3), np.float32)], axis=1)
    places = np.sort(rng.permuted(np.tile(np.arange(70), (len(jets), 1)), axis=1)[:, :20], axis=1)
    between = np.zeros_like(longer)
    np.put_along_axis(between, places[..., None], jets, axis=1)
    turned = np.where(jets[..., :1] > 0, jets + np.float32([0, 0, 2]), 0)
    turned[..., 2] = (turned[..., 2] + np.pi) % (2 * np.pi) - np.pi
    return {
        "permuted": np.take_along_axis(jets, order[..., None], axis=1),
        "padded": longer,
        "padding between": between,
        "turned": turned.astype(np.float32),
    }


def assert_exports_agree(scorer, jets, formats, folder):
    params = jax.tree.map(jnp.asarray, scorer.params)
    score = lambda raw: scorer.fn(params, raw)  # noqa: E731
    expected = scorer(jets)
    tolerance = {"rtol": 2e-4, "atol": 2e-4}
    if "onnx" in formats:
        pytest.importorskip("onnxruntime")
        content = onnx.model(score, scorer.shape, ABOUT)
        for same in (jets, *changed(jets).values()):
            found = onnx.loaded(content)(same)[:, 0]
            np.testing.assert_allclose(found, expected, **tolerance)
    if "stablehlo" in formats:
        pytest.importorskip("flatbuffers")
        program = stablehlo.loaded(stablehlo.program(score, scorer.shape))
        np.testing.assert_allclose(jax.jit(program)(jets), expected, **tolerance)
    if "cpp" in formats:
        if shutil.which("g++") is None:
            pytest.skip("g++ is not installed")
        path = folder / "scorer.hpp"
        path.write_text(cpp.header(score, jets.shape[1:], ABOUT))
        found = cpp.compiled(path, ABOUT["namespace"])(jets)[:, 0]
        np.testing.assert_allclose(found, expected, **tolerance)
