"""References that need no network: distances in jets' features, and in their images."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from random_jets import random_jets
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from jaxad import inputs, methods
from jaxad.commands.train import build_scorer
from jaxad.configs import jets_best, toptagging_ae
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.data.particles import jet_observables
from jaxad.errors import UserError
from jaxad.inputs import features
from jaxad.methods import settings
from jaxad.methods.mahalanobis import FLOOR
from jaxad.observables.images import jet_image
from jaxad.observables.shapes import SHAPES

LAYOUT = Layout("ptetaphi", (20, 3))


def rows(seed, n):
    return {"x": random_jets(seed, n, 20, spread=0.1)}


@pytest.fixture(scope="module")
def jets():
    return Dataset(rows(0, 300), rows(1, 120), rows(2, 100), {"s": rows(3, 50)}, LAYOUT)


def config_of(name, **changes):
    config = jets_best.get_config("smoke")
    config.method.name = name
    config.inputs.update(changes)
    return config


def scorer_of(config, dataset):
    name = config.method.name
    return build_scorer(config, name, methods.get(name).fit(config, dataset, None), dataset)


def by_hand(x):
    """The five features (n, 5) in the order of the input, in double precision but for shapes."""
    own = jet_observables(x)
    return np.column_stack([own["mass"], own["multiplicity"], *(f(x) for f in SHAPES.values())])


def test_jet_features_are_those_of_their_names():
    stage = inputs.stage(config_of("mahalanobis").inputs, LAYOUT, ("vector",), "m")
    x = rows(0, 60)["x"]
    assert [name for name, _ in stage.names] == [
        *("mass", "multiplicity", "girth", "pt_dispersion", "z_max")
    ]
    np.testing.assert_allclose(stage.values(x), by_hand(x), rtol=2e-4, atol=1e-5)


def test_jet_features_do_not_change_with_the_unit():
    config = config_of("mahalanobis").inputs
    in_mev = inputs.stage(config, Layout("ptetaphi", (20, 3), unit=1e-3), ("vector",), "m")
    in_gev = inputs.stage(config, LAYOUT, ("vector",), "m")
    x = rows(0, 30)["x"]
    found = in_mev.values(x * np.float32([1000, 1, 1]))
    np.testing.assert_allclose(found, in_gev.values(x), rtol=1e-4, atol=1e-5)


def test_logarithms_of_efps_join():
    stage = inputs.stage(config_of("pca", efp_degree=2).inputs, LAYOUT, ("vector",), "m")
    x = np.concatenate([rows(0, 20)["x"], np.zeros((1, 20, 3), np.float32)])
    x[-1, 0] = 100, 0, 0  # one particle: no angle, so that every EFP is 0
    values = np.asarray(stage.values(x))
    names = [name for name, _ in stage.names]
    assert names[5] == "log_efp_2_1_0" and values.shape == (21, len(names))
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values[-1, 5:], np.log(1e-10), rtol=1e-5)
    np.testing.assert_array_equal(
        values[:, :5], inputs.stage(config_of("pca").inputs, LAYOUT, ("vector",), "m").values(x)
    )


def test_only_what_the_logarithm_makes_less_skewed_is_one():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(4000, 3))
    values = np.column_stack([np.exp(normal[:, 0]), 20 + normal[:, 1], normal[:, 2]])
    values = values.astype(np.float32)
    learnt = features.fit_unskewed(values)
    assert learnt["logarithm"].tolist() == [True, False, False]
    found = np.asarray(features.standardised(learnt, values))
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(0), 1, atol=1e-4)
    np.testing.assert_allclose(np.corrcoef(found[:, 0], normal[:, 0])[0, 1], 1, atol=1e-5)
    lowest = features.standardised(learnt, np.zeros((1, 3), np.float32))
    assert np.isfinite(lowest).all() and lowest[0, 0] < -6


def test_a_constant_feature_is_refused():
    with pytest.raises(UserError, match=r"column 1 \(b\) is constant"):
        features.fit_unskewed(np.float32([[1, 2], [3, 2]]), ("a", "b"))


def test_mahalanobis_is_that_of_numpy(jets):
    config = config_of("mahalanobis", unskew=False)
    train, test = (by_hand(part["x"]) for part in (jets.train, jets.test))
    mean, spread = train.mean(0), train.std(0)
    covariance = np.cov(((train - mean) / spread).T, bias=True) + FLOOR * np.eye(5)
    gap = (test - mean) / spread
    expected = np.sqrt(np.einsum("nd,de,ne->n", gap, np.linalg.inv(covariance), gap))
    found = scorer_of(config, jets)(jets.test["x"])
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_fifty_neighbours_in_jet_features(jets):
    config = config_of("nearest_neighbours", unskew=False)
    assert config.method.n_neighbours == 50
    train, test = (by_hand(part["x"]) for part in (jets.train, jets.test))
    scaled = [(part - train.mean(0)) / train.std(0) for part in (train, test)]
    found = scorer_of(config, jets)(jets.test["x"])
    expected = NearestNeighbors(n_neighbors=50).fit(scaled[0]).kneighbors(scaled[1])[0].mean(1)
    np.testing.assert_allclose(found, expected, rtol=2e-3)


@pytest.mark.parametrize("name", ["gaussian_mixture", "isolation_forest"])
def test_shallow_methods_take_jet_features(name, jets):
    scores = scorer_of(config_of(name), jets)(jets.test["x"])
    assert scores.shape == (100,) and np.isfinite(scores).all() and np.ptp(scores) > 0


def images(part, config):
    side = {name: config.inputs[name] for name in ("n_pixels", "half_width")}
    return np.asarray(jet_image(part["x"], **side), np.float64).reshape(len(part["x"]), -1)


@pytest.mark.parametrize("made", [jets_best, toptagging_ae])
def test_distance_from_the_mean_image(made, jets):
    """Beside a method for features, too, where `inputs` makes no image."""
    config = made.get_config("smoke")
    config.method = ConfigDict({"name": "mean_image"})
    train, test = images(jets.train, config), images(jets.test, config)
    expected = ((test - train.mean(0)) ** 2).mean(1)
    np.testing.assert_allclose(scorer_of(config, jets)(jets.test["x"]), expected, rtol=1e-4)


@pytest.mark.parametrize("made", [jets_best, toptagging_ae])
def test_distance_from_sixteen_components(made, jets):
    """Whatever the components of `pca`, beside a method for features, and of a network that has
    no section `pca`, in a config that is locked as those of commands are."""
    config = made.get_config("smoke")
    config.method, config.pca.components = ConfigDict({"name": "pca_16"}), 3
    if made is toptagging_ae:
        del config.pca
    config.lock()
    train, test = images(jets.train, config), images(jets.test, config)
    axes = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:16]
    rest = test - train.mean(0)
    rest = rest - rest @ axes.T @ axes
    expected = (rest**2).mean(1)
    np.testing.assert_allclose(scorer_of(config, jets)(jets.test["x"]), expected, rtol=1e-3)


def test_there_is_no_mean_image_of_a_table():
    config = jets_best.get_config("smoke")
    config.inputs = inputs.get_config("features")
    layout = Layout("features", (2,), columns=(("a", ""), ("b", "")))
    with pytest.raises(UserError, match=r"inputs.name=features: makes no image of features"):
        methods.get("mean_image").scores(config, layout)


def test_two_views_are_averaged(jets):
    config = config_of("two_views")
    found = scorer_of(config, jets).scores(jets.test["x"])
    assert list(found) == ["both", "features", "image"]
    np.testing.assert_allclose(found["both"], (found["features"] + found["image"]) / 2, atol=1e-5)
    config.method.name = "nearest_neighbours"
    near = scorer_of(config, jets)
    logs = [np.log(near(part["x"])) for part in (jets.val, jets.test)]
    expected = (logs[1] - logs[0].mean()) / logs[0].std()
    np.testing.assert_allclose(found["features"], expected, rtol=1e-3, atol=1e-3)
    flat = [images(part, config) for part in (jets.train, jets.val, jets.test)]
    pca = PCA(16).fit(flat[0])
    logs = [
        np.log(((part - pca.inverse_transform(pca.transform(part))) ** 2).mean(1))
        for part in flat[1:]
    ]
    expected = (logs[1] - logs[0].mean()) / logs[0].std()
    np.testing.assert_allclose(found["image"], expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("n", "kept"), [(2, 2), (4, 4)])
def test_components_of_a_pca(n, kept, jets):
    config = config_of("pca")
    config.pca.components = n
    assert methods.get("pca").fit(config, jets, None)["components"].shape == (kept, 5)


def test_a_pca_of_all_components_is_refused(jets):
    config = config_of("pca")
    config.pca.components = 5
    with pytest.raises(UserError, match=r"pca.components: expected at most 4 of 5 numbers"):
        methods.get("pca").fit(config, jets, None)


def test_settings_of_the_image_of_two_views_are_not_idle():
    config = jets_best.get_config()
    assert not {"inputs.n_pixels", "pca.components", "method.n_neighbours"} & {
        *settings.idle(config)
    }
    config.method.name, config.baselines = "mahalanobis", ()
    idle = settings.idle(config)
    assert {"inputs.n_pixels", "pca.components", "method.n_neighbours"} <= {*idle}
