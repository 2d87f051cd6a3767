"""The stages of the resonant methods, and each method from a feature file to scores."""

import dataclasses
import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lhco_events import fake_events, write_frame
from ml_collections import ConfigDict
from sklearn.ensemble import HistGradientBoostingClassifier
from small_task import assert_equal

from jaxad import data, training
from jaxad.commands.train import bench, build_scorer
from jaxad.configs import cathode as configs
from jaxad.data import lhco
from jaxad.errors import UserError
from jaxad.inputs.logit import fit_logit_scaler
from jaxad.methods import anode, cathode, ranode
from jaxad.methods.stages import densities, density, trees, weak
from jaxad.models.dense import Classifier
from jaxad.scorer import load

# Whole runs of cathode and ranode are evaluated in tests/evaluation/test_resonant.py.
METHODS = [
    *(pytest.param(name, marks=pytest.mark.long) for name in ("cathode", "ranode", "anode")),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("iad", "supervised", "cwola", "lacathode")
    ),
]
BENCH = bench(training.fit)
STEP = np.array([1, 0, 0], np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("lhco") / "features.h5"
    write_frame(path, fake_events(2000, 500), [*lhco.JETS, "label"])
    return str(path)


def small(method: str, source: str) -> ConfigDict:
    config = importlib.import_module(f"jaxad.configs.{method}").get_config("smoke")
    config.data.update({"source": source, "n_signal": 150})
    config.flow.update({"n_layers": 2, "hidden": (8,)})
    for section in {"flow_train", "region_train", "train"} & {*config}:
        config[section].update({"epochs": 1, "keep_best": 1})
    config.classifier.update({"runs": 2, "members": 1})
    return config


@pytest.mark.parametrize("method", METHODS)
def test_method_from_file_to_scores(method, source, tmp_path):
    config = small(method, source)
    dataset = data.load(config.data)
    module = importlib.import_module(f"jaxad.methods.{method}")
    fitted = module.fit(config, dataset, BENCH)
    scorer = build_scorer(config, method, fitted, dataset)
    x = np.concatenate([dataset.test["x"][:40], 3 * dataset.test["x"][:5]])
    scores = next(iter(scorer.member_scores(x).values()))
    assert scores.shape == (2, 45)
    assert np.isfinite(scores).all()
    scorer.save(tmp_path / "scorer")
    np.testing.assert_array_equal(load(tmp_path / "scorer")(x), scorer(x))


def test_network_has_the_published_size():
    params = jax.eval_shape(Classifier().init, jax.random.key(0), jnp.zeros((1, 4)))
    assert sum(a.size for a in jax.tree.leaves(params)) == 8705


def separable(n=600, seed=0):
    rng = np.random.default_rng(seed)
    shape = rng.normal(size=(n, 3)).astype(np.float32)
    return {"x": shape + STEP, "raw": shape}, {"x": shape - STEP}


def classifier_config(**changes) -> ConfigDict:
    train = weak.train_config(epochs=6, batch_size=32, keep_best=2, learning_rate=1e-2)
    settings = weak.get_config(**({"members": 2, "hidden": (8,)} | changes))
    return ConfigDict({"seed": 0, "classifier": settings, "train": train})


@pytest.mark.parametrize("name", ["network", "trees"])
def test_classifier_separates_and_weights_change_it(name):
    config, (signal, background) = classifier_config(name=name), separable()
    x, raw = np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32)
    even = weak.fit(config, BENCH, signal, background)
    near = weak.score(config, even, x + STEP, raw)
    far = weak.score(config, even, x - STEP, raw)
    assert near.shape == (1, 1) and float(near[0, 0]) > 0.6 > 0.4 > float(far[0, 0])
    group = np.repeat([0, 1], len(signal["x"]))
    weighted = weak.balanced(group, {0: 0.9, 1: 0.1})
    tilted = weak.fit(config, BENCH, signal, background, weighted)
    assert weak.score(config, tilted, x, raw) > weak.score(config, even, x, raw) + 0.1


def test_balanced_weights_give_the_asked_shares():
    group = np.repeat([0, 1, 2], [100, 30, 7])
    weight = weak.balanced(group, {0: 1 / 2, 1: 1 / 4, 2: 1 / 4})
    totals = [weight[group == g].sum() / weight.sum() for g in range(3)]
    np.testing.assert_allclose(totals, [1 / 2, 1 / 4, 1 / 4], rtol=1e-5)
    assert weight.mean() == pytest.approx(1, rel=1e-5)


