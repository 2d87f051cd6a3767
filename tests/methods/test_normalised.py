"""Normalised autoencoders: parts against NumPy, padding, resume, export."""

import jax
import jax.numpy as jnp
import normalised_reference as reference
import numpy as np
import pytest
from export_case import ABOUT
from ml_collections import ConfigDict
from random_jets import random_jets
from scipy.ndimage import gaussian_filter
from small_task import assert_equal

from jaxad import inputs
from jaxad.commands.evaluate import _convergence
from jaxad.configs import normalised
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.devices import precision
from jaxad.errors import Preempted, UserError
from jaxad.inputs.images import softening
from jaxad.methods import Bench, settings
from jaxad.methods import normalised_autoencoder as nae
from jaxad.methods.stages import langevin, transport
from jaxad.metrics import auc
from jaxad.models import spectral
from jaxad.models.spherical import JetAutoencoder, SphericalAutoencoder, project
from jaxad.report.tables import metrics_table
from jaxad.report.training import training_figure
from jaxad.scorer import Scorer
from jaxad.training import fit, loop

NETWORK = SphericalAutoencoder((4,), (6,), 3)
LAYOUT = Layout("features", (4,), columns=tuple((name, "") for name in "abcd"))
BOUNDS = (-4.0, 4.0)


def config_of(**changes) -> ConfigDict:
    """A small one on four columns."""
    config = normalised.get_config("smoke")
    config.inputs = inputs.get_config("features")
    config.model.update(n_latent=2, widths=(8,))
    config.chains.buffer = 64
    for section in ("train", "normalise_train"):
        config[section].update(epochs=2, batch_size=16)
    config.update_from_flattened_dict(changes)
    return config


def rows(n, seed=0):
    """Events (n, 4) on a curved surface."""
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(2, n))
    x = np.stack([u, v, u * v, u**2 - 1], 1) + 0.1 * rng.normal(size=(n, 4))
    return {"x": x.astype(np.float32)}


def dataset(n=40):
    return Dataset(rows(n), rows(30, 1), rows(50, 2), {"s": rows(20, 3)}, LAYOUT)


def bench(**kwargs):
    return Bench(lambda *a, **k: fit(*a, **k, **kwargs), None, Scorer)


@pytest.fixture(scope="module")
def params():
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.zeros((1, 4)))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: np.float32(rng.normal(0, 0.6, a.shape)), shapes)


@pytest.fixture(scope="module")
def doubled(params):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), params)


@pytest.fixture
def float32_steps(monkeypatch):
    monkeypatch.setenv(precision.CHOSEN, "highest")


def unit(v):
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def test_energies_are_those_of_numpy(params, doubled):
    x = rows(50)["x"]
    np.testing.assert_allclose(
        nae.energy(NETWORK, params, x), reference.energy(doubled, x.astype(np.float64)), rtol=1e-5
    )


