"""A float network as integers: exact scores, distillation, widths that are learnt, refusals."""

import itertools
from contextlib import nullcontext
from functools import partial

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_scorers import TRIGGER, trigger_dataset

from jaxad import inputs
from jaxad.commands.score import score
from jaxad.commands.train import bench, build_scorer
from jaxad.configs import adc2021_features, adc2021_quantized
from jaxad.data.dataset import Dataset
from jaxad.errors import Preempted, UserError
from jaxad.methods import feature_autoencoder, quantized, trigger_autoencoder
from jaxad.methods.stages import integers as integers_stage
from jaxad.methods.stages import teacher as teachers
from jaxad.methods.stages.fractions import fractions_of
from jaxad.metrics.agreement import drift
from jaxad.models.integers import integers
from jaxad.models.quantized import QuantizedNetwork, calibrated
from jaxad.scorer import Scorer, load
from jaxad.training import fit


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return trigger_dataset()


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
    return quantized.float_network(load(teacher), config, 57)


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


def quantized_inputs(config, fitted, x):
    return inputs.stage(config.inputs, TRIGGER, quantized.KINDS, "quantized").apply(fitted, x)


def scored(config, fitted, x):
    return np.asarray(jax.jit(quantized.scores(config, TRIGGER))(fitted, x)[config.method.score])


def test_layers_of_the_float_network_have_its_norms(dataset, teacher):
    config = configured(target="none", teacher=str(teacher))
    x = dataset.test["x"]
    source = source_of(config, teacher)
    stage = trigger_autoencoder.stage_of(source.config, TRIGGER)
    codes = quantized.codes_of(source.layers, stage.apply({"inputs": source.inputs}, x))
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
    params, types = calibrated(source.layers, np.asarray(x), 2, widths)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a * rng.uniform(0.8, 1.1, a.shape).astype("f4"), params)
    network = QuantizedNetwork((32, 16, 8), widths, 7)
    codes = jax.jit(network.apply)({"params": params, "types": types}, x).codes
    layers = integers(params, types, widths)
    assert all(a.dtype == np.int32 for a in jax.tree.leaves(layers))
    found = jax.jit(partial(integers_stage.integer_score, config))(layers, x)
    expected = np.sum(np.asarray(codes, np.float64) ** 2, -1)
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert len(np.unique(expected)) > 150


def few_bits(teacher, **way):
    """A short training from three bits."""
    config = configured(weight_bits=3, teacher=str(teacher), **way)
    config.train.update({"epochs": 10, "batch_size": 100, "learning_rate": 3e-3})
    return config


@pytest.fixture(scope="module")
def learned(dataset, teacher):
    """Config and fit of learnt widths."""
    way = {"learned": True, "granularity": "weight", "beta": 3e-4, "beta_start": 1e-4}
    config = few_bits(teacher, **way)
    return config, quantized.fit(config, dataset, bench(fit))


def test_rounding_distillation_and_learnt_widths(dataset, teacher, learned):
    """At three bits the codes as target bring the scores nearer; beta takes bits away."""
    x = dataset.test["x"]
    expected = reference(teacher, x)
    rounding, codes = few_bits(teacher, target="none"), few_bits(teacher)
    codes.train.ensemble = 2
    rounded, trained = (quantized.fit(c, dataset, bench(fit)) for c in (rounding, codes))
    before, (after, other) = scored(rounding, rounded, x), scored(codes, trained, x)
    assert before.shape == (1, len(x))
    assert max(drift(a, expected) for a in (after, other)) < 0.8 * drift(before[0], expected)
    assert np.any(after != other)  # members have another order of events
    assert learned[1]["ebops"][0] < 0.9 * rounded["ebops"][0]


def test_a_stored_scorer_has_the_same_scores(dataset, learned, tmp_path):
    config, fitted = learned
    build_scorer(config, "quantized", fitted, dataset).save(tmp_path / "scorer")
    scorer, x = load(tmp_path), dataset.test["x"]
    assert scorer.names == ["mu2"] and scorer.params["layers"]["0"]["kernel"].dtype == np.int32
    np.testing.assert_array_equal(scorer(x), scored(config, fitted, x)[0])
    np.savez(tmp_path / "events.npz", x=x)
    score(tmp_path, [str(tmp_path / "events.npz")], tmp_path / "scores.h5", "x", {})
    layers = jax.tree.map(lambda a: a[0], fitted["layers"])
    counts = integers_stage.score_counts(config, layers, quantized_inputs(config, fitted, x))[0]
    with h5py.File(tmp_path / "scores.h5") as file:
        fraction = file["mu2"].attrs["fraction"]
        np.testing.assert_array_equal(np.ldexp(file["mu2"][:], fraction), counts)
    two = jax.tree.map(lambda a: np.repeat(a, 2, 0), fitted)
    assert fractions_of("quantized", config, two) == fractions_of("pca", config, {}) == {}
    assert fractions_of("cicada", config, {"ebops": [1]}) == {"student": 8}