def test_folds_depend_on_the_event_alone_and_are_even():
    raw = np.random.default_rng(0).normal(size=(5000, 5)).astype(np.float32)
    fold = np.asarray(weak.fold_of(raw, 5))
    np.testing.assert_array_equal(np.asarray(weak.fold_of(raw[::-1], 5))[::-1], fold)
    assert (np.abs(np.bincount(fold, minlength=5) - 1000) < 120).all()


def test_the_fold_of_an_event_does_not_depend_on_its_padding():
    particles = np.random.default_rng(0).normal(size=(300, 6, 3)).astype(np.float32)
    padded = np.concatenate([particles, np.zeros((300, 4, 3), np.float32)], axis=1)
    fold = np.asarray(weak.fold_of(particles, 4))
    np.testing.assert_array_equal(weak.fold_of(padded, 4), fold)
    assert (np.bincount(fold, minlength=4) > 40).all()


def test_no_event_is_scored_by_a_member_that_saw_it():
    config, (signal, background) = classifier_config(folds=4, hidden=(4,)), separable(200)
    fitted = weak.fit(config, BENCH, signal, background)
    fold = np.asarray(weak.fold_of(signal["raw"], 4))
    everyone = np.concatenate([fold, np.full(200, weak.NEVER_HELD_OUT)])
    members = weak.member_rows(config, everyone, np.full(400, -1), "classifier")
    np.testing.assert_array_equal(fitted["fold"], [k for k, *_ in members])
    for k, train, val in members:
        assert not (everyone[np.concatenate([train, val])] == k).any()
        assert not set(train) & set(val)
    # Spoiling the members of the other folds leaves an event's score alone.
    spoilt = dict(fitted)
    spoilt["params"] = jax.tree.map(
        lambda a: np.where(_like(fitted["fold"] == 2, a), a, 0), fitted["params"]
    )
    scores = [weak.score(config, f, signal["x"], signal["raw"])[0] for f in (fitted, spoilt)]
    np.testing.assert_array_equal(scores[0][fold == 2], scores[1][fold == 2])
    assert (np.asarray(scores[0] != scores[1])[fold != 2]).any()


def _like(mask, array):
    return mask.reshape(-1, *[1] * (array.ndim - 1))


def test_trees_score_as_scikit_learn_does():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(800, 4)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + rng.normal(size=800) > 0).astype(float)
    half = rng.permutation(800)[:500]
    fitted = trees.fit(x, y, np.ones(800), [np.arange(800), half], seed=3, max_iter=20)
    found = np.asarray(trees.leaf_sums(fitted, x))
    for i, rows in enumerate([np.arange(800), half]):
        model = HistGradientBoostingClassifier(
            max_iter=20, early_stopping=True, validation_fraction=0.5, random_state=3 + i
        )
        model.fit(x[rows], y[rows], sample_weight=np.ones(len(rows)))
        np.testing.assert_allclose(found[i], model.decision_function(x), atol=1e-4)


def test_sampled_masses_follow_the_window():
    rng = np.random.default_rng(2)
    m = (3.3 + 0.4 * rng.beta(1, 1.5, 20_000)).astype(np.float32)
    drawn = density.sample_mass(m, 40_000, rng, bandwidth=0.01)
    assert m.min() <= drawn.min() and drawn.max() <= m.max()
    np.testing.assert_allclose(
        np.quantile(drawn, [0.1, 0.5, 0.9]), np.quantile(m, [0.1, 0.5, 0.9]), atol=0.004
    )


@pytest.mark.parametrize(
    ("members", "settings"),
    [
        (1, {"name": "realnvp", "n_layers": 4, "coupling": "affine"}),
        (2, {"n_layers": 2, "coupling": "affine"}),
        (2, {"n_layers": 2}),
    ],
    ids=["realnvp", "autoregressive", "autoregressive spline"],
)
def test_density_learns_and_extrapolates_its_condition(members, settings):
    rng = np.random.default_rng(3)
    m = rng.uniform(2, 5, 6000).astype(np.float32)
    x = rng.beta(2, 2 + m[:, None], (6000, 2)).astype(np.float32)
    rows = {"x": x, "m": m}
    config = ConfigDict({"seed": 0, "flow": density.get_config(hidden=(16,), **settings)})
    config.flow_train = training.get_config(
        ensemble=members, epochs=8, batch_size=128, learning_rate=3e-3
    )
    fitted = density.fit(config, rows, rows, BENCH, "density")
    for mass in (2.5, 4.5):
        drawn = density.sample(config, fitted, "template", np.full(20_000, mass))
        np.testing.assert_allclose(drawn.mean(axis=0), 2 / (4 + mass), atol=0.02)
    beyond = jnp.array([[-1.0, 2.0], [0.5, 0.5]])
    assert np.isfinite(density.log_prob(config, fitted, beyond, jnp.array([3.0, 9.0]))).all()