@pytest.mark.parametrize("space", ["latent", "input"])
def test_a_clipped_step_is_that_of_numpy(space, params, doubled):
    """Some gradients are clipped, each event by its own length, and some are not."""
    rng = np.random.default_rng(1)
    v = rows(20)["x"] if space == "input" else unit(rng.normal(size=(20, 3))).astype(np.float32)
    xi = rng.normal(size=v.shape).astype(np.float32)
    limit = {"latent": 0.4, "input": 1.2}[space]
    settings = {"annealed": True, f"{space}_rate": 0.7, f"{space}_noise": 0.3, "limit": limit}
    walk = langevin.walk_of(langevin.get_config(**settings), space)

    def on_decoded(z):
        x = NETWORK.apply({"params": params}, z, method="decode")
        return nae.energy(NETWORK, params, x)

    energies = {"input": lambda x: nae.energy(NETWORK, params, x), "latent": on_decoded}
    settle = {"input": lambda x: jnp.clip(x, -1, 1), "latent": project}
    function = jax.jit(lambda v, xi: langevin.step(walk, energies[space], settle[space], v, xi, 2))
    found, hit = function(v, xi)
    exact = {
        "input": lambda x: reference.energy(doubled, x),
        "latent": lambda z: reference.energy(doubled, reference.decode(doubled, z)),
    }
    noise = 0.3 / 3 if space == "input" else 0.3  # that of inputs falls
    expected = reference.step(
        exact[space],
        v.astype(np.float64),
        *(0.7, limit, noise * xi),
        {"input": lambda x: np.clip(x, -1, 1), "latent": unit}[space],
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert 0 < hit.sum() < 20


def test_the_gradient_of_the_loss_is_that_of_numpy(params, doubled, float32_steps):
    """With the samples of one chain, which the gradient does not go through."""
    config = config_of(**{"method.gamma": 0.3, "chains.restart": 1.0})
    config.model.n_latent = 3
    task = nae.normalising(config, NETWORK, BOUNDS)
    x, weight, key = rows(16)["x"], np.ones(16, np.float32), jax.random.key(5)
    buffer = langevin.new_buffer(jnp.zeros((32, 3)))
    state = {"vectors": {}, "scale": jnp.float32(0.5), "buffer": buffer}
    batch = {"x": x, "weight": weight}
    gradient = jax.jit(jax.grad(task.loss, has_aux=True), static_argnums=4)
    found, (_, new) = gradient(params, state, batch, key, True)

    @jax.jit
    def sampled():
        _, of_chains = jax.random.split(key)
        of_fresh, _, of_chain = jax.random.split(of_chains, 3)
        walks = [langevin.walk_of(config.chains, space) for space in ("latent", "input")]
        return langevin.on_manifold(
            walks,
            lambda x: nae.energy(NETWORK, params, x) / 0.5,
            lambda z: NETWORK.apply({"params": params}, z, method="decode"),
            BOUNDS,
            nae.restarts(config, of_fresh, x.shape, BOUNDS),
            of_chain,
        )

    samples = sampled()
    np.testing.assert_allclose(new["buffer"]["rows"][:16], samples.kept, atol=1e-6)
    arguments = x.astype(np.float64), np.asarray(samples.x, np.float64), 0.5, 0.3
    leaves, tree = jax.tree.flatten(doubled)
    for i, leaf in enumerate(leaves):
        expected = np.zeros_like(leaf)
        for place in np.ndindex(leaf.shape):
            ends = []
            for h in (1e-6, -1e-6):
                moved = [a.copy() for a in leaves]
                moved[i][place] += h
                ends.append(reference.loss(jax.tree.unflatten(tree, moved), *arguments))
            expected[place] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(jax.tree.leaves(found)[i], expected, rtol=1e-5, atol=1e-5)


def test_the_buffer_is_first_in_first_out_and_keeps_the_places_of_padding():
    start = np.arange(24.0, dtype=np.float32).reshape(12, 2)
    buffer, expected, place = langevin.new_buffer(jnp.asarray(start)), start.copy(), 0
    push = jax.jit(langevin.pushed)
    for i in range(5):
        new = np.full((4, 2), 100.0 + i, np.float32) + np.arange(4)[:, None] / 10
        weight = np.float32([1, 1, 0, 0] if i == 2 else [1, 1, 1, 1])
        buffer = push(buffer, new, weight)
        place = reference.push(expected, place, new, weight)
        np.testing.assert_array_equal(buffer["rows"], expected)
        assert buffer["next"] % 12 == place and buffer["filled"] == min(4 * (i + 1), 12)


def test_starts_come_from_what_is_filled():
    buffer = langevin.new_buffer(jnp.full((12, 2), -1.0))
    fresh, key = jnp.zeros((4000, 2)), jax.random.key(0)
    drawn = jax.jit(langevin.drawn)
    assert not drawn(buffer, fresh, 0.0, key).any()
    buffer = langevin.pushed(buffer, np.ones((4, 2), np.float32), np.ones(4))
    assert (drawn(buffer, fresh, 0.0, key) == 1).all()
    assert np.mean(drawn(buffer, fresh, 0.05, key)[:, 0]) == pytest.approx(0.95, abs=0.02)


def test_a_tied_chain_draws_from_its_density():
    """E = x^2 / 2 at the temperature 1 has the spread 1; noise and rate say how hot a chain is."""
    walk = langevin.walk_of(langevin.get_config(tied=True, input_rate=0.05, limit=0.0), "input")
    assert walk.temperature() == pytest.approx(1) and not walk.annealed
    walk = walk._replace(steps=200)
    x, hits = jax.jit(
        lambda key: langevin.walked(
            walk, lambda v: v[:, 0] ** 2 / 2, lambda v: v, jnp.zeros((4000, 1)), key
        )
    )(jax.random.key(0))
    assert np.std(x) == pytest.approx(1, abs=0.04) and not hits.any()


@pytest.mark.parametrize("cost", ["sliced", pytest.param("sinkhorn", marks=pytest.mark.long)])
def test_the_gradient_of_transport_goes_through_the_chain(cost, params, float32_steps):
    """Of a chain of one step, against a finite difference along it."""
    config = config_of(
        **{"method.normalisation": "wasserstein", "method.transport": cost},
        **{"chains.restart": 1.0, "chains.input_steps": 1, "chains.input_rate": 0.5},
    )
    task = nae.normalising(config, NETWORK, BOUNDS)
    buffer = langevin.new_buffer(jnp.zeros((32, 4)))
    state = {"vectors": {}, "scale": jnp.float32(1), "buffer": buffer}
    batch = {"x": rows(16)["x"], "weight": np.ones(16, np.float32)}

    @jax.jit
    def both(params):
        return jax.value_and_grad(
            lambda params: task.loss(params, state, batch, jax.random.key(1), True)[0]
        )(params)

    _, gradient = both(params)
    size = np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(gradient)))
    assert size > 1e-3
    h = 5e-4
    ends = [
        both(jax.tree.map(lambda p, g, h=h: p + h * g / size, params, gradient))[0] for h in (h, -h)
    ]
    found = (ends[0] - ends[1]) / (2 * h)
    # At a fixed plan the regularised cost has not quite the gradient of the plan that moves.
    np.testing.assert_allclose(found, size, rtol=0.02 if cost == "sliced" else 0.2)


