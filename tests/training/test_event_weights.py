"""Weights of events where methods learn: twice the weight is the row twice; none below 0."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from sklearn.decomposition import PCA
from small_task import NETWORK, TASK, assert_equal, init, rows

from jaxad import data, inputs, methods
from jaxad.configs import iad, supervised
from jaxad.data.dataset import Dataset, summary
from jaxad.data.event_weights import for_training, without_negative
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.methods import gaussian_mixture, mahalanobis, normalised_autoencoder, pca
from jaxad.methods.stages import weak
from jaxad.training import Task, fit, get_config, weighted_mean

N = 24


def loss(params, state, batch, key, training):
    error = ((NETWORK.apply({"params": params}, batch["x"]).output - batch["x"]) ** 2).mean(axis=1)
    return weighted_mean(error, batch["weight"]), ({}, state)


def trained(train, val):
    settings = get_config(epochs=3, batch_size=64, learning_rate=0.01, optimizer="sgd")
    return fit(Task(init, loss), train, val, settings)


def test_a_weight_of_two_trains_as_the_row_twice():
    x = rows(N)["x"]
    twice = np.concatenate([x, x[:8]])
    weight = np.where(np.arange(N) < 8, 2.0, 1.0).astype(np.float32)
    single = trained({"x": x, "weight": weight}, {"x": x, "weight": weight})
    many = trained({"x": twice}, {"x": twice})
    assert_equal(single.params, many.params, rtol=1e-4, atol=1e-6)
    for a, b in zip(single.history, many.history, strict=True):
        for key in ("train_loss", "val_loss"):
            assert a[key] == pytest.approx(b[key], rel=1e-5)


def test_negative_weights_do_not_train():
    x = rows(4) | {"weight": np.array([1, 1, -1, 1], np.float32)}
    with pytest.raises(UserError, match="train: training rows with negative weights"):
        fit(TASK, x, x, get_config(epochs=1))


def dataset(weight, n_val=4, **changes):
    x, w = rows(len(weight))["x"], np.asarray(weight, np.float32)
    part = {"x": x, "weight": w}
    val = {name: values[:n_val] for name, values in part.items()}
    columns = tuple((f"x[{i}]", "") for i in range(5))
    layout = Layout("features", (5,), columns=columns)
    own = {"val": val, "test": part, "signals": {}, "layout": layout, "info": {"source": "own.npz"}}
    return Dataset(train=part, **(own | changes))


def section(how="", **changes):
    return ConfigDict({"negative_weights": how, "features": "", "cache": ""} | changes)


def test_weights_get_the_mean_one():
    found = for_training(dataset([1e-6, 3e-6, 2e-6, 2e-6]), section())
    np.testing.assert_allclose(found.train["weight"], [0.5, 1.5, 1, 1], rtol=1e-6)
    np.testing.assert_array_equal(found.val["weight"], found.train["weight"])
    assert found.test["weight"][0] == np.float32(1e-6)  # figures of merit take them as they are
    halves = for_training(dataset(np.array([1e-6, 3e-6], np.float16)), section())
    np.testing.assert_allclose(halves.train["weight"], [0.5, 1.5], rtol=0.05)


def test_weights_that_are_all_alike_are_none():
    found = for_training(dataset([2.0] * 6), section())
    assert set(found.train) == set(found.val) == {"x"}
    unweighted = dataset([2.0] * 6)
    assert for_training(found, section()) is found
    assert "weights" not in summary(unweighted)
    part = {"x": rows(4)["x"], "weight": np.full(4, 6, np.float32)}
    differ = for_training(dataset([2.0] * 6, val=part), section())  # joined by resonant methods
    assert differ.train["weight"].tolist() == [1] * 6 and differ.val["weight"].tolist() == [3] * 4


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("absolute", [1, 3, 2, 2]),
        ("clip_zero", [0, 3, 2, 2]),
        ("drop", [3, 2, 2]),
    ],
)
def test_three_choices_for_negative_weights(how, expected):
    found = for_training(dataset([-1, 3, 2, 2]), section(how)).train
    np.testing.assert_allclose(found["weight"], expected / np.mean(expected), rtol=1e-6)
    assert len(found["x"]) == len(expected)


@pytest.mark.parametrize(
    ("weight", "how", "message"),
    [
        (
            [1, -3, 2, -2],
            "",
            "own.npz: train: data.weight_key: 2 of 4 weights are negative, 50.00%, the first at "
            "row 1: .* set data.negative_weights to one of absolute, drop, clip_zero",
        ),
        ([-1, -3, -2, -2], "drop", "no weight of 4 is above 0: nothing is left to learn from"),
        ([-1, -3, -2, -2], "clip_zero", "no weight of 4 is above 0: nothing is left to learn from"),
    ],
)
def test_weights_that_cannot_train(weight, how, message):
    with pytest.raises(UserError, match=message):
        for_training(dataset(weight), section(how))


def test_one_class_alone_has_none(tmp_path):
    x = np.ones((20, 2), np.float32)
    np.savez(tmp_path / "a.npz", x=x, w=np.ones(20))
    np.savez(tmp_path / "s.npz", x=x)
    own = {"format": "features", "weight_key": "w", "signals": f"s={tmp_path}/s.npz"}
    with pytest.raises(UserError, match=r"s.npz: .*'w'.* all classes have weights or none: write"):
        data.load(data.get_config("events", source=f"{tmp_path}/a.npz", **own))


def test_the_summary_tells_of_them():
    text = summary(dataset([1, 1, 1, -1]))
    assert "weights of background: sum " in text and "% of them negative" in text


def test_components_of_weighted_events():
    x, weight = rows(200)["x"] + np.float32(3), 1 + np.arange(200) % 3
    many = np.repeat(x, weight, axis=0)
    found, expected = pca._weighted(x, weight.astype(float), 2), PCA(2).fit(many)
    np.testing.assert_allclose(found["mean"], expected.mean_, rtol=1e-5)
    signs = np.sign((found["components"] * expected.components_).sum(axis=1))
    np.testing.assert_allclose(
        found["components"] * signs[:, None], expected.components_, atol=1e-4
    )


def test_distances_from_weighted_events(capsys):
    weight = 1 + np.arange(200) % 3
    whole = dataset(weight)
    train = {"x": whole.train["x"][np.repeat(np.arange(200), weight)]}
    plain = Dataset(train, train, train, {}, whole.layout, info=whole.info)
    config = ConfigDict(
        {
            "method": {"n_fit": 1000, "n_components": 2},
            "seed": 0,
            "inputs": {"name": "features"},
        }
    )
    one, other = (mahalanobis.fit(config, events, None) for events in (whole, plain))
    score, raw = mahalanobis.scores(config, whole.layout), whole.train["x"]
    np.testing.assert_allclose(
        score(one, raw)["distance"], score(other, raw)["distance"], rtol=0.02
    )
    assert not capsys.readouterr().out
    gaussian_mixture.fit(config, whole, None)
    said = capsys.readouterr().out
    assert said.startswith("note: gaussian_mixture: weights of events change nothing here:")
    assert said.count("\n") == 1
    gaussian_mixture.fit(config, plain, None)
    assert not capsys.readouterr().out


def test_samples_are_compared_with_events_that_count():
    x = np.arange(6.0).reshape(3, 2)
    found = normalised_autoencoder.compared({"x": x, "weight": np.array([1.0, 0.0, 2.0])})
    np.testing.assert_array_equal(found["x"], x[None, [0, 2]])
    np.testing.assert_array_equal(normalised_autoencoder.compared({"x": x})["x"], x[None])


def test_each_group_keeps_its_share_with_weights():
    group, weight = np.array([0, 0, 1, 1, 1]), np.array([1.0, 3.0, 2.0, 2.0, 4.0])
    found = weak.balanced(group, {0: 0.5, 1: 0.5}, weight)
    np.testing.assert_allclose(found, 2.5 * np.array([0.25, 0.75, 0.25, 0.25, 0.5]), rtol=1e-6)


@pytest.mark.parametrize("module", [iad, supervised])
def test_rows_of_the_test_part_that_train_follow_the_same_choice(module, tmp_path):
    """Test background of iad, test signal of supervised: as if their weights were not negative."""
    n, rng = 400, np.random.default_rng(0)
    events = {"x": rng.normal(size=(n, 2)), "m": rng.uniform(2800, 4200, n), "id": np.arange(n)}
    events["label"], weight = np.arange(n) % 4 == 0, rng.uniform(0.5, 2, n)
    signs = np.where(np.arange(n) % 5 == 0, -1, 1)

    def fitted(name, weight, how=""):
        np.savez(tmp_path / name, **events, w=weight)
        config = module.get_config("smoke")
        own = {"format": "features", "mass_key": "m", "window": "3.3-3.7", "inject": 30}
        own |= {"label_key": "label", "signals": "s=1", "weight_key": "w", "negative_weights": how}
        config.data = data.get_config("events", source=str(tmp_path / name), **own)
        config.inputs = inputs.get_config("features")
        config.classifier.update({"name": "trees", "members": 1, "folds": 2, "max_iter": 5})
        events_of = for_training(data.load(config.data), config.data)
        tested = np.concatenate([events_of.test["weight"], events_of.signals["s"]["weight"]])
        assert (tested < 0).any() == bool(how), "figures of merit take them as they are"
        return methods.get(config.method.name).fit(config, events_of, None)["classifier"]

    one, other = fitted("plain.npz", weight), fitted("signed.npz", signs * weight, "absolute")
    jax.tree.map(np.testing.assert_array_equal, one["trees"], other["trees"])
    with pytest.raises(UserError, match=r"test: data.weight_key: 1 of 3 weights are negative"):
        without_negative({"weight": np.array([1, -1, 1.0])}, "test", dataset([1, 1]), section())