@pytest.mark.parametrize("members", [1, 2, 3, 6])
def test_members_of_an_ensemble_learn_from_all_rows_in_turn(members):
    train, val = density.turns(np.arange(30), np.arange(30, 40), members)
    assert train.shape == (members, 30) and val.shape == (members, 10)
    assert train[0].tolist() == list(range(30)) and val[0].tolist() == list(range(30, 40))
    for both in np.concatenate([train, val], axis=1):
        assert sorted(both) == list(range(40))
    n_choosing = np.bincount(val.ravel(), minlength=40)
    assert n_choosing.max() - n_choosing.min() <= 1


def test_an_ensemble_of_densities_knows_the_rows_that_choose_its_epochs():
    """A single density never sees them."""
    rng = np.random.default_rng(4)
    rows = [
        {"x": rng.beta(a, 2, (2000, 1)).astype(np.float32), "m": np.ones(2000, np.float32)}
        for a in (1, 8)
    ]
    for part in rows:
        part["m"][::2] = 2  # has to vary
    config = ConfigDict(
        {"seed": 0, "flow": density.get_config(hidden=(8,), n_layers=1, mass="linear")}
    )
    drawn = []
    for members in (1, 4):
        config.flow_train = training.get_config(
            ensemble=members, epochs=10, batch_size=100, learning_rate=1e-2, keep_best=1
        )
        fitted = density.fit(config, *rows, BENCH, "density")
        drawn.append(density.sample(config, fitted, "template", np.ones(20_000)).mean())
    assert abs(drawn[0] - 1 / 3) < 0.08  # of Beta(1, 2), that trains
    assert abs(drawn[1] - (1 / 3 + 0.8) / 2) < 0.05


def test_densities_of_many_data_sets_train_at_once_each_in_its_own_frame():
    rng = np.random.default_rng(5)
    config = ConfigDict(
        {"seed": 0, "flow": density.get_config(hidden=(8,), n_layers=1, coupling="affine")}
    )
    config.flow_train = training.get_config(
        ensemble=2, epochs=6, batch_size=100, learning_rate=1e-2, keep_best=2
    )
    cases = []
    for low, n, n_train in ((0.0, 1500, 1400), (5.0, 1400, 1200), (5.0, 1300, 1250)):
        rows = {"x": low + rng.random((n, 1)), "m": rng.uniform(2, 3, n)}
        rows = {name: values.astype(np.float32) for name, values in rows.items()}
        cases.append(densities.Case(rows, n_train, seed=n))
    found = densities.fit_each(config, cases, BENCH, "density")
    alone = densities.fit_each(config, cases[1:], BENCH, "density")  # see as many rows
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), found[1:], alone)
    for (rows, *_), one in zip(cases, found, strict=True):
        assert {leaf.shape[:2] for leaf in jax.tree.leaves(one["params"])} == {(2, 2)}
        drawn = density.sample(config, one, "template", np.full(4000, 2.5))
        low, high = rows["x"].min(), rows["x"].max()
        assert abs(drawn.mean() - (low + high) / 2) < 0.03
        assert low <= drawn.min() and drawn.max() <= high


@pytest.mark.parametrize("weighted", [False, True])
def test_the_mass_spectrum_of_few_events_is_unbiased(weighted):
    """150 events in 50 bins of a falling exponential: empty bins count, ones are no zeros."""
    slopes = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        m = 3.3 + rng.exponential(0.2, 1000)
        m = m[m < 3.7][:150].astype(np.float32)
        weight = rng.exponential(size=len(m)).astype(np.float32) if weighted else None
        found = ranode._spectrum(m, (3.3, 3.7), weight)
        slopes.append(np.polyval(np.polyder(found["shape"]), 0.2))
    error = np.std(slopes) / 10
    assert error < 0.15 and abs(np.mean(slopes) + 5) < 3 * error


@pytest.mark.long
def test_what_cathode_learns_is_blind_to_the_window_and_to_tests(source):
    """To the last bit, of an ensemble with correction."""
    config = small("cathode", source)
    config.flow.update({"n_layers": 1, "hidden": (4,), "coupling": "affine", "correction": 1})
    config.flow_train.ensemble = 2
    config.classifier.update({"runs": 1, "name": "trees", "max_iter": 2})
    dataset = data.load(config.data)
    spoilt = {part: 9 * rows["x"] for part, rows in dict(dataset.parts()).items()}
    other = dataclasses.replace(
        dataset,
        test=dataset.test | {"x": spoilt["test"]},
        signals={s: r | {"x": spoilt[f"signals.{s}"]} for s, r in dataset.signals.items()},
    )
    fitted, same = (cathode.fit(config, one, BENCH) for one in (dataset, other))
    assert_equal(fitted, same)
    events = weak.data_events(config, dataset)
    inside = events["inside"][:, None]
    moved = events | {"x": np.where(inside, 5 + 9 * events["x"], events["x"])}
    assert_equal(fitted["background"], cathode.fit_background(config, moved, BENCH))