def autoencoder(x):
    """A run of the challenge's autoencoder with random weights."""
    config = teachers.own_config(configured())
    config.model.name = "challenge"
    arguments = jnp.zeros((1, 57)), jnp.zeros((1, 1)), False, jnp.ones(1, bool)
    network = trigger_autoencoder.model(config)
    params = jax.jit(lambda: network.init(jax.random.key(0), *arguments)["params"])()
    learnt = trigger_autoencoder.stage_of(config, TRIGGER)
    learnt = learnt.fit(np.asarray(learnt.values(x)))
    fitted = {"params": jax.tree.map(lambda a: a[None, None], params), "inputs": learnt}
    return Scorer("trigger_autoencoder", config, fitted, TRIGGER)


def test_autoencoders_have_their_error_in_integers(dataset):
    teacher, x = autoencoder(dataset.train["x"]), dataset.test["x"]
    at_hand = bench(fit)._replace(load=lambda path: teacher)
    way = {"score": "mse", "teacher": "at hand", "target": "none", "code_bits": 8}
    config = configured(**way, weight_bits=12, activation_bits=12)
    fitted = quantized.fit(config, dataset, at_hand)
    fine = scored(config, fitted, x)[0]
    np.testing.assert_allclose(fine, 57 * teacher(x), rtol=0.02)
    config = configured(**way, weight_bits=4)
    fitted = quantized.fit(config, dataset, at_hand)
    found = scored(config, fitted, x)[0]
    layers = jax.tree.map(lambda a: a[0], fitted["layers"])
    stage = trigger_autoencoder.stage_of(teacher.config, TRIGGER)
    z = np.asarray(stage.apply(teacher.params, x), np.float64)
    y = z
    for number in map(str, range(4)):
        own = {n: layers[number][n] for n in ("kernel", "bias")}
        steps = {n: 2.0 ** np.subtract(*layers[number][f"{n}_type"][::-1]) for n in own}
        y = y @ (own["kernel"] * steps["kernel"]) + own["bias"] * steps["bias"]
        last = number == "3"
        width, integer = layers[number]["result_type" if last else "relu_type"]
        step = 2.0 ** (integer - width)
        low, high = (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if last else (0, 2**width - 1)
        y = np.clip(np.round(y / step), low, high) * step
    np.testing.assert_array_equal(found, np.sum((y - z) ** 2, axis=-1).astype(np.float32))
    assert drift(found, fine) > 1e-3


@pytest.fixture(scope="module")
def features(dataset):
    """A run of CMS's layout with random weights, and a bench that has it at hand."""
    config = adc2021_features.get_config("smoke")
    config.inputs = configured().inputs
    key, stage = jax.random.key(0), feature_autoencoder._stage(config, TRIGGER)
    encoder, autoencoder = (
        getattr(feature_autoencoder, name)(config) for name in ("encoder", "autoencoder")
    )
    fitted = {
        "encoder": jax.jit(encoder.init)(key, jnp.zeros((1, 57))),
        "params": jax.jit(autoencoder.init)(key, jnp.zeros((1, 10))),
    }
    fitted["encoder"] = jax.tree.map(lambda a: a[None], fitted["encoder"])
    fitted["params"] = jax.tree.map(lambda a: a[None, None], fitted["params"])
    fitted["inputs"] = stage.fit(np.asarray(stage.values(dataset.train["x"])))
    return Scorer("feature_autoencoder", config, fitted, TRIGGER)


def at_hand(teacher, **how):
    return bench(partial(fit, **how))._replace(load=lambda path: teacher)


def distances(**way):
    config = configured(score="distance", teacher="at hand", **way)
    config.train.update({"epochs": 10, "batch_size": 100, "learning_rate": 3e-3})
    return config


@pytest.mark.parametrize("way", WAYS)
def test_distances_of_integers_are_those_of_the_quantised_network(way, dataset, features):
    """The fifth layer and the last have a sign, and no other."""
    config = distances(**way)
    source, widths = quantized.float_network(features, config, 57), quantized.widths_of(config)
    stage = feature_autoencoder._stage(features.config, TRIGGER)
    x = np.asarray(stage.apply(features.params, dataset.test["x"]))
    params, types = calibrated(source.layers, x, 2, widths, compared=2)
    assert types["7"]["integer"] >= types["1"]["integer"] + 1  # of an untrained network too
    relus = tuple(number not in (4, 7) for number in range(8))
    assert [layer.relu for layer in source.layers] == [*relus]
    network = QuantizedNetwork((29, 10, 9, 6, 4, 6, 9, 10), widths, 7, relus)
    found = jax.jit(network.apply)({"params": params, "types": types}, x)
    layers = integers(params, types, widths, relus)
    scores = jax.jit(partial(integers_stage.integer_score, config))(layers, x)
    codes = np.asarray(found.codes, np.float64) - np.asarray(found.hidden[1], np.float64)
    np.testing.assert_array_equal(scores, np.sum(codes**2, -1).astype(np.float32))
    assert len(np.unique(scores)) > 150
    lowest = [float(y.min()) for y in (*found.hidden, found.codes)]
    assert [y < 0 for y in lowest] == [number in (4, 7) for number in range(8)]
    types = [layer.output_type for layer in integers_stage.network_of(config, layers)]
    assert [t.signed for t in types] == [number in (4, 7) for number in range(8)]
    for y, t in zip((*found.hidden, found.codes), types, strict=True):
        np.testing.assert_array_equal(np.ldexp(np.asarray(y), t.fraction) % 1, 0)


@pytest.fixture(scope="module")
def distilled(dataset, features):
    """Config and fit of three bits."""
    config = distances(weight_bits=3)
    return config, quantized.fit(config, dataset, at_hand(features))


@pytest.mark.long
def test_distances_are_those_of_the_float_network(dataset, features, distilled):
    """With many bits; with three, the codes as target bring them nearer."""
    x = dataset.test["x"]
    expected = features(x)
    fine = distances(target="none", weight_bits=12, activation_bits=12)
    fine = scored(fine, quantized.fit(fine, dataset, at_hand(features)), x)[0]
    np.testing.assert_allclose(fine, expected, rtol=0.05)
    rounding = distances(weight_bits=3, target="none")
    rounded = quantized.fit(rounding, dataset, at_hand(features))
    before, after = (scored(*way, x)[0] for way in ((rounding, rounded), distilled))
    assert drift(after, expected) < 0.8 * drift(before, expected)


@pytest.mark.long
def test_distances_resumed_and_stored_are_the_same(dataset, features, distilled, tmp_path):
    (config, undisturbed), x = distilled, dataset.test["x"]
    polls = itertools.count()
    with pytest.raises(Preempted):
        stop = {"directory": tmp_path / "run", "stop": lambda: next(polls) > 1}
        quantized.fit(config, dataset, at_hand(features, **stop))
    again = quantized.fit(config, dataset, at_hand(features, directory=tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, again, undisturbed)
    build_scorer(config, "quantized", again, dataset).save(tmp_path / "scorer")
    scorer = load(tmp_path)
    assert scorer.names == ["distance"]
    np.testing.assert_array_equal(scorer(x), scored(config, undisturbed, x)[0])


def test_features_that_rounding_takes_away_are_refused():
    kernel = np.array([[300.0, 0.2, 0.0], [10.0, -0.3, 0.0]])
    quantized.require_features(kernel, np.array([[300.0, 0.25, 0.0], [8.0, 0.0, 0.0]]), "channel")
    with pytest.raises(UserError, match=r"^method\.granularity=layer: all weights of 1 of 3 feat"):
        quantized.require_features(kernel, np.array([[304.0, 0, 0], [16.0, 0, 0]]), "layer")


def test_teachers_that_are_no_features_are_refused(dataset, teacher, features):
    config = distances()
    with pytest.raises(UserError, match=r"a run of feature_autoencoder, .* found trigger_a"):
        quantized.float_network(load(teacher), config, 57)
    with pytest.raises(UserError, match=r"method\.score=mu2 asks, found feature_autoencoder$"):
        quantized.float_network(features, configured(), 57)
    deeper = Scorer(features.method, features.config.copy_and_resolve_references(), {}, TRIGGER)
    deeper.config.model.features = (9, 7, 6)
    with pytest.raises(UserError, match=r"expected 2 model\.features, .* found 3"):
        quantized.float_network(deeper, config, 57)
    config.method.teacher = ""
    with pytest.raises(UserError, match=r"a run of feature_autoencoder, .* found trigger_a"):
        quantized.fit(config, dataset, None)  # before anything trains
    with pytest.raises(UserError, match=r"method\.target=loss: features that no view trains would"):
        quantized.widths_of(distances(target="loss"))


def test_the_own_loss_is_that_of_the_float_network(dataset, teacher):
    """With many bits, and nothing drawn, what is replaced gives what was there."""
    config = configured(target="loss", weight_bits=12, activation_bits=12, code_bits=12)
    source, widths = source_of(config, teacher), quantized.widths_of(config)
    stage = trigger_autoencoder.stage_of(source.config, TRIGGER)
    x = stage.apply({"inputs": source.inputs}, dataset.val["x"])
    start = calibrated(source.layers, np.asarray(x), 2, widths)
    batch = {"x": x, "codes": jnp.zeros((len(x), 8)), "weight": jnp.ones(len(x))}
    job = quantized.task(config, source, start, 10, 1.0)
    params, state = job.init(jax.random.key(0), batch)
    value, _ = jax.jit(job.loss, static_argnums=4)(params, state, batch, jax.random.key(1), False)
    float_state = jax.tree.map(lambda a: a[0, 0], load(teacher).params["state"])
    theirs = trigger_autoencoder.task(source.config, {})
    expected, _ = theirs.loss(source.params, float_state, batch, jax.random.key(1), False)
    np.testing.assert_allclose(value, expected, rtol=5e-3)


def test_lengths_of_codes_are_learnt_above_all(dataset, teacher):
    """Targets as far from the codes as others, whose scores are the same, cost less."""
    config = configured()
    source, widths = source_of(config, teacher), quantized.widths_of(config)
    stage = trigger_autoencoder.stage_of(source.config, TRIGGER)
    x = np.asarray(stage.apply({"inputs": source.inputs}, dataset.val["x"]))
    params, types = start = calibrated(source.layers, x, 2, widths)
    network = QuantizedNetwork((32, 16, 8), widths, 7)
    codes = np.asarray(jax.jit(network.apply)({"params": params, "types": types}, x).codes)
    other = np.roll(codes, 1, axis=-1)  # of the same length
    far, length = (np.linalg.norm(a, axis=-1, keepdims=True) for a in (other - codes, codes))
    longer = codes * (1 + far / np.maximum(length, 1e-6))
    job, found = quantized.task(config, source, start, 10, 1.0), []
    params, state = job.init(jax.random.key(0), {})
    loss = jax.jit(job.loss, static_argnums=4)
    for target in (other, longer):
        batch = {"x": x, "codes": target, "weight": np.ones(len(x), np.float32)}
        found.append(loss(params, state, batch, jax.random.key(1), False)[0])
    assert 0 < found[0] < 0.1 * found[1]


def test_stopped_and_resumed_ends_bit_for_bit(dataset, learned, tmp_path):
    config, undisturbed = learned
    polls = itertools.count()
    with pytest.raises(Preempted):
        stopped = partial(fit, directory=tmp_path, stop=lambda: next(polls) > 1)
        quantized.fit(config, dataset, bench(stopped))
    again = quantized.fit(config, dataset, bench(partial(fit, directory=tmp_path)))
    assert jax.tree.structure(again) == jax.tree.structure(undisturbed)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(undisturbed), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"granularity": "neuron"}, r"method\.granularity: expected one of layer, channel, weight"),
        ({"score": "kl"}, r"method\.score=kl: has an exponential of the variance, which has no"),
        (
            {"score": "z2"},
            r"method\.score: expected one of mu2, mse, distance, student, fl",
        ),
        ({"granularity": "weight"}, r"method\.granularity=weight: is for learnt widths, as all"),
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
        quantized.float_network(scorer, configured(), 57)
    scorer.config.model.name = "dense_vae"
    with pytest.raises(UserError, match=r"dense_vae has a leaky ReLU, which has no integer form"):
        quantized.float_network(scorer, configured(), 57)


