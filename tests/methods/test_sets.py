"""Networks on sets: what their scores do not depend on, training, and exports that agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_case import ABOUT
from random_jets import random_jets
from random_scorers import random_like

from jaxad import methods
from jaxad.configs import set_autoencoder
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.export import cpp, onnx, stablehlo
from jaxad.methods import settings
from jaxad.models.sets import DeepSets, Transformer
from jaxad.scorer import Scorer

LAYOUT = Layout("ptetaphi", (20, 3))
INPUTS = {"shift": np.float32([-4, 0, 0, -4]), "scale": np.float32([2, 0.2, 0.2, 2])}
LONG = pytest.mark.long


def made(model="deep_sets", loss="chamfer", n_particles=24):
    """A scorer of two members and one epoch, of random weights."""
    config = set_autoencoder.get_config("smoke")
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


@pytest.fixture(scope="module")
def jets():
    return random_jets(1, 30, 20, spread=0.1)


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


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ("deep_sets", "chamfer"),
        ("transformer", "chamfer"),
        pytest.param("deep_sets", "energy_mover", marks=LONG),
        pytest.param("deep_sets", "summaries", marks=LONG),
    ],
)
def test_scores_depend_on_the_particles_alone(model, loss, jets):
    scorer = made(model, loss)
    fn = jax.jit(lambda x: scorer.fn(scorer.params, x))
    expected = np.asarray(fn(jets))
    assert np.ptp(expected) > 1e-3
    # Single precision of the sums; of the transport also that of its iterations.
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if loss != "chamfer" else {"rtol": 1e-5, "atol": 1e-5}
    for name, same in changed(jets).items():
        np.testing.assert_allclose(fn(same), expected, err_msg=name, **tolerance)
    assert np.isfinite(fn(np.zeros((2, 20, 3), np.float32))).all()


@pytest.mark.parametrize("network", [DeepSets(6), Transformer(6, layers=2, width=16)])
def test_slots_without_a_particle_change_no_summary(network):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 9, 4)).astype(np.float32)
    present = (np.arange(9) < rng.integers(1, 9, (5, 1))).astype(np.float32)
    present[0] = 0
    apply = jax.jit(network.apply)
    params = jax.jit(network.init)(jax.random.key(0), x, present)
    expected = np.asarray(apply(params, x, present))
    assert np.isfinite(expected).all()
    order = rng.permutation(9)
    found = apply(params, x[:, order], present[:, order])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Whatever stands in them.
    other = np.where(present[..., None] > 0, x, 7.0)
    np.testing.assert_allclose(apply(params, other, present), expected, atol=1e-5)


def assert_exports_agree(scorer, jets, formats):
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
        header = cpp.header(score, jets.shape[1:], ABOUT)
        assert header


def test_deep_sets_export(jets):
    assert_exports_agree(made(), jets, ("onnx", "stablehlo", "cpp"))


@LONG
@pytest.mark.parametrize("loss", ["chamfer", "energy_mover", "summaries"])
@pytest.mark.parametrize("model", ["deep_sets", "transformer"])
def test_every_network_and_loss_exports(model, loss, jets):
    formats = ("onnx", "stablehlo") if loss == "summaries" else ("onnx", "stablehlo", "cpp")
    assert_exports_agree(made(model, loss), jets, formats)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("model", {"name": "dense"}, "model.name: expected deep_sets or transformer, found 'dense"),
        ("model", {"name": "transformer", "heads": 3}, "model.heads: expected a divisor of model"),
        ("method", {"loss": "mse"}, "method.loss: expected one of chamfer, energy_mover, summ"),
    ],
)
def test_networks_that_cannot_be(section, changes, message):
    config = set_autoencoder.get_config()
    config[section].update(changes)
    with pytest.raises(UserError, match=message):
        methods.get("set_autoencoder").scores(config, LAYOUT)


def test_settings_that_change_nothing():
    config = set_autoencoder.get_config()
    assert {"model.layers", "inputs.efp_degree"} <= {*settings.idle(config)}
    assert not {"inputs.n_particles", "inputs.n_pixels", "method.loss"} & {*settings.idle(config)}
    config.method.loss, config.model.name = "summaries", "transformer"
    idle = settings.idle(config)
    assert {"model.n_slots", "method.radius"} <= {*idle}
    assert not {"model.layers", "inputs.efp_degree"} & {*idle}
