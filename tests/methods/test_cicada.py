"""CICADA: targets, exposure, training that goes on bit for bit, and scores that are integers."""

import dataclasses
import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_scorers import REGIONS, region_params, regions

from jaxad import fixed
from jaxad.commands.train import bench, build_scorer
from jaxad.configs import cicada as configs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import Preempted, UserError
from jaxad.inputs import images
from jaxad.methods import autoencoder, cicada
from jaxad.methods.stages import teacher as teachers
from jaxad.models import cicada as models
from jaxad.scorer import load
from jaxad.training import fit


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    train, val, test = ({"x": regions(n, seed)} for seed, n in enumerate((400, 150, 150)))
    return Dataset(train, val, test, {}, REGIONS)


def configured(**changes):
    config = configs.get_config("smoke")
    config.method.update({"augment": False, **changes})
    return config


@pytest.fixture(scope="module")
def teacher(dataset, tmp_path_factory):
    folder, config = tmp_path_factory.mktemp("teacher"), teachers.own_config(configured())
    fitted = autoencoder.fit(config, dataset, bench(fit))
    build_scorer(config, "autoencoder", fitted, dataset).save(folder / "scorer")
    return folder


@pytest.fixture(scope="module")
def student(dataset, teacher):
    """Config and fit of two members, and the rows that trained them."""
    config, seen = configured(teacher=str(teacher), outliers=0.25), {}
    config.train.update({"epochs": 20, "learning_rate": 1e-2, "ensemble": 2})

    def noted(task, train, val, *rest, **how):
        seen.update(train=train, val=val, fitted=fit(task, train, val, *rest, **how))
        return seen["fitted"]

    return config, cicada.fit(config, dataset, bench(noted)), seen


def test_targets_are_those_of_firmware():
    mse = np.array([0.0, 0.5, 1.0, np.exp(1), 40.0, 1e5])
    found = cicada.targets(mse)
    expected = [np.rint(256 * 32 * np.log(m)) / 256 if m else -np.inf for m in mse]
    np.testing.assert_array_equal(found, np.clip(expected, 0, 256 - 1 / 256).astype(np.float32))
    assert found.dtype == np.float32 and found[-1] == 65535 / 256
    with pytest.raises(UserError, match=r"expected scores of 0 and above, found -1 of pca: they h"):
        cicada.targets(np.array([3.0, -1.0]), "pca")


def test_the_teacher_scores_raw_counts(dataset, teacher):
    scorer, x = load(teacher), dataset.test["x"]
    found = scorer.outputs(x)
    np.testing.assert_array_equal(found["input"][..., 0], x)
    assert found["reconstruction"].min() >= 0
    np.testing.assert_allclose(
        scorer(x), np.mean((found["input"] - found["reconstruction"]) ** 2, (1, 2, 3)), rtol=1e-5
    )


def test_outliers_join_the_training_alone(dataset, student):
    x, (config, _, seen) = dataset.train["x"], student
    made = cicada.exposure(config, x)
    assert len(made) == 100 and made.dtype == np.float32 and made.max() <= 1023
    np.testing.assert_array_equal(seen["train"]["x"][..., 0], np.concatenate([x, made]))
    np.testing.assert_array_equal(seen["val"]["x"][..., 0], dataset.val["x"])
    np.testing.assert_array_equal(
        seen["train"]["weight"], np.float32(np.repeat([1, 0.2], [400, 100]))
    )
    ordinary, added = np.split(seen["train"]["target"][:, 0], [400])
    assert np.median(added) > np.quantile(ordinary, 0.6)
    assert cicada.exposure(configured(outliers=0.0), x).shape == (0, 18, 14)


def test_the_best_of_six_starts_stays(student):
    config, stored, seen = student
    value = seen["fitted"].value[:, 0]
    assert len(np.unique(value)) == 12
    for member, best in enumerate((value[:6].argmin(), 6 + value[6:].argmin())):
        params, state = (
            jax.tree.map(lambda a, i=best: a[i, 0], tree) for tree in seen["fitted"][:2]
        )
        for name, expected in models.integers(params, state["norm"]).items():
            np.testing.assert_array_equal(stored["layers"][name][member], expected)
    second = configured()
    second.seed = config.seed + 1
    assert cicada.starts(second) == cicada.starts(config)[6:]


def test_scores_are_those_of_the_integer_networks(dataset, student, tmp_path):
    """Trained, stored and loaded; what is above ten bits is full."""
    config, fitted, _ = student
    scorer = build_scorer(config, "cicada", fitted, dataset)
    scorer.save(tmp_path / "scorer")
    x, expected = dataset.test["x"], []
    for member in range(2):
        stored = jax.tree.map(lambda a, m=member: a[m], fitted["layers"])
        counts, t = fixed.run(models.network(stored), x[..., None].astype(int), models.INPUT)
        expected.append(np.asarray(fixed.to_float(counts, t))[:, 0])
        assert fitted["ebops"][member] == models.ebops(stored)
    np.testing.assert_array_equal(scorer.member_scores(x)["student"], expected)
    np.testing.assert_array_equal(load(tmp_path).member_scores(x)["student"], expected)
    assert scorer.names == ["student"] and len(np.unique(expected[0])) > 100
    assert (expected[0] != expected[1]).any()
    over = np.where(x == 1023, 5000, x)
    np.testing.assert_array_equal(scorer(over), scorer(x))