def test_sums_that_int32_does_not_hold_are_refused():
    config = configured()
    layer = {
        "kernel": np.full((57, 1), 2**17, np.int32),
        "bias": np.zeros(1, np.int32),
        "kernel_type": np.array([19, 1], np.int32),
        "bias_type": np.array([1, 1], np.int32),
        "result_type": np.array([10, 6], np.int32),
    }
    integers_stage.require_lane(config, {"0": layer})
    with pytest.raises(
        UserError, match=r"layer 0 have 33 bits, more than int32: .* method\.input_type"
    ):
        integers_stage.require_lane(config, {"0": layer | {"kernel": 4 * layer["kernel"]}})
    for bits, message in ((16, ""), (17, r"has 34 bits, more than int32: set method.code_bits=16")):
        own = {"0": layer | {"result_type": np.array([bits, 6])}}
        with pytest.raises(UserError, match=message) if message else nullcontext():
            integers_stage.require_lane(config, own)


UNTRAINED = bench(fit)._replace(fit=None)  # a training would end in a TypeError


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"score": "mu2", "code_bits": 16}, r"8 squares .* set method\.code_bits=14$"),
        (
            {"score": "mse", "input_type": "fixed<14,6,RND_CONV,SAT>"},
            r"57 squares .* has 35 bits, .* set method\.input_type=fixed<12,6,RND_CONV,SAT>$",
        ),
        ({"score": "mse", "code_bits": 20}, r"57 squares .* set method\.code_bits=\d$"),
        (
            {"score": "distance", "activation_bits": 22, "weight_bits": 2},
            r"10 squares .* set method\.activation_bits=1\d$",
        ),
    ],
)
def test_scores_that_int32_does_not_hold_are_refused_before_training(
    way, message, dataset, teacher, features
):
    """By the setting that mends it, which is not always that of the code."""
    config = configured(**way)
    own = UNTRAINED
    if "input_type" not in way:  # that alone is refused before the teacher, too
        config.method.teacher = "at hand"
        score, x = config.method.score, dataset.train["x"]
        at_hand = {"mu2": lambda: load(teacher), "mse": lambda: autoencoder(x)}
        own = own._replace(load=lambda path: at_hand.get(score, lambda: features)())
    with pytest.raises(UserError, match=message):
        quantized.fit(config, dataset, own)


