"""What can be quantised: each kind of float network, to its own scores and back in integers."""

import jax
import numpy as np
import pytest
from random_scorers import TRIGGER, trigger_dataset

from jaxad import methods
from jaxad.commands.train import bench, build_scorer
from jaxad.configs import adc2021_flow_norm, adc2021_quantized, adc2021_student
from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.methods import quantized
from jaxad.methods.stages import float_network
from jaxad.methods.stages.teacher import own_config
from jaxad.metrics.agreement import drift
from jaxad.scorer import Scorer, load
from jaxad.training import fit


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return trigger_dataset()


def configured(**changes):
    config = adc2021_quantized.get_config("smoke")
    config.method.update({"teacher": "at hand", **changes})
    config.train.update({"epochs": 6, "batch_size": 100, "learning_rate": 3e-3})
    return config


def config_of(method, name):
    """Of a float network on the inputs of quantised ones."""
    if method in ("student", "flow_norm"):
        config = {"student": adc2021_student, "flow_norm": adc2021_flow_norm}[method].get_config()
        config.inputs = configured().inputs
        return config
    config = own_config(configured())
    config.method.name = method
    with config.unlocked():
        config.model.update({"name": name, "widths": (16, 8), "n_latent": 3})
    return config


def random_run(method, name, score, x):
    """A run of random weights, as of its method's own initialisation, biases too."""
    config = config_of(method, name)
    _, start = float_network._network(method, config, score, 57)
    variables = jax.jit(start)(jax.random.key(0))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda a: np.where(a == 0, rng.normal(0, 0.1, a.shape), a).astype("f4")[None, None],
        jax.tree.map(np.asarray, variables),
    )
    stage = methods.stage(method, config, TRIGGER)
    learnt = stage.fit(np.asarray(stage.values(x)))
    params = {"params": variables.pop("params"), "state": variables, "inputs": learnt}
    return Scorer(method, config, params, TRIGGER)


def quantised(run, dataset, rate=3e-3, **way):
    config = configured(**way)
    config.train.learning_rate = rate
    fitted = quantized.fit(config, dataset, bench(fit)._replace(load=lambda path: run))
    return config, fitted


def scored(config, fitted, x):
    found = jax.jit(quantized.scores(config, TRIGGER))(fitted, x)
    return np.asarray(found[config.method.score])[0]


WIDE = {"target": "none", "weight_bits": 10, "activation_bits": 9, "granularity": "channel"}
NETWORKS = [
    ("trigger_autoencoder", "exercise", "mse", 57),
    ("trigger_autoencoder", "conv_vae", "mu2", 1),
    ("student", "", "student", 1),
    pytest.param("trigger_autoencoder", "encoder_norm", "mse", 57, marks=pytest.mark.long),
    pytest.param("autoencoder", "dense", "mse", 57, marks=pytest.mark.long),
    pytest.param("flow_norm", "", "flow_norm", 1, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("method", "name", "score", "times"), NETWORKS)
def test_many_bits_give_the_scores_of_the_float_network(method, name, score, times, dataset):
    run, x = random_run(method, name, score, dataset.train["x"]), dataset.test["x"]
    bits = {"code_bits": 8} if score == "mse" else {"code_bits": 12}
    config, fitted = quantised(run, dataset, score=score, **WIDE, **bits)
    found, expected = scored(config, fitted, x), times * run.scores(x)[score]
    assert np.median(np.abs(found - expected)) < 0.03 * np.std(expected)
    assert len(np.unique(found)) > 100
    assert (found.min() < 0) == (score == "student")


@pytest.mark.long
def test_codes_of_convolutions_without_a_variance_are_scored(dataset):
    run = random_run("trigger_autoencoder", "conv_ae", "mu2", dataset.train["x"])
    found = scored(*quantised(run, dataset, score="mu2", **WIDE), dataset.test["x"])
    one = jax.tree.map(lambda a: a[0, 0], {"params": run.params["params"]} | run.params["state"])
    z = methods.stage(run.method, run.config, TRIGGER).apply(run.params, dataset.test["x"])
    network, _ = float_network._network(run.method, run.config, "mu2", 57)
    codes = jax.jit(jax.vmap(lambda x: network(one, x[None])[0]))(z)
    np.testing.assert_allclose(found, np.sum(np.square(codes), -1), rtol=0.1, atol=0.05)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("conv_vae", {"weight_bits": 4, "granularity": "channel"}),
        ("conv_vae", {"learned": True, "granularity": "weight", "beta": 1e-6, "beta_start": 1e-7}),
    ],
)
def test_convolutions_train_at_few_bits(name, way, dataset, tmp_path):
    """Nearer to the float network than rounding; learnt widths cost less than they started from."""
    run, x = random_run("trigger_autoencoder", name, "mu2", dataset.train["x"]), dataset.test["x"]
    rounded = quantised(run, dataset, **way, target="none")
    rate = 3e-3 if "learned" in way else 1e-3  # of six epochs larger steps do not settle
    config, fitted = quantised(run, dataset, rate, **way)
    if "learned" in way:
        assert fitted["ebops"][0] < rounded[1]["ebops"][0]
    else:
        before, after = (
            drift(scored(*one, x), run.scores(x)["mu2"]) for one in (rounded, (config, fitted))
        )
        assert after < 0.8 * before
    build_scorer(config, "quantized", fitted, dataset).save(tmp_path / "scorer")
    np.testing.assert_array_equal(load(tmp_path)(x), scored(config, fitted, x))


@pytest.mark.long
def test_a_student_is_trained_at_few_bits(dataset):
    run, x = random_run("student", "", "student", dataset.train["x"]), dataset.test["x"]
    way = {"score": "student", "weight_bits": 3, "code_bits": 12}
    rounded, trained = (quantised(run, dataset, **way, target=t) for t in ("none", "codes"))
    before, after = (np.abs(scored(*one, x) - run(x)).mean() for one in (rounded, trained))
    assert after < 0.8 * before


@pytest.mark.parametrize("name", ["dense_ae", "dense_vae"])
@pytest.mark.parametrize("score", ["mu2", "mse"])
def test_leaky_networks_are_refused_before_they_train(name, score, dataset):
    config = configured(score=score, teacher="")
    config.teacher.model.name = name
    with pytest.raises(UserError, match=f"trigger_autoencoder {name} has a leaky ReLU, which has"):
        quantized.fit(config, dataset, None)


def test_a_loss_that_takes_no_quantised_layers_is_refused(dataset):
    config = configured(target="loss", teacher="")
    config.teacher.model.name = "conv_vae"
    with pytest.raises(UserError, match=r"target=loss: expected .* encoder \(mu2\), .* conv_vae"):
        quantized.fit(config, dataset, None)


def test_convolutions_take_the_events_alone():
    config = configured()
    with pytest.raises(UserError, match="conv_vae takes the 57 of trigger_integer, found 10"):
        float_network.require_teacher(
            config, "trigger_autoencoder", config_of("trigger_autoencoder", "conv_vae"), 10
        )