def test_a_student_follows_its_teacher(dataset, teacher, student):
    """Better than what the images are not needed for, on events that trained nothing."""
    config, fitted, _ = student
    x, scores = dataset.test["x"], cicada.scores(config, REGIONS)
    target = cicada.targets(load(teacher)(x))
    for found in np.asarray(jax.jit(scores)(fitted, x)["student"]):
        errors = np.abs(found - target)
        assert np.mean(errors) < 0.7 * np.mean(np.abs(np.median(target) - target))


def lopsided(x):
    """A score (n,) that is another one of every copy of an image."""
    return (
        1 + 1e-3 * np.asarray(x) @ np.exp(np.arange(14) / 7) @ np.sin(1 + np.arange(18) ** 2) ** 2
    )


def test_targets_are_kept_for_other_students_of_a_teacher(dataset, teacher, tmp_path):
    """Of the same events and copies alone."""
    scorer, x = load(teacher), dataset.test["x"][:50]
    first = cicada.kept_labels(scorer, x, False, tmp_path)
    np.testing.assert_array_equal(first[:, 0], cicada.targets(scorer(x)))
    (entry,) = tmp_path.iterdir()
    written = entry.stat().st_mtime_ns
    np.testing.assert_array_equal(cicada.kept_labels(scorer, x, False, tmp_path), first)
    assert entry.stat().st_mtime_ns == written
    assert cicada.kept_labels(scorer, x[:20], True, tmp_path).shape == (20, 6)
    np.testing.assert_array_equal(cicada.kept_labels(scorer, x[:20], False, tmp_path), first[:20])
    other = dataclasses.replace(scorer, params=jax.tree.map(lambda a: 0.9 * a, scorer.params))
    assert (cicada.kept_labels(other, x, False, tmp_path) != first).mean() > 0.9
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.long
def test_copies_have_one_target_of_a_symmetric_teacher_and_their_own_of_others(
    dataset, teacher, tmp_path
):
    scorer, x = load(teacher), dataset.test["x"][:30]
    config = scorer.config.copy_and_resolve_references()
    config.method.symmetric = False
    plain = dataclasses.replace(scorer, config=config)
    for own, expected in ((scorer, 1), (plain, 6)):
        found = cicada.kept_labels(own, x, True, tmp_path)
        for column, number in enumerate(images.symmetric_copies(18)):
            copy = np.asarray(images.turned(x, number))
            np.testing.assert_allclose(found[:, column], cicada.targets(own(copy)), atol=0.01)
        assert np.median([len(np.unique(row)) for row in found]) == expected