@pytest.mark.long
def test_the_setting_that_is_named_will_do(dataset):
    """Counts of float32 inputs on a grid that errors fit into, one bit below what is refused."""
    teacher = autoencoder(dataset.train["x"])
    types = [f"fixed<{width},6,RND_CONV,SAT>" for width in (13, 12, 11)]
    config = configured(score="mse", target="none", teacher="at hand", code_bits=8)
    own = at_hand(teacher)
    for t, allowed in zip(types, (False, True, True), strict=True):
        config.method.input_type = t
        teacher.config.inputs.type = t
        with nullcontext() if allowed else pytest.raises(UserError, match="input_type=fixed<12"):
            quantized.fit(config, dataset, own)


def test_codes_that_are_all_the_same_are_refused_before_training(dataset, teacher):
    """As those of an encoder that collapsed, or of inputs too small for their grid."""
    scorer, config = load(teacher), configured(teacher="at hand")
    own = UNTRAINED._replace(load=lambda path: scorer)
    config.inputs.type = scorer.config.inputs.type = "fixed<2,16,RND_CONV,SAT>"
    with pytest.raises(UserError, match=r"method\.input_type: all training events have the same"):
        quantized.fit(config, dataset, own)
    config.inputs.type = scorer.config.inputs.type = "fixed<8,6,RND_CONV,SAT>"
    mean = scorer.params["params"]["_Bottleneck_0"]["mean"]
    mean["kernel"] = 0 * mean["kernel"]
    with pytest.raises(UserError, match=r"method\.teacher: its code is the same for all"):
        quantized.fit(config, dataset, own)


def test_bits_of_each_layer_are_as_many_as_layers():
    config = configured()
    with config.method.ignore_type():
        config.method.update({"weight_bits": (6, 5), "activation_bits": [8, 7, 0]})
    widths = quantized.widths_of(config)
    assert widths.of(1)[:2] == (5, 7)
    quantized.require_depth(widths._replace(weight=(6, 5, 4)), 3)
    with pytest.raises(UserError, match=r"method\.weight_bits: expected one number, or 3, one for"):
        quantized.require_depth(widths, 3)
