"""Masked particles and contrastive views: losses against NumPy, padding, resume, exports."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_jets import random_jets
from random_scorers import random_like
from random_sets import (
    INPUTS,
    LAYOUT,
    assert_exports_agree,
    changed,
    config_of,
    random_scorer,
)
from small_task import assert_equal

from jaxad import methods
from jaxad.commands.train import build_scorer
from jaxad.data.dataset import Dataset
from jaxad.errors import Preempted, UserError
from jaxad.methods import Bench, contrastive, masked_particles
from jaxad.methods.stages import views
from jaxad.training import fit

LONG = pytest.mark.long
METHODS = ("set_autoencoder", "masked_particles", "contrastive")


@pytest.fixture(scope="module")
def jets():
    return random_jets(1, 30, 20, spread=0.1)


@pytest.fixture(scope="module")
def dataset():
    parts = ({"x": random_jets(seed, n, 20, spread=0.1)} for seed, n in ((2, 40), (3, 20), (4, 20)))
    return Dataset(*parts, {}, LAYOUT, info={"source": "jets"})


def physical_sets(jets):
    z = jets[..., 0] / jets[..., 0].sum(1, keepdims=True)
    centre = jets[:, :1, 1:]
    angles = jets[..., 1:] - centre
    angles[..., 1] = (angles[..., 1] + np.pi) % (2 * np.pi) - np.pi
    found = np.concatenate([z[..., None], angles], -1)
    return (found * (jets[..., :1] > 0)).astype(np.float32), jets[..., 0].sum(1)


def unit(rng, n, d=5):
    x = rng.normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def by_hand(u, v, star, t):
    """Losses (n,) of the three forms, in double precision."""
    n, found = len(u), {"jet_clr": [], "anomaly_clr": [], "anomaly_clr_plus": []}
    both = np.concatenate([u, v]).astype(float)
    for i in range(n):
        terms = []
        for z, own, other in ((both[i], i, n + i), (both[n + i], n + i, i)):
            total = sum(np.exp(z @ both[k] / t) for k in range(2 * n) if k != own)
            terms.append(-np.log(np.exp(z @ both[other] / t) / total))
        found["jet_clr"].append(np.mean(terms))
        pulled = (u[i] @ v[i] - u[i] @ star[i]) / t
        total = sum(np.exp(u[i] @ both[k] / t) for k in range(2 * n) if k % n != i)
        found["anomaly_clr"].append(-np.log(np.exp(pulled) / total))
        found["anomaly_clr_plus"].append(-pulled)
    return found


def test_contrastive_losses_are_those_of_their_equations():
    rng = np.random.default_rng(0)
    u, v, star = (unit(rng, 6) for _ in range(3))
    expected = by_hand(u, v, star, 0.3)
    # Two rows more, copies of the first, of weight 0: nobody's others.
    u, v, star = (np.concatenate([each, each[:1], each[:1]]) for each in (u, v, star))
    weight = np.float32([1] * 6 + [0] * 2)
    anomaly_clr = jax.jit(contrastive.anomaly_clr)
    found = {
        "jet_clr": jax.jit(contrastive.jet_clr)(u, v, weight, 0.3),
        "anomaly_clr": anomaly_clr(u, v, star, weight, 0.3),
        "anomaly_clr_plus": jax.jit(contrastive.anomaly_clr_plus)(u, v, star, 0.3),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][:6], values, rtol=1e-4, atol=1e-5, err_msg=name)
    alone = anomaly_clr(u, v, star, np.float32([1] + [0] * 7), 0.3)
    assert alone[0] == pytest.approx(expected["anomaly_clr_plus"][0], abs=1e-4)


def test_physical_views_keep_momenta_and_shapes(jets):
    x, pt = physical_sets(jets)
    x = np.pad(x, ((0, 0), (0, 30), (0, 0)))
    found = np.asarray(jax.jit(views.physical)(jax.random.key(0), x, pt, 0.4))
    assert np.isfinite(found).all() and np.abs(found[..., 2]).max() <= np.float32(np.pi)
    np.testing.assert_allclose(found[..., 0].sum(1), x[..., 0].sum(1), rtol=1e-5)
    counts = [(each[..., 0] > 0).sum(1) for each in (x, found)]
    assert (counts[1] >= counts[0]).all() and (counts[1] > counts[0]).mean() > 0.5
    assert (found[found[..., 0] == 0] == 0).all()

    def width(x):
        z = x[..., :1] / x[..., :1].sum(1, keepdims=True)
        centre = (z * x[..., 1:]).sum(1, keepdims=True)
        return np.sqrt((z * (x[..., 1:] - centre) ** 2).sum((1, 2)))

    # But for the smear, of 0.1 GeV / pT, and rounding.
    np.testing.assert_allclose(width(found), width(x), atol=0.01)


def test_split_particles_stay_where_they_were(jets):
    x, _ = physical_sets(jets)
    x = np.pad(x, ((0, 0), (0, 5), (0, 0)))  # fewer slots than could be filled
    found = np.asarray(jax.jit(views.split)(jax.random.key(0), x))
    for before, after in zip(x, found, strict=True):
        there = after[:, 0] > 0
        old = {tuple(angles) for angles in before[before[:, 0] > 0, 1:].tolist()}
        assert {tuple(angles) for angles in after[there, 1:].tolist()} == old
        for angles in old:
            same = [(p[:, 1:] == angles).all(1) * p[:, 0] for p in (before, after)]
            np.testing.assert_allclose(same[1].sum(), same[0].sum(), rtol=1e-5)


def test_anomalous_views_have_the_momentum_and_the_axis_of_a_jet(jets):
    x, _ = physical_sets(jets)
    view = jax.jit(views.anomalous)
    found = np.asarray(view(jax.random.key(1), x, 0.4))
    np.testing.assert_allclose(found[..., 0].sum(1), x[..., 0].sum(1), rtol=1e-5)
    np.testing.assert_allclose((found[..., :1] * found[..., 1:]).sum(1), 0, atol=1e-5)
    counts = [(each[..., 0] > 0).sum(1) for each in (x, found)]
    assert (counts[1] <= counts[0]).all() and (counts[1] < counts[0]).any()
    empty = view(jax.random.key(1), jnp.zeros((30, 20, 3)), 0.4)
    assert (np.asarray(empty) == 0).all()


def test_every_particle_is_hidden_once_whatever_its_slot(jets):
    x = np.zeros((30, 20, 5), np.float32)
    x[..., 0], x[..., 1:3], x[..., 4] = jets[..., 0], jets[..., 1:], jets[..., 0] > 0
    x[0, :4, :2] = [[5, 1], [5, 2], [5, 2], [5, 0]]  # of equal pT
    folds = jax.jit(masked_particles.folds)
    fold = np.asarray(folds(x))
    there = x[..., 4] > 0
    counts = np.stack([((fold == k) & there).sum(1) for k in range(4)], 1)
    assert (counts.sum(1) == there.sum(1)).all() and (np.ptp(counts, axis=1) <= 1).all()
    order = np.random.default_rng(0).permutation(20)
    turned = np.asarray(folds(x[:, order]))
    np.testing.assert_array_equal(turned[there[:, order]], fold[:, order][there[:, order]])


def test_a_hidden_particle_cannot_be_seen(jets):
    """Whatever it is, the density of the others does not change; the density is normalised."""
    network = masked_particles.model(config_of("masked_particles"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    x[..., 4] = 1
    visible = np.float32([[1, 1, 0, 1, 0, 1]] * 3)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), x, visible))
    params = random_like(shapes)
    other = x.copy()
    other[:, 2, :4] += 3
    apply = jax.jit(network.apply)
    found, again = (np.asarray(apply(params, each, visible)) for each in (x, other))
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(again[:, kept], found[:, kept], rtol=1e-5)
    assert (np.abs(again[:, 2] - found[:, 2]) > 0.1).all()


@pytest.mark.parametrize(
    ("method", "model"),
    [
        ("masked_particles", "deep_sets"),
        pytest.param("contrastive", "deep_sets", marks=LONG),
        pytest.param("masked_particles", "transformer", marks=LONG),
        pytest.param("contrastive", "transformer", marks=LONG),
    ],
)
def test_scores_depend_on_the_particles_alone(method, model, jets):
    scorer = random_scorer(method, model)
    fn = jax.jit(lambda x: scorer.fn(scorer.params, x))
    expected = np.asarray(fn(jets))
    for name, same in changed(jets).items():
        np.testing.assert_allclose(fn(same), expected, rtol=1e-5, atol=1e-5, err_msg=name)
    assert np.isfinite(fn(np.zeros((2, 20, 3), np.float32))).all()


@LONG
@pytest.mark.parametrize("model", ["deep_sets", "transformer"])
@pytest.mark.parametrize("method", ["masked_particles", "contrastive"])
def test_every_network_exports(method, model, jets, tmp_path):
    formats = ["onnx", "stablehlo", "cpp"][: 3 if method == "masked_particles" else 2]
    assert_exports_agree(random_scorer(method, model), jets, formats, tmp_path)


def fitted_of(config, dataset, **settings):
    name = config.method.name

    def bound(*args, **kwargs):
        return fit(*args, **kwargs, **settings)

    return methods.get(name).fit(config, dataset, Bench(bound, None, None))


@LONG
@pytest.mark.parametrize("method", METHODS)
def test_members_are_single_runs_and_a_resumed_run_is_the_same(method, dataset, tmp_path):
    """40 jets in batches of 16: the last one is padded with rows of weight 0."""
    config = config_of(method, **{"train.ensemble": 2})
    both = fitted_of(config, dataset)
    calls = iter(range(100))
    with pytest.raises(Preempted):
        fitted_of(config, dataset, directory=tmp_path, stop=lambda: next(calls) >= 3)
    assert_equal(fitted_of(config, dataset, directory=tmp_path), both)
    config.train.ensemble, config.seed = 1, 1
    one = fitted_of(config, dataset)
    second = jax.tree.map(lambda a: a[1:], both["params"])
    assert_equal(one["params"], second, rtol=1e-4, atol=1e-5)
    scorer = build_scorer(config, method, one, dataset)
    assert np.isfinite(scorer.background).all() and np.ptp(scorer.background) > 0


@LONG
@pytest.mark.parametrize("method", METHODS)
def test_padded_rows_and_weights_change_no_loss(method, jets):
    config = config_of(method)
    x = np.asarray(methods.stage(method, config, LAYOUT).values(jets))
    rows = {"x": x, "pt": jets[..., 0].sum(1), "weight": np.ones(30, np.float32)}
    module = methods.get(method)
    if method == "contrastive":
        made = module.task(config, module.model(config), INPUTS)
    else:
        stage = methods.stage(method, config, LAYOUT)
        of = (config, LAYOUT) if method == "set_autoencoder" else (config,)
        made = module.task(config, module.model(*of), lambda x: stage.scale(INPUTS, x))
    rows["weight"][20:] = 0
    params, _ = made.init(jax.random.key(0), rows)
    loss = jax.jit(lambda rows: made.loss(params, {}, rows, jax.random.key(1), True)[0])
    expected = float(loss(rows))
    rows = rows | {"x": x.copy(), "pt": rows["pt"].copy()}
    rows["x"][20:], rows["pt"][20:] = x[3], rows["pt"][3]
    assert float(loss(rows)) == pytest.approx(expected, rel=1e-5)


def test_losses_and_scores_that_cannot_be_and_the_prior_that_is_named():
    config = config_of("contrastive", **{"method.loss": "vicreg"})
    with pytest.raises(UserError, match=r"method.loss: expected one of jet_clr, anomaly_clr, anom"):
        contrastive.model(config)
    config = config_of("contrastive", **{"method.score": "knn"})
    with pytest.raises(UserError, match=r"method.score: expected one of nearest_neighbours, maha"):
        contrastive.model(config)
    assert contrastive.caution(config, None) == ""
    config.method.loss = "anomaly_clr_plus"
    assert "a prior on signals" in contrastive.caution(config, None)