def density_ratio(members: int, epochs: int, folds: int) -> tuple[ConfigDict, dict]:
    """R-ANODE's config and parameters: `members` of each fold and run, all of one density."""
    flow = density.get_config(n_layers=2, hidden=(4,))
    settings = weak.get_config(members=members, folds=folds, runs=2)
    config = ConfigDict({"flow": flow, "signal_flow": flow, "classifier": settings})
    rng = np.random.default_rng(0)
    joint = rng.uniform(0.1, 0.9, (400, 3)).astype(np.float32)

    def stacked(n_features, n_condition, *leading):
        network = density.network(flow, n_features)
        rows = joint[:, :n_features], joint[:, :n_condition]
        params = jax.jit(network.init)(jax.random.key(0), *rows)
        return jax.tree.map(lambda a: np.broadcast_to(a, (*leading, *a.shape)) + 0.1, params)

    def scaler(values):
        return fit_logit_scaler(values, 1e-6)._asdict()

    n_folds = max(folds, 1)
    background = {
        "params": stacked(2, 1, 1, 1),
        "scaler": scaler(joint[:, :2]),
        "mass": {"mean": np.float32(3.5), "scale": np.float32(0.1), "log": np.float32(0)},
    }
    return config, {
        "background": background,
        "mass": {"shape": np.zeros(3, np.float32), "low": np.float32(3.3)},
        "scaler": scaler(joint),
        "fold": np.tile(np.repeat(np.arange(n_folds), members), 2),
        "signal": {"flow": stacked(3, 0, 2 * n_folds * members, epochs)},
    }


@pytest.mark.parametrize(
    ("members", "epochs", "folds"),
    [
        pytest.param(3, 1, 0, marks=pytest.mark.long),
        pytest.param(1, 4, 0, marks=pytest.mark.long),
        (2, 2, 3),
    ],
)
def test_the_signal_density_is_a_mean_over_members_and_epochs(members, epochs, folds):
    """Any number of equal densities is one of them: a sum would grow with their number."""
    x = np.random.default_rng(1).uniform(0.2, 0.8, (20, 2)).astype(np.float32)
    m = np.linspace(0.3, 0.7, 20, dtype=np.float32)
    one, many = (
        jax.jit(ranode.feature_scores(config))(fitted, m, x, x)["log_ratio"]
        for config, fitted in (density_ratio(1, 1, 0), density_ratio(members, epochs, folds))
    )
    assert many.shape == (2, 20)
    np.testing.assert_allclose(many, one, atol=2e-5)


@pytest.mark.parametrize(("members", "folds"), [(4, 0), (2, 3)])
@pytest.mark.parametrize("name", ["network", "trees"])
def test_the_probability_is_a_mean_over_members(name, members, folds):
    """Of equal members the ensemble has the probability of each."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(12, 3)).astype(np.float32)
    n = members * max(folds, 1)
    config = classifier_config(name=name, members=members, folds=folds)
    fitted = {"shift": 0.0, "scale": 1.0, "fold": np.repeat(np.arange(max(folds, 1)), members)}
    if name == "trees":
        y = (x[:, 0] > 0).astype(np.float32)
        one = trees.fit(np.repeat(x, 9, 0), np.repeat(y, 9), np.ones(108), [np.arange(108)], 0, 2)
        copied = {key: np.repeat(values, n, 0) for key, values in one.items() if key != "depth"}
        fitted["trees"] = copied | {"depth": one["depth"]}
        wanted = jax.nn.sigmoid(trees.leaf_sums(one, x))
    else:
        params = jax.jit(Classifier((8,)).init)(jax.random.key(0), x)
        fitted["params"] = jax.tree.map(lambda a: np.broadcast_to(a, (n, 3, *a.shape)), params)
        wanted = jax.nn.sigmoid(Classifier((8,)).apply(params, x))[None]
    found = jax.jit(partial(weak.score, config))(fitted, x, x)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_anode_asks_how_the_density_of_its_window_trains():
    with pytest.raises(UserError, match=r"^region_train: expected how to train .*configs/anode.py"):
        anode.fit(configs.get_config("smoke"), None, None)
