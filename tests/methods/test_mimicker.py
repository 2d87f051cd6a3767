"""Mimickers: size, losses, selection by decision ordering, scores of raw jets, resumed runs."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from random_jets import jets_of_600_gev

import jaxad
from jaxad.commands.train import bench, build_scorer
from jaxad.configs import interpretable_hln, interpretable_pnn
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import Preempted, UserError
from jaxad.evaluation import mimickers as explain
from jaxad.inputs.observables import observables
from jaxad.methods import hln, pnn
from jaxad.methods.stages import mimicker
from jaxad.models.dense import Mimicker
from jaxad.observables.graphs import standard_graphs
from jaxad.observables.ordering import decision_ordering
from jaxad.training import fit, get_config

GRAPHS = standard_graphs(3)
LAYOUT = Layout("epxpypz", (12, 4))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Random jets of 550 to 650 GeV."""
    x = jets_of_600_gev(0, 300, 12) * np.random.default_rng(0).uniform(0.92, 1.08, (300, 1, 1))
    rows = [{"x": part} for part in np.split(x.astype(np.float32), [150, 230])]
    return Dataset(*rows, {"same": rows[2]}, LAYOUT, info={"source": "test"})


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = interpretable_pnn.get_config("smoke")
    config.data.cache = str(tmp_path_factory.mktemp("cache"))
    config.train = get_config(epochs=3, batch_size=64, ensemble=2, checkpoint_seconds=0.0)
    return config.lock()


def teach(config, dataset, bench):
    """In place of an autoencoder: the jets are scored by an EFP of degree 3."""
    function = jax.jit(
        lambda x: mimicker.observe([mimicker.Observable("efp_3_3_0", GRAPHS["efp_3_3_0"])], x)[:, 2]
    )
    return lambda x: np.asarray(function(x)), {}


@pytest.fixture(scope="module")
def run(dataset, config, tmp_path_factory):
    """Fit a PNN in a folder, or stop in the middle of a stage."""

    def one(folder, stop_in=""):
        def fitter(*args, stage, **kwargs):
            polls = itertools.count()
            stop = (lambda: next(polls) > 3) if stage == stop_in else (lambda: False)
            return fit(*args, stage=stage, directory=folder, stop=stop, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mimicker, "teach", teach)
            return pnn.fit(config, dataset, bench(fitter))

    return one


@pytest.fixture(scope="module")
def fitted(run, tmp_path_factory) -> dict:
    return run(tmp_path_factory.mktemp("undisturbed"))


def test_number_of_parameters():
    variables = jax.eval_shape(Mimicker().init, jax.random.key(0), jnp.zeros((1, 2)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 7851


def test_paired_loss_is_the_mean_over_pairs_of_present_events():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)).astype(np.float32), np.array([3.0, 1, 1, 5, 4, 9])
    batch = {"x": x, "y": y.astype(np.float32), "weight": np.array([1.0, 1, 1, 1, 1, 0])}
    task = pnn.task(Mimicker())
    params, _ = jax.jit(task.init)(jax.random.key(0), batch)
    value, _ = jax.jit(task.loss, static_argnums=4)(params, {}, batch, jax.random.key(1), True)
    f = np.asarray(jax.jit(Mimicker().apply)(params, x), np.float64)
    losses = []
    for a, b in itertools.permutations(range(5), 2):
        p, label = 1 / (1 + np.exp(f[a] - f[b])), 0.5 + 0.5 * np.sign(y[b] - y[a])
        losses.append(-label * np.log(p) - (1 - label) * np.log(1 - p))
    assert value == pytest.approx(np.mean(losses), rel=1e-5)


def test_regression_starts_at_the_mean_and_needs_positive_scores():
    batch = {"x": np.zeros((4, 2), np.float32), "y": np.array([-11.0, -9, -10, -10], np.float32)}
    params, _ = jax.jit(hln.task(Mimicker()).init)(jax.random.key(0), batch)
    np.testing.assert_allclose(jax.jit(Mimicker().apply)(params, batch["x"]), -10, rtol=1e-6)
    with pytest.raises(UserError, match=r"goes down to -1: use pnn"):
        hln.log_score(np.array([1.0, -1.0]))


def test_every_choice_orders_best_where_the_network_before_is_wrong(dataset, config, fitted):
    names = [observable.name for observable in mimicker.chosen(fitted)]
    assert len(names) == len(set(names)) == config.method.passes
    x = dataset.val["x"]
    teacher = teach(config, dataset, fit)[0](x)
    table = observables(x, GRAPHS, config.data.cache)[:, 2:]
    unused = list(GRAPHS)
    for name, scores in zip(names, jax.jit(mimicker.pass_scores)(fitted, x), strict=False):
        assert scores.shape == (2, len(x))
        columns = [list(GRAPHS).index(other) for other in unused]
        ordering = decision_ordering(teacher, table[:, columns], np.mean(scores, axis=0))
        assert name == unused[int(np.argmax(np.maximum(ordering, 1 - ordering)))]
        unused.remove(name)