def test_images_are_filtered_then_raised_then_divided_by_their_sum():
    rng = np.random.default_rng(0)
    x = rng.gamma(0.3, 1, (3, 9, 7, 1)).astype(np.float32)
    x[:, :2] = 0
    x /= x.sum((1, 2, 3), keepdims=True)
    soften, said = softening(inputs.get_config("image", smear=1.3, power=0.5))
    expected = np.stack([gaussian_filter(image, (1.3, 1.3, 0)) for image in x]) ** 0.5
    expected /= expected.sum((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(soften(x), expected, rtol=1e-4, atol=1e-6)
    assert said == {"smear": 1.3, "power": 0.5}
    found = softening(inputs.get_config("image", smear=1.3), periodic=True)[0](x)
    modes = ("wrap", "reflect", "reflect")
    rolled = np.stack([gaussian_filter(image, (1.3, 1.3, 0), mode=modes) for image in x])
    np.testing.assert_allclose(found, rolled, rtol=1e-3, atol=1e-6)
    dark = jax.jit(jax.grad(lambda x: soften(x).max()))(x)
    assert np.isfinite(dark).all()


def test_only_images_that_sum_to_one_are_softened():
    config = inputs.get_config("image", pixels="energy", power=0.5)
    with pytest.raises(UserError, match=r"inputs.power: of images that sum to one"):
        inputs.stage(config, Layout("image", (9, 7)), ("image",), "m")


@pytest.fixture(scope="module")
def undisturbed():
    """(config, what was fitted) of two members, whose batches of 16 leave a last one of 8."""
    config = config_of(**{"normalise_train.epochs": 4, "train.ensemble": 2})
    return config, nae.fit(config, dataset(), bench())


def test_both_phases_are_scored_and_the_verdict_is_said(undisturbed):
    config, found = undisturbed
    scorer = Scorer("normalised_autoencoder", config, jax.tree.map(np.asarray, found), LAYOUT)
    scores = scorer.member_scores(rows(50, 2)["x"])
    assert list(scores) == ["nae", "ae"]
    x = np.asarray(nae.stage_of(config, LAYOUT).apply(found, rows(50, 2)["x"]))
    for name, key in (("nae", "params"), ("ae", "before")):
        params = jax.tree.map(lambda a: np.asarray(a[1, 0], np.float64), found[key])
        np.testing.assert_allclose(scores[name][1], reference.energy(params, x), rtol=1e-4)
    verdict = _convergence(scorer)["convergence"]
    good = [
        away <= 2 and 0.3 < ratio < 3
        for away, ratio in zip(
            verdict["wasserstein_over_floor"], verdict["energy_ratio"], strict=True
        )
    ]
    assert verdict["converged"] == all(good) and len(good) == 2


@pytest.mark.long
def test_a_run_goes_on_bit_for_bit(undisturbed, tmp_path, monkeypatch):
    """Killed after two of four epochs of the second phase, and before the end of a third."""
    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 0.0)  # one step a call
    config, expected = undisturbed
    polls = iter(range(1000))

    def stop():
        return next(polls) >= 2 * 4 + 2 * 4 + 1  # of 3 steps and an end an epoch

    with pytest.raises(Preempted):
        nae.fit(config, dataset(), bench(directory=tmp_path, stop=stop))
    assert (tmp_path / "normalisation").is_dir()
    assert_equal(nae.fit(config, dataset(), bench(directory=tmp_path)), expected)


@pytest.mark.long
@pytest.mark.parametrize("changes", [{}, {"method.transport": "sinkhorn"}])
def test_the_wasserstein_form_trains_and_goes_on(changes, tmp_path):
    config = config_of(**{"method.normalisation": "wasserstein", "train.ensemble": 2} | changes)
    expected = nae.fit(config, dataset(), bench())
    polls = iter(range(1000))
    with pytest.raises(Preempted):
        stop = lambda: next(polls) >= 3  # noqa: E731
        nae.fit(config, dataset(), bench(directory=tmp_path, stop=stop))
    assert_equal(nae.fit(config, dataset(), bench(directory=tmp_path)), expected)
    assert np.isfinite(nae.scores(config, LAYOUT)(expected, rows(50, 2)["x"])["nae"]).all()


@pytest.mark.long
def test_a_second_phase_starts_from_the_members_of_the_first(float32_steps):
    """With a rate of nearly 0 it ends where it began, each member where it did itself."""
    config = config_of(**{"train.ensemble": 2, "normalise_train.learning_rate": 1e-12})
    found = nae.fit(config, dataset(), bench())
    assert_equal(found["params"], found["before"], rtol=1e-6, atol=1e-7)
    first = jax.tree.leaves(found["before"])[1]
    assert not np.allclose(first[0], first[1])


def test_the_verdict_is_in_the_printed_table():
    monitors = {"wasserstein": [[0.3], [0.1]], "floor": [[0.1], [0.1]], "ratio": [[1.0], [0.5]]}
    names = ("epoch", "clipped", "at_bound", "spread")
    monitors = {**monitors, **{name: [[0], [0]] for name in names}}
    found = nae.convergence({"monitors": monitors})
    assert not found["converged"] and found["energy_ratio"] == [1.0, 0.5]
    said = (
        "not converged in 1 of 2: W/W0 1 to 3 (at most 2), E-/E+ 0.5 to 1 (0.3 to 3): "
        "the score is no density"
    )
    assert said in metrics_table({"signals": {}, "convergence": found})


def test_rows_of_no_weight_change_nothing(params):
    """Three rows beside five of padding, whatever these hold."""
    config = config_of()
    config.model.n_latent = 3
    task = nae.normalising(config, NETWORK, BOUNDS)
    buffer = langevin.new_buffer(jnp.ones((16, 3)))
    buffer = langevin.pushed(buffer, unit(np.random.default_rng(0).normal(size=(8, 3))), np.ones(8))
    state = {"vectors": {}, "scale": jnp.float32(1), "buffer": buffer}
    x = rows(8)["x"]
    weight = np.float32(np.arange(8) < 4)
    results, loss = [], jax.jit(task.loss, static_argnums=4)
    for filling in (x[:1], 3.0):
        batch = {"x": np.where(weight[:, None] > 0, x, filling), "weight": weight}
        results.append(loss(params, state, batch, jax.random.key(0), True))
    assert_equal(*results)
    kept = results[0][1][1]["buffer"]
    np.testing.assert_array_equal(kept["rows"][12:], 1)
    assert not (kept["rows"][8:12] == 1).all(axis=1).any() and kept["filled"] == 16


def test_the_distance_that_chooses_is_guarded():
    metrics = {"energy_data": jnp.float32(1), "wasserstein": jnp.float32(0.5)}
    for negative, expected in ((0.2, 500), (1.0, 0.5), (4.0, 500)):
        found = nae.guarded(metrics | {"energy_samples": jnp.float32(negative)})
        assert found["guarded"] == expected


def test_perfect_samples_are_as_far_as_two_halves():
    x = rows(600)["x"]
    samples = langevin.Samples(rows(600, 9)["x"], x, x, jnp.zeros(600))
    along = transport.directions(jax.random.key(0), 4, 32)
    found = nae.monitors(x, samples, (-9.0, 9.0), along, jnp.ones(600))
    assert 0.6 < found["wasserstein"] / found["floor"] < 1.6 and found["at_bound"] == 0
    away = nae.monitors(x, samples._replace(x=x + 2), (-9.0, 9.0), along, jnp.ones(600))
    assert away["wasserstein"] > 4 * found["floor"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method.normalisation": "none"}, "method.normalisation: expected langevin or wasserst"),
        ({"method.transport": "exact"}, "method.transport: expected sliced or sinkhorn"),
        ({"method.energy_scale": "1"}, "method.energy_scale: expected pretrained or none"),
        ({"chains.buffer": 8}, "chains.buffer: expected at least the 16 of a batch, found 8"),
        ({"model.name": "conv"}, "model.name: expected dense or conv40, found 'conv'"),
        ({"model.name": "conv40"}, r"takes images \(40, 40, 1\), found \(4,\)"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(UserError, match=message) as error:
        nae.fit(config_of(**changes), dataset(), bench())
    assert "\n" not in str(error.value)


def test_settings_that_are_not_read_are_named():
    config = config_of()
    assert {"method.transport", "normalise_train.ensemble"} <= {*settings.idle(config)}
    config.method.normalisation = "wasserstein"
    assert {"method.gamma", "chains.latent_steps", "method.l2"} <= {*settings.idle(config)}
    config.method.name = "autoencoder"
    assert {"method.gamma", "chains.buffer", "normalise_train.epochs"} <= {*settings.idle(config)}


def test_the_figure_of_a_normalisation_shows_distances():
    record = {"stage": "normalisation", "val_loss": 0.0, "train_loss": 0.0, "learning_rate": 1.0}
    record |= {"val_wasserstein": 0.5, "val_floor": 0.1, "val_guarded": 0.5}
    axes = training_figure([record | {"epoch": i} for i in range(3)]).axes[0]
    assert axes.get_ylabel() == "sliced Wasserstein distance"


def test_jet_images_are_in_units_of_the_brightest_pixel():
    config = normalised.get_config("smoke")
    config.inputs = inputs.get_config("jet_image", n_pixels=8, half_width=0.4, smear=1.0, power=0.5)
    layout = Layout("ptetaphi", (20, 3))
    x = random_jets(0, 60, 20, spread=0.1)
    stage = nae.stage_of(config, layout)
    learnt, found = inputs.prepared(stage, {"train": x})
    assert found["train"].max() == pytest.approx(1) and found["train"].min() >= 0
    np.testing.assert_allclose(stage.apply({"inputs": learnt}, x), found["train"], rtol=1e-5)


@pytest.mark.long
def test_the_published_network_is_stored_and_exported_without_its_norms():
    """Softened images of 40 x 40: the exported score is that of the network with its norms."""
    onnx = pytest.importorskip("jaxad.export.onnx")
    pytest.importorskip("onnxruntime")
    layout = Layout("image", (40, 40))
    x = np.random.default_rng(0).poisson(0.05, (60, 40, 40)).astype(np.float32)
    data = Dataset({"x": x[:40]}, {"x": x[40:]}, {"x": x[40:]}, {}, layout)
    config = config_of(**{"model.name": "conv40", "model.n_latent": 3})
    config.inputs = inputs.get_config("image", smear=1.0, power=0.5)
    for section in ("train", "normalise_train"):
        config[section].epochs = 1
    kept = {}

    def keeping(*arguments, **settings):
        kept[settings["stage"]] = fit(*arguments, **settings)
        return kept[settings["stage"]]

    found = nae.fit(config, data, Bench(keeping, None, Scorer))
    found = jax.tree.map(np.asarray, found)
    scorer = Scorer("normalised_autoencoder", config, found, layout)
    params, state = jax.tree.map(
        lambda a: a[0, 0], (kept["normalisation"].params, kept["normalisation"].state)
    )
    normed, _ = spectral.normalised(params, state["vectors"], update=False)
    images = nae.stage_of(config, layout).apply(found, x)
    np.testing.assert_allclose(scorer(x), nae.energy(JetAutoencoder(), normed, images), rtol=1e-4)
    exported = onnx.loaded(onnx.model(lambda x: scorer.fn(found, x), scorer.shape, ABOUT))
    np.testing.assert_allclose(exported(x)[:, 0], scorer(x), rtol=1e-4)


TOY = {
    "model.n_latent": 2,
    "model.widths": (32, 32),
    "chains.buffer": 2048,
    "chains.latent_steps": 10,
    "chains.latent_rate": 0.01,
    "chains.latent_noise": 0.1,
    "chains.input_steps": 5,
    "chains.input_rate": 5e-4,
    "chains.input_noise": 0.02,
    "chains.limit": 30.0,
    "train.epochs": 30,
    "train.batch_size": 128,
    "train.learning_rate": 3e-3,
    "normalise_train.epochs": 30,
    "normalise_train.batch_size": 128,
    "normalise_train.learning_rate": 3e-3,
}


def between(n, seed, half=0.0):
    """Eight narrow Gaussians (n, 2) on the unit circle; turned by a half, what lies between."""
    rng = np.random.default_rng(seed)
    angle = (rng.integers(0, 8, n) + half) * np.pi / 4
    centre = np.stack([np.cos(angle), np.sin(angle)], 1)
    return {"x": np.float32(centre + rng.normal(0, 0.05, (n, 2)))}


@pytest.mark.long
def test_what_lies_between_modes_is_anomalous_after_the_second_phase_alone():
    """Eight Gaussians, five seeds: the autoencoder decodes the whole circle, between them too."""
    layout = Layout("features", (2,), columns=(("a", ""), ("b", "")))
    data = Dataset(between(1024, 0), between(512, 1), between(1000, 2), {}, layout)
    config = config_of(**TOY | {"train.ensemble": 5})
    found = nae.fit(config, data, bench())
    scores = jax.jit(nae.scores(config, layout))
    low, high = (scores(found, x["x"]) for x in (data.test, between(1000, 3, half=0.5)))
    aucs = {k: np.array([auc(*one) for one in zip(low[k], high[k], strict=True)]) for k in low}
    assert (aucs["ae"] < 0.65).all()
    assert (aucs["nae"] > aucs["ae"] + 0.1).all() and aucs["nae"].mean() > 0.7