def test_a_step_sees_copies_with_their_own_targets():
    """Those that its key draws; validation sees the events themselves."""
    x = regions(40, 3)
    labels = cicada.labels(lopsided, x, True, "made up")
    assert labels.shape == (40, 6) and len(np.unique(labels[0])) == 6
    for column in range(6):
        copy = np.roll(x, column // 2 * 6, axis=1)
        expected = cicada.targets(lopsided(copy[:, :, ::-1] if column % 2 else copy))
        np.testing.assert_allclose(labels[:, column], expected, atol=0.01)
    np.testing.assert_array_equal(cicada.labels(lopsided, x, False, "made up"), labels[:, :1])

    key, weight = jax.random.key(5), np.ones(40, np.float32)
    job = cicada.task(252, 150.0, 100)
    start = job.init(jax.random.key(0), {})
    loss = jax.jit(job.loss, static_argnums=4)
    column = np.asarray(jax.random.randint(key, (40,), 0, 6))
    assert len(set(column)) == 6
    turned = images.turned(x[..., None], np.array(images.symmetric_copies(18))[column])
    for training, seen, target in (
        (True, turned, labels[np.arange(40), column]),
        (False, x[..., None], labels[:, 0]),
    ):
        batch = {"x": x[..., None], "target": labels, "weight": weight}
        alone = {"x": seen, "target": target[:, None], "weight": weight}
        found, expected = (loss(*start, rows, key, training)[0] for rows in (batch, alone))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rounding_begins_half_way():
    """Before, numbers keep to the ranges of their types alone; validation is rounded throughout."""
    params, norm = region_params()
    x, target = regions(40, 3)[..., None], np.full((40, 1), 100, np.float32)
    batch = {"x": x, "target": target, "weight": np.ones(40, np.float32)}
    loss = jax.jit(cicada.task(252, 150.0, 100).loss, static_argnums=4)

    def expected(rounded):
        y = models.hidden(params, x, rounded)
        return jnp.abs(models.output(params, norm, y, rounded) - 100).mean()

    smooth, coarse = (np.asarray(jax.jit(expected, static_argnums=0)(r)) for r in (False, True))
    assert abs(smooth - coarse) > 1e-3
    for step, training, value in ((20, True, smooth), (50, True, coarse), (20, False, coarse)):
        state = {"norm": norm, "step": np.float32(step)}
        found, _ = loss(params, state, batch, jax.random.key(0), training)
        np.testing.assert_allclose(found, value, rtol=1e-5)


def test_the_last_layer_is_scaled_to_the_rate_of_the_teacher():
    """On all events and their copies; the order of events stays."""
    params, norm = region_params()
    x = regions(300, 4)
    before = np.asarray(jax.jit(models.integer_scores)(models.integers(params, norm), x[..., None]))
    target = np.stack([1.1 * before / 256 + i / 10 for i in range(6)], axis=1)
    every = {"x": x[..., None], "target": target.astype(np.float32)}
    parts = [{k: a[part] for k, a in every.items()} for part in (slice(200), slice(200, None))]
    scaled = models.integers(cicada.scaled(params, norm, parts, 0.1), norm)
    assert [name for name in scaled if (scaled[name] != models.integers(params, norm)[name]).any()]
    score, own = jax.jit(models.integer_scores), []
    for number in images.symmetric_copies(18):
        own.append(np.asarray(score(scaled, images.turned(x[..., None], number))) / 256)
    rate = np.mean(np.stack(own) >= np.quantile(target, 0.9))
    assert rate == pytest.approx(0.1, abs=0.005)
    ranks = np.argsort(np.argsort(before)), np.argsort(np.argsort(own[0]))
    assert np.corrcoef(*ranks)[0, 1] > 0.999
    config = configured(same_rate=0.01)
    with pytest.raises(UserError, match=r"same_rate=0.01: of 900 events of background 9 are above"):
        cicada.require_rate(config, 900)
    cicada.require_rate(config, 1000)
    cicada.require_rate(configured(same_rate=0.0), 5)
    dead = params | {"out": -np.abs(params["out"])}
    with pytest.raises(UserError, match=r"method.same_rate: the student's scores are 0"):
        cicada.scaled(dead, norm, parts, 0.1)


@pytest.mark.long
def test_stopped_and_resumed_ends_bit_for_bit(dataset, student, tmp_path):
    (config, undisturbed, _), polls = student, itertools.count()
    with pytest.raises(Preempted):
        stopped = partial(fit, directory=tmp_path, stop=lambda: next(polls) > 2)
        cicada.fit(config, dataset, bench(stopped))
    again = cicada.fit(config, dataset, bench(partial(fit, directory=tmp_path)))
    jax.tree.map(np.testing.assert_array_equal, again, undisturbed)


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        (REGIONS, {"pixels": "fraction"}, r"inputs\.pixels: cicada takes counts as they are: set"),
        (Layout("image", (17, 14)), {}, r"of one channel, even sides .* found \(17, 14, 1\)"),
        (Layout("image", (18, 14, 3)), {}, r"of one channel, even sides .* found \(18, 14, 3\)"),
        (Layout("image", (256, 128)), {}, r"at most 4,096 pixels, found \(256, 128, 1\)"),
    ],
)
def test_other_images_are_refused(layout, changes, message):
    config = configured()
    config.inputs.update(changes)
    with pytest.raises(UserError, match=message):
        cicada.stage_of(config, layout)


def test_the_largest_images_that_are_taken_have_a_score():
    """Their sums are held by the lane that is not asked for by any setting."""
    side = math.isqrt(models.MAX_PIXELS)
    params = models.initial(jax.random.key(0), side**2, 50.0)
    x = np.random.default_rng(0).integers(0, 1024, (3, side, side, 1)).astype(np.float32)
    norm = models.Statistics(np.zeros(16, np.float32), np.ones(16, np.float32))
    scores = jax.jit(models.integer_scores)(models.integers(params, norm), x)
    assert scores.shape == (3,) and scores.dtype == np.int32


def test_what_is_no_network_for_firmware_is_refused(dataset):
    config = configured()
    config.train.keep_best = 2
    with pytest.raises(UserError, match=r"train\.keep_best: expected 1, as firmware holds one"):
        cicada.fit(config, dataset, bench(fit))
    own = teachers.own_config(configured())
    with pytest.raises(UserError, match=r"model\.name=counts: takes images of even sides, found"):
        autoencoder.stage_of(own, Layout("image", (17, 14)))
    other = Dataset(dataset.train, dataset.val, dataset.test, {}, Layout("image", (18, 14)))
    for method, settings in ((autoencoder, own), (cicada, configured(augment=True))):
        with pytest.raises(UserError, match=r"symmetric: turn images whose first axis is all of"):
            method.fit(settings, other, bench(fit))