def test_an_observable_that_follows_the_network_is_no_choice_in_the_sense_of_all_pairs():
    rng = np.random.default_rng(0)
    known, new = rng.normal(size=(2, 200))
    teacher = known - new
    candidates = np.stack([known, -known, new], axis=1)
    either = mimicker.ordering_quality(teacher, candidates, known, "either")
    np.testing.assert_allclose(either[:2], 1)
    overall = mimicker.ordering_quality(teacher, candidates, known, "all")
    np.testing.assert_allclose(overall[:2], 0)
    assert overall[2] == either[2] > 0.9
    with pytest.raises(UserError, match=r"method.sense: .* found 'other'"):
        mimicker.ordering_quality(teacher, candidates, known, "other")


def test_scores_of_raw_jets(dataset, config, fitted, tmp_path):
    build_scorer(config, "pnn", fitted, dataset).save(tmp_path / "scorer")
    scorer, x = jaxad.load(tmp_path), dataset.test["x"]
    found = scorer.member_scores(x)["pnn"]
    chosen = [observable.name for observable in mimicker.chosen(fitted)]
    columns = [0, 1, *(2 + list(GRAPHS).index(name) for name in chosen)]
    z = observables(x, GRAPHS, config.data.cache)[:, columns]
    z = (z - fitted["mean"]) / fitted["scale"]
    last = fitted["passes"][sorted(fitted["passes"])[-1]]
    for member, values in enumerate(found):
        params = jax.tree.map(lambda a, i=member: a[i, 0], last)
        expected = jax.jit(Mimicker().apply)(params, z)
        np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)
    longer = np.concatenate([x[:, ::-1], np.zeros_like(x)], axis=1)
    np.testing.assert_allclose(scorer(longer), scorer(x), rtol=1e-3, atol=1e-3)


@pytest.mark.long
def test_killed_in_the_middle_and_resumed_ends_bit_for_bit(run, fitted, tmp_path):
    for stage in ("pass 01", "pass 02"):
        with pytest.raises(Preempted):
            run(tmp_path, stop_in=stage)
    again = run(tmp_path)
    assert jax.tree.structure(again) == jax.tree.structure(fitted)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(fitted), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_pass_that_gains_too_little_ends_the_selection(config, dataset, run, tmp_path):
    with config.unlocked():
        config.method.tolerance = 1.0
    found = run(tmp_path)
    config.method.tolerance = 0.0
    assert list(found["passes"]) == ["00"] and len(found["mean"]) == 2
    assert mimicker.chosen(found) == []


def test_keys_of_passes_hold_the_graphs():
    observable = mimicker.Observable("efp_2_1_0*efp_3_2_0", ((0, 1), (2, 3), (2, 4)))
    tau = mimicker.Observable("tau_3", ())
    fitted = {"passes": {"00": {}, observable.key(1): {}, tau.key(2): {}}}
    assert mimicker.chosen(fitted) == [observable, tau]


def test_scorers_see_the_observables_of_the_selection(dataset, config):
    x = dataset.test["x"]
    graphs = {"efp_3_2_0": GRAPHS["efp_3_2_0"]}
    chosen = [mimicker.Observable("tau_2", ()), mimicker.Observable("efp_3_2_0", ((0, 1), (0, 2)))]
    assert tuple(map(tuple, graphs["efp_3_2_0"])) == chosen[1].edges
    found = jax.jit(lambda x: mimicker.observe(chosen, x))(x)
    expected = observables(x, graphs, config.data.cache, n_taus=5)[:, [0, 1, 4, 2]]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_own_teacher_and_any_run_as_teacher(dataset, config, tmp_path):
    config = config.copy_and_resolve_references()
    config.teacher.train.epochs = config.train.epochs = 1
    config.teacher.inputs.n_pixels = 8
    config.teacher.model = ConfigDict({"name": "conv", "n_latent": 2, "width": 4})
    config.method.update({"name": "hln", "passes": 0})
    fitted = hln.fit(config, dataset, bench(fit))
    assert list(fitted["passes"]) == ["00"]
    x = dataset.val["x"]
    teacher = explain.teacher(build_scorer(config, "hln", fitted, dataset))
    assert teacher.method == "autoencoder"
    teacher.save(tmp_path / "teacher" / "scorer")
    config.method.teacher = str(tmp_path / "teacher")
    score, nothing = mimicker.teach(config, dataset, bench(fit))
    np.testing.assert_array_equal(score(x), teacher(x))
    assert nothing == {}
    rows = {"x": np.ones((4, 5, 3), np.float32)}
    other = Dataset(rows, rows, rows, {}, Layout("ptetaphi", (5, 3)))
    with pytest.raises(
        UserError, match=r"method.teacher: .* \(None, 4\) of 'epxpypz' in units of 1 GeV, these"
    ):
        mimicker.teach(config, other, bench(fit))


def test_images_have_no_observables(config):
    x = {"x": np.ones((4, 16, 16), np.float32)}
    images = Dataset(x, x, x, {}, Layout("image", (16, 16)), info={"source": "test"})
    with pytest.raises(UserError, match=r"=particles: takes ptetaphi or epxpypz, .* image"):
        hln.fit(config, images, bench(fit))


def test_configs_share_all_but_the_method():
    one, other = interpretable_hln.get_config(), interpretable_pnn.get_config()
    assert (one.method.name, other.method.name) == ("hln", "pnn")
    other.method.name = "hln"
    assert one == other
