"""A float network as integers: exact scores, distillation, widths that are learnt, refusals."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_scorers import TRIGGER, trigger_data

from jaxad.commands.train import bench, build_scorer
from jaxad.configs import adc2021_quantized
from jaxad.data.dataset import Dataset
from jaxad.errors import Preempted, UserError
from jaxad.methods import quantized, trigger_autoencoder
from jaxad.methods.stages import teacher as teachers
from jaxad.metrics.agreement import drift
from jaxad.models.quantized import QuantizedNetwork, calibrated, integers
from jaxad.scorer import load
from jaxad.training import fit


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    train, val, test = ({"x": trigger_data(n, seed)} for seed, n in enumerate((600, 200, 200)))
    return Dataset(train, val, test, {}, TRIGGER)


def configured(**changes):
    config = adc2021_quantized.get_config("smoke")
    config.method.update(changes)
    return config


@pytest.fixture(scope="module")
def teacher(dataset, tmp_path_factory):
    """A float run, its norms trained for a while; every test starts from it."""
    config = configured()
    config.teacher.model.name = "encoder_norm"
    config.teacher.train.update({"epochs": 10, "batch_size": 100, "learning_rate": 3e-3})
    folder = tmp_path_factory.mktemp("teacher")
    own = teachers.own_config(config)
    fitted = trigger_autoencoder.fit(own, dataset, bench(fit))
    build_scorer(own, "trigger_autoencoder", fitted, dataset).save(folder / "scorer")
    return folder


def source_of(config, teacher):
    return quantized.float_network(load(teacher), config)


def reference(teacher, x):
    """Scores (n,) of the float network, by its own code."""
    scorer = load(teacher)
    fitted = scorer.params
    one = jax.tree.map(lambda a: a[0, 0], {"params": fitted["params"]} | fitted["state"])
    z = trigger_autoencoder.stage_of(scorer.config, TRIGGER).apply(fitted, x)
    network = trigger_autoencoder.model(scorer.config)
    apply = jax.jit(network.apply, static_argnums=3)
    codes = apply(one, z, jnp.zeros((1, 8)), False, jnp.ones(len(x), bool)).mean
    return np.sum(np.asarray(codes, np.float64) ** 2, axis=-1)


def scored(config, fitted, x):
    return np.asarray(jax.jit(quantized.scores(config, TRIGGER))(fitted, x)["mu2"])


def test_layers_of_the_float_network_have_its_norms(dataset, teacher):
    config = configured(target="none", teacher=str(teacher))
    x = dataset.test["x"]
    source = source_of(config, teacher)
    stage = trigger_autoencoder.stage_of(source.config, TRIGGER)
    codes = np.asarray(stage.apply({"inputs": source.inputs}, x), np.float64)
    for number, (kernel, bias) in enumerate(source.layers):
        codes = codes @ kernel + bias
        codes = np.maximum(codes, 0) if number < 2 else codes
    np.testing.assert_allclose(np.sum(codes**2, -1), reference(teacher, x), rtol=1e-3)


WAYS = [
    {},
    {"weight_bits": 4, "activation_bits": 5, "rounding": "RND", "granularity": "channel"},
    {"learned": True, "granularity": "weight"},
]


@pytest.mark.parametrize("way", WAYS)
def test_scores_of_integers_are_those_of_the_quantised_network(way, dataset, teacher):
    config = configured(**way)
    source, widths = source_of(config, teacher), quantized.widths_of(config)
    stage = trigger_autoencoder.stage_of(source.config, TRIGGER)
    x = stage.apply({"inputs": source.inputs}, dataset.test["x"])
    params, types = calibrated(source.layers, np.asarray(x), widths)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a * rng.uniform(0.8, 1.1, a.shape).astype("f4"), params)
    network = QuantizedNetwork((32, 16, 8), widths, 7)
    codes = jax.jit(network.apply)({"params": params, "types": types}, x).codes
    layers = integers(params, types, widths)
    assert all(a.dtype == np.int32 for a in jax.tree.leaves(layers))
    found = jax.jit(partial(quantized._score, config))(layers, x)
    expected = np.sum(np.asarray(codes, np.float64) ** 2, -1)
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert len(np.unique(expected)) > 150


def test_rounding_distillation_and_learnt_widths(dataset, teacher):
    """At four bits the codes as target bring the scores nearer; beta takes bits away."""
    found, x = {}, dataset.test["x"]
    expected = reference(teacher, x)
    few = {"weight_bits": 4, "teacher": str(teacher)}
    for name, way in {
        "rounded": {"target": "none"},
        "codes": {},
        "learned": {"learned": True, "granularity": "weight", "beta": 3e-4, "beta_start": 1e-4},
    }.items():
        config = configured(**few, **way)
        config.train.update({"epochs": 10, "batch_size": 100, "learning_rate": 3e-3})
        config.train.ensemble = 2 if name == "codes" else 1
        fitted = quantized.fit(config, dataset, bench(fit))
        scores = scored(config, fitted, x)
        assert scores.shape == (config.train.ensemble, len(x))
        found[name] = drift(scores[0], expected), int(fitted["ebops"][0])
    assert found["codes"][0] < 0.8 * found["rounded"][0]
    assert found["learned"][1] < 0.9 * found["rounded"][1]


def test_the_own_loss_is_that_of_the_float_network(dataset, teacher):
    """With many bits, and nothing drawn, what is replaced gives what was there."""
    config = configured(target="loss", weight_bits=12, activation_bits=12, code_bits=12)
    source, widths = source_of(config, teacher), quantized.widths_of(config)
    stage = trigger_autoencoder.stage_of(source.config, TRIGGER)
    x = stage.apply({"inputs": source.inputs}, dataset.val["x"])
    start = calibrated(source.layers, np.asarray(x), widths)
    batch = {"x": x, "codes": jnp.zeros((len(x), 8)), "weight": jnp.ones(len(x))}
    job = quantized.task(config, source, start, 10, 1.0)
    params, state = job.init(jax.random.key(0), batch)
    value, _ = jax.jit(job.loss, static_argnums=4)(params, state, batch, jax.random.key(1), False)
    float_state = jax.tree.map(lambda a: a[0, 0], load(teacher).params["state"])
    theirs = trigger_autoencoder.task(source.config, {})
    expected, _ = theirs.loss(source.params, float_state, batch, jax.random.key(1), False)
    np.testing.assert_allclose(value, expected, rtol=5e-3)


def test_stopped_and_resumed_ends_bit_for_bit(dataset, teacher, tmp_path):
    config = configured(learned=True, granularity="channel", teacher=str(teacher))
    config.train.update({"epochs": 3, "batch_size": 100})

    def run(folder, stop=lambda: False):
        fitter = partial(fit, directory=folder, stop=stop)
        return quantized.fit(config, dataset, bench(fitter))

    polls = itertools.count()
    with pytest.raises(Preempted):
        run(tmp_path / "a", lambda: next(polls) > 1)
    again, undisturbed = run(tmp_path / "a"), run(tmp_path / "b")
    assert jax.tree.structure(again) == jax.tree.structure(undisturbed)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(undisturbed), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"granularity": "neuron"}, r"method\.granularity: expected one of layer, channel, weight"),
        ({"target": "score"}, r"method\.target: expected one of codes, loss, none"),
        ({"rounding": "TRN"}, r"method\.rounding: expected one of RND, RND_CONV"),
        ({"learned": True, "beta_start": 0.0}, r"method\.beta_start: expected a number above 0"),
        ({"input_type": "float"}, r"method\.input_type: fixed-point type: expected fixed<W"),
    ],
)
def test_settings_that_cannot_be_are_refused(way, message, dataset):
    with pytest.raises(UserError, match=message):
        quantized.fit(configured(**way), dataset, bench(fit))


def test_what_does_not_fit_is_refused(dataset, teacher):
    config = configured(teacher=str(teacher))
    config.train.keep_best = 2
    with pytest.raises(UserError, match=r"train\.keep_best: expected 1, as firmware holds one"):
        quantized.fit(config, dataset, bench(fit))
    config.train.keep_best, config.inputs.name = 1, "trigger_event"
    with pytest.raises(UserError, match=r"inputs\.name=trigger_event: gives .* a set, and quant"):
        quantized.fit(config, dataset, bench(fit))
    config.inputs.update({"name": "trigger_integer", "type": "fixed<10,6,RND,SAT>"})
    with pytest.raises(
        UserError, match=r"inputs\.type: expected that of method\.teacher, 'fixed<8"
    ):
        quantized.fit(config, dataset, bench(fit))
    scorer = load(teacher)
    scorer.params["params"] = jax.tree.map(lambda a: a.repeat(2, 0), scorer.params["params"])
    with pytest.raises(UserError, match=r"expected one network, found 2 members of 1 epochs"):
        quantized.float_network(scorer, configured())
    scorer.config.model.name = "dense_vae"
    with pytest.raises(UserError, match=r"ReLU and linear layers alone, found .* dense_vae"):
        quantized.float_network(scorer, configured())


def test_sums_that_int32_does_not_hold_are_refused():
    config = configured()
    layer = {
        "kernel": np.full((57, 1), 2**17, np.int32),
        "bias": np.zeros(1, np.int32),
        "kernel_type": np.array([19, 1], np.int32),
        "bias_type": np.array([1, 1], np.int32),
        "result_type": np.array([10, 6], np.int32),
    }
    quantized.require_lane(config, {"0": layer})
    with pytest.raises(UserError, match=r"sums of layer 0 have 33 bits, more than int32: lower"):
        quantized.require_lane(config, {"0": layer | {"kernel": 4 * layer["kernel"]}})
    with pytest.raises(UserError, match=r"code_bits: the sum of squares has 34 bits, more than"):
        quantized.require_lane(config, {"0": layer | {"result_type": np.array([17, 6])}})
