"""Attribute bagging: what a member does not see changes nothing, and all features are as before."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxad import data, load, training
from jaxad.commands.train import bench, train
from jaxad.configs import cathode
from jaxad.export.folder import export
from jaxad.export.verify import verify
from jaxad.methods import settings
from jaxad.methods.stages import bagging, weak

BENCH = bench(training.fit)
N_FEATURES = 6


def config(**changes) -> ConfigDict:
    train = weak.train_config(epochs=2, batch_size=64, keep_best=2, learning_rate=1e-2)
    small = {"members": 3, "hidden": (8,), "max_iter": 10}
    return ConfigDict(
        {"seed": 4, "classifier": weak.get_config(**(small | changes)), "train": train}
    )


def rows(n=300, seed=0):
    """Data and background that differ in every feature."""
    x = np.random.default_rng(seed).normal(size=(2, n, N_FEATURES)).astype(np.float32)
    return {"x": x[0] + 0.7}, {"x": x[1]}


def member(fitted: dict, i: int) -> dict:
    """An ensemble of member i alone."""
    of_members = {"params", "trees", "fold", "mask"} & set(fitted)
    cut = lambda a: a[i : i + 1] if np.ndim(a) else a  # noqa: E731  (the depth of trees is of all)
    return fitted | {name: jax.tree.map(cut, fitted[name]) for name in of_members}


@pytest.mark.parametrize("name", ["network", "trees"])
def test_what_a_member_does_not_see_changes_nothing(name):
    how, (signal, background) = config(name=name, feature_fraction=0.5), rows()
    fitted = weak.fit(how, BENCH, signal, background)
    masks = fitted["mask"]
    assert masks.shape == (3, N_FEATURES)
    assert (masks.sum(axis=1) == 3).all() and len({tuple(mask) for mask in masks}) > 1
    np.testing.assert_array_equal(masks, bagging.masks(4, "classifier", 3, N_FEATURES, 0.5))
    x, other = rows(seed=1)[0]["x"], rows(seed=2)[0]["x"]
    how.classifier.members = 1
    for i, mask in enumerate(masks):
        one = member(fitted, i)
        score, unseen, seen = (
            np.asarray(weak.score(how, one, values, values))
            for values in (x, np.where(mask, x, other), np.where(mask, other, x))
        )
        np.testing.assert_array_equal(unseen, score)
        assert (seen != score).mean() > 0.9


@pytest.mark.parametrize("name", ["network", "trees"])
def test_a_member_learns_from_what_it_sees_alone(name):
    how, (signal, background) = config(name=name, feature_fraction=0.5, members=1), rows()
    fitted = weak.fit(how, BENCH, signal, background)
    (mask,) = fitted["mask"]
    rng = np.random.default_rng(3)
    spoilt = [
        {"x": np.where(mask, r["x"], rng.permuted(r["x"], axis=0))} for r in (signal, background)
    ]
    again = weak.fit(how, BENCH, *spoilt)
    x = np.where(mask, signal["x"], 0)
    scaling = {name: fitted[name] for name in ("shift", "scale")}
    scores = [weak.score(how, one | scaling, x, x) for one in (fitted, again)]
    np.testing.assert_array_equal(*scores)


def test_with_all_features_networks_train_as_without_masks():
    how, (signal, background) = config(), rows()
    fitted = weak.fit(how, BENCH, signal, background)
    assert set(fitted) == {"shift", "scale", "fold", "params"}
    _, state = weak.task(weak._network(how)).init(jax.random.key(0), signal)
    assert state == {}
    almost = weak.fit(config(feature_fraction=0.99), BENCH, signal, background)  # sees all six
    assert almost["mask"].all()
    jax.tree.map(np.testing.assert_array_equal, fitted["params"], almost["params"])


def test_methods_without_classifiers_do_not_read_it():
    how = cathode.get_config()
    assert "classifier.feature_fraction" not in settings.idle(how)
    how.method.name = "ranode"
    assert settings.idle(how)["classifier.feature_fraction"] == "ranode does not read it"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Events of 24 features."""
    rng = np.random.default_rng(0)
    label = np.arange(400) % 4 == 0
    x = rng.normal(size=(400, 24)) + label[:, None]
    path = tmp_path_factory.mktemp("many") / "many.npz"
    np.savez(path, x=x, label=label, m=rng.uniform(2800, 4200, 400))
    return path


@pytest.mark.long
@pytest.mark.parametrize("name", ["network", "trees"])
def test_24_features_train_score_and_export(name, many, tmp_path):
    how = cathode.get_config("smoke")
    own = {"format": "features", "label_key": "label", "signals": "s=1", "cache": str(tmp_path)}
    search = {"mass_key": "m", "window": "3.3-3.7", "inject": 10}
    how.data = data.get_config("events", source=str(many), **own | search)
    how.classifier.update({"name": name, "feature_fraction": 0.3, "max_iter": 5})
    train(how, tmp_path / "run")
    scorer = load(tmp_path / "run")
    masks = scorer.params["classifier"]["mask"]
    assert masks.shape == (2, 24) and (masks.sum(axis=1) == 7).all()
    export(tmp_path / "run", ("stablehlo", "onnx"), tmp_path / "out", 0.5, None, "x")
    assert verify(tmp_path / "out")
