"""Methods on trigger events: sizes, masks, invariances, and scores equal to scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import OneClassSVM
from threadpoolctl import threadpool_info, threadpool_limits

from jaxad import inputs, methods, report
from jaxad.commands.train import bench, build_scorer
from jaxad.configs import (
    adc2021_ae,
    adc2021_flow_norm,
    adc2021_rbm,
    adc2021_shallow,
    adc2021_student,
    adc2021_vae,
)
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.evaluation import general as evaluation
from jaxad.inputs import trigger as trigger_events
from jaxad.inputs.trigger import mask
from jaxad.methods import trigger_autoencoder
from jaxad.methods.stages.teacher import load_teacher
from jaxad.models import rbm, trigger
from jaxad.models.trigger import MODELS
from jaxad.observables.trigger import ETA_LIMIT
from jaxad.training import fit

LAYOUT = Layout("ptetaphi", (19, 3))


def events(n: int, seed: int = 0) -> np.ndarray:
    """Trigger events (n, 19, 3): one or two leptons, up to five jets, MET."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 19, 3), np.float32)
    x[..., 0] = np.maximum(rng.exponential(30, (n, 19)), 0.5)
    x[..., 1] = rng.uniform(-1, 1, (n, 19)) * ETA_LIMIT
    x[..., 2] = rng.uniform(-np.pi, np.pi, (n, 19))
    there = np.zeros((n, 19), bool)
    there[:, [0, 1, 9]] = True
    there[:, 5] = rng.random(n) < 0.5
    there[:, 10:14] = np.arange(4) < rng.integers(0, 5, n)[:, None]
    return np.where(there[..., None], x, 0)


def garbage(x: np.ndarray) -> np.ndarray:
    """The same events with other values in the angles of padded slots."""
    rng = np.random.default_rng(9)
    other = x.copy()
    other[..., 1:] = np.where(mask(x)[..., None], x[..., 1:], rng.normal(0, 9, (*x.shape[:2], 2)))
    return other


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    train, val, test = ({"x": events(n, seed)} for seed, n in enumerate((300, 60, 60)))
    return Dataset(train, val, test, {}, LAYOUT)


def configured(name: str, loss: str = "masked"):
    config = adc2021_vae.get_config("smoke")
    config.model.name, config.method.loss = name, loss
    return config


def initial(config, scale, seed=0):
    task = trigger_autoencoder.task(config, scale)
    return jax.jit(task.init)(jax.random.key(seed), {"x": jnp.asarray(events(8))})


@pytest.mark.parametrize(
    ("name", "expected"),
    [("exercise", 977), ("challenge", 1977), ("dense_ae", 5_230), ("conv_ae", 7_722)],
)
def test_number_of_parameters(name, expected):
    arguments = (jnp.zeros((1, 19, 3)), jnp.zeros((1, 1)), False, jnp.ones(1, bool))
    variables = jax.eval_shape(lambda key: MODELS[name].init(key, *arguments), jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == expected


@pytest.mark.parametrize(("size", "same"), [((3, 3), True), ((3, 3), False), ((3, 1), True)])
def test_small_convolution_equals_the_native_one(size, same):
    x = jax.random.normal(jax.random.key(0), (4, 7, 3, 2))
    layer = trigger._Conv(5, size, same)
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    dimensions = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(
        x,
        variables["params"]["kernel"],
        (1, 1),
        "SAME" if same else "VALID",
        dimension_numbers=dimensions,
    )
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, atol=1e-5)


def test_reference_loss_is_the_mean_squared_difference_of_raw_inputs():
    config = adc2021_ae.get_config("smoke")
    params, state = initial(config, {})
    x = jnp.asarray(events(16))
    flat = np.asarray(x).reshape(16, 57)
    w = jax.tree.map(np.asarray, params)
    hidden = np.maximum(flat @ w["Dense_0"]["kernel"] + w["Dense_0"]["bias"], 0)
    output = np.maximum(hidden @ w["Dense_1"]["kernel"] + w["Dense_1"]["bias"], 0)
    task = trigger_autoencoder.task(config, {})
    weight = np.r_[np.ones(12), np.zeros(4)].astype(np.float32)
    loss, _ = jax.jit(task.loss, static_argnums=4)(
        params, state, {"x": x, "weight": weight}, jax.random.key(1), True
    )
    np.testing.assert_allclose(loss, np.mean((output - flat)[:12] ** 2), rtol=1e-5)


@pytest.mark.parametrize("loss", ["masked", "masked_per_object"])
def test_masked_error_follows_its_definition(loss):
    x = events(40)
    scale = trigger_events.pt_scale(x)
    output = np.random.default_rng(1).normal(size=(40, 57)).astype(np.float32)
    found = trigger_autoencoder.squared_error(loss, scale, jnp.asarray(x), jnp.asarray(output))
    there, y = mask(x), output.reshape(40, 19, 3).astype(np.float64)
    target = x.astype(np.float64)
    target[..., 0] = (target[..., 0] - scale["mean"]) / scale["std"]
    limits = np.stack([ETA_LIMIT, np.full(19, np.pi)], -1)
    y[..., 1:] = np.tanh(y[..., 1:]) * limits
    sums = (((y - target) ** 2).sum(-1) * there).sum(-1)
    per = 57 if loss == "masked" else 3 * there.sum(-1)
    np.testing.assert_allclose(found, sums / per, rtol=1e-5)


def test_pt_scale_of_empty_and_rare_slots():
    x = events(500)
    scale = trigger_events.pt_scale(x)
    pt = x[:, 9, 0]
    np.testing.assert_allclose([scale["mean"][9], scale["std"][9]], [pt.mean(), pt.std()], 1e-5)
    assert scale["mean"][8] == scale["mean"][5] and scale["std"][18] > 1
    np.testing.assert_array_equal(trigger_events.pt_scale(x[:, :] * 0)["std"], 1)


@pytest.mark.parametrize("name", ["dense_vae", "conv_vae"])
def test_padded_slots_have_no_gradient(name):
    config, x = configured(name), events(16)
    scale = trigger_events.pt_scale(x)
    params, state = initial(config, scale)
    task = trigger_autoencoder.task(config, scale)
    stage = trigger_autoencoder.stage_of(config, LAYOUT)

    @jax.jit
    def gradient(x):
        def loss(x):
            batch = {"x": stage.values(x), "weight": jnp.ones(len(x))}
            return task.loss(params, state, batch, jax.random.key(1), True)[0]

        return jax.value_and_grad(loss)(x)

    loss, found = gradient(x)
    found = np.asarray(found)
    assert np.all(found[~mask(x)][:, 1:] == 0)
    assert np.any(found[mask(x)] != 0)
    assert gradient(garbage(x))[0] == loss


@pytest.mark.parametrize("name", ["dense_ae"])
def test_decoder_learns_nothing_from_padded_slots(name):
    config, x = configured(name), events(16)
    scale = trigger_events.pt_scale(x)
    params, state = initial(config, scale)
    task = trigger_autoencoder.task(config, scale)
    batch = {"x": jnp.asarray(x), "weight": jnp.ones(16)}
    loss = lambda p: task.loss(p, state, batch, jax.random.key(1), True)[0]  # noqa: E731
    bias = np.asarray(jax.jit(jax.grad(loss))(params)["Dense_4"]["bias"]).reshape(19, 3)
    always_empty = ~mask(x).any(axis=0)
    assert always_empty.sum() >= 5
    np.testing.assert_array_equal(bias[always_empty], 0)
    assert np.all(bias[9] != 0)


def test_vae_scores_are_finite_ordered_and_deterministic(dataset):
    config = configured("dense_vae")
    fitted = trigger_autoencoder.fit(config, dataset, bench(fit))
    scorer = build_scorer(config, "trigger_autoencoder", fitted, dataset)
    assert scorer.names == ["kl", "r_z", "mu2", "mse", "loss"]
    found = scorer.scores(dataset.test["x"])
    np.testing.assert_array_equal(found["kl"], scorer(dataset.test["x"]))
    beta = config.method.beta
    expected = (1 - beta) * found["mse"] + beta * found["kl"]
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    assert all(np.isfinite(v).all() and v.min() >= 0 for v in found.values())
    tails = dataset.test["x"].copy()
    tails[::3, :, 0] *= 1e4
    extreme = scorer.scores(tails)
    assert all(np.isfinite(v).all() for v in extreme.values())
    other = scorer.scores(garbage(dataset.test["x"]))
    for name, values in found.items():
        np.testing.assert_array_equal(other[name], values)


def test_mu2_is_the_square_of_the_latent_means_of_the_encoder_alone():
    config, x = configured("dense_vae"), jnp.asarray(events(16))
    params, state = initial(config, trigger_events.pt_scale(events(16)))
    network, scale = trigger_autoencoder.model(config), trigger_events.pt_scale(events(16))
    score = trigger_autoencoder.scores(config, LAYOUT)

    @jax.jit
    def found(params):
        parts = jax.tree.map(lambda a: a[None, None], {"params": params, "state": state})
        mu2 = score(parts | {"inputs": scale}, x)["mu2"][0]
        arguments = (jnp.zeros((1, network.n_latent)), False, jnp.ones(16, bool))
        raw = trigger_events.clean(x)
        return mu2.sum(), (mu2, network.apply({"params": params, **state}, raw, *arguments).mean)

    gradient, (mu2, mean) = jax.jit(jax.grad(found, has_aux=True))(params)
    np.testing.assert_allclose(mu2, (mean**2).sum(-1), rtol=1e-5)
    layers = gradient | {f"latent_{k}": v for k, v in gradient.pop("_Bottleneck_0").items()}
    used = {name for name, leaf in layers.items() if any(map(jnp.any, jax.tree.leaves(leaf)))}
    norms = {f"BatchNorm_{i}" for i in range(3)}
    assert used == {"Dense_0", "Dense_1", "latent_mean"} | norms and "latent_log_var" in layers


def test_flow_norm_is_the_square_of_the_velocity_at_one_time(dataset):
    config = adc2021_flow_norm.get_config("smoke")
    config.method.time = 0.3
    method = methods.get("flow_norm")
    fitted = method.fit(config, dataset, bench(fit))
    scorer = build_scorer(config, "flow_norm", fitted, dataset)
    assert scorer.names == ["flow_norm", "z2"]
    stage = methods.stage("flow_norm", config, LAYOUT)
    z = np.asarray(stage.values(dataset.test["x"]), np.float64)
    there, norms = np.concatenate([z, np.full((len(z), 1), 0.3)], 1), []
    for epoch in range(jax.tree.leaves(fitted["params"])[0].shape[1]):
        w = jax.tree.map(lambda a, i=epoch: np.asarray(a[0, i], np.float64), fitted["params"])
        hidden = np.maximum(there @ w["Dense_0"]["kernel"] + w["Dense_0"]["bias"], 0)
        velocity = hidden @ w["Dense_1"]["kernel"] + w["Dense_1"]["bias"]
        norms.append((velocity**2).sum(1))
    found = scorer.scores(dataset.test["x"])
    np.testing.assert_allclose(found["flow_norm"], np.mean(norms, 0), rtol=1e-4)
    np.testing.assert_allclose(found["z2"], (z**2).sum(1), rtol=1e-5)


def test_flow_matching_learns_the_velocity_of_a_gaussian():
    """Of x1 ~ N(0, s^2): v(x, t) = x (t s^2 - (1 - t)) / (t^2 s^2 + (1 - t)^2); s is 1 here."""
    layout = Layout("features", (2,))
    config = adc2021_flow_norm.get_config("smoke")
    config.inputs = inputs.get_config("features")
    config.model.hidden = (32,)
    settings = {"epochs": 60, "batch_size": 500, "learning_rate": 2e-2, "schedule": "cosine"}
    config.train.update(settings)
    rng = np.random.default_rng(0)
    rows = [{"x": rng.normal(size=(n, 2)).astype(np.float32)} for n in (4000, 500, 500)]
    data = Dataset(*rows, {}, layout)
    method = methods.get("flow_norm")
    fitted = method.fit(config, data, bench(fit))
    for t in (0.2, 0.5, 0.8):
        config.method.time = t
        found = jax.jit(method.scores(config, layout))(fitted, rows[2]["x"])
        factor = (2 * t - 1) / (t**2 + (1 - t) ** 2)
        length = np.sqrt(np.mean(found["flow_norm"][0]) / np.mean(found["z2"]))
        assert length == pytest.approx(abs(factor), abs=0.2)


def test_rotation_makes_scores_invariant_under_rotation():
    config = configured("dense_vae")
    x = events(32)
    scale = trigger_events.pt_scale(x)
    params, state = initial(config, scale)
    fitted = jax.tree.map(lambda a: a[None, None], {"params": params, "state": state})
    turned = x.copy()
    turned[..., 2] = np.where(mask(x), np.mod(x[..., 2] + 2.0 + np.pi, 2 * np.pi) - np.pi, 0)

    def difference():
        scores = jax.jit(trigger_autoencoder.scores(config, LAYOUT))
        a, b = (scores(fitted | {"inputs": scale}, values)["mse"] for values in (x, turned))
        return float(jnp.max(jnp.abs(a - b) / a))

    assert difference() > 1e-2
    config.inputs.rotate = True
    assert difference() < 1e-4


def test_contrastive_divergence_is_the_gradient_of_the_loss():
    config = adc2021_rbm.get_config("smoke")
    task = methods.get("rbm").task(config)
    stage = methods.stage("rbm", config, LAYOUT)
    v = stage.unit({}, stage.values(jnp.asarray(events(64))))
    batch = {"x": v, "weight": jnp.ones(64)}
    params, state = jax.jit(task.init)(jax.random.key(0), batch)
    key = jax.random.key(1)
    found = jax.jit(jax.grad(lambda p: task.loss(p, state, batch, key, True)[0]))(params)
    chain = rbm.gibbs(params, v, key, 1)
    positive, negative = (a.T @ rbm.hidden(params, a) / 64 for a in (v, chain))
    np.testing.assert_allclose(found["weights"], negative - positive, atol=1e-6)
    np.testing.assert_allclose(found["visible"], (chain - v).mean(0), atol=1e-6)


def test_free_energy_is_the_sum_over_hidden_states():
    rng = np.random.default_rng(0)
    params = {"weights": rng.normal(size=(4, 3)), "visible": rng.normal(size=4)}
    params["hidden"] = rng.normal(size=3)
    v = rng.integers(0, 2, (6, 4)).astype(float)
    h = np.array(np.meshgrid(*[[0, 1]] * 3)).reshape(3, -1).T
    energy = -(v @ params["visible"])[:, None] - h @ params["hidden"] - v @ params["weights"] @ h.T
    expected = -np.log(np.exp(-energy).sum(1))
    np.testing.assert_allclose(rbm.free_energy(params, v), expected, rtol=1e-5)


def test_rbm_trains_and_prefers_its_training_events(dataset):
    config = adc2021_rbm.get_config("smoke")
    config.train.epochs = 30
    config.train.batch_size = 50
    method = methods.get("rbm")
    score = jax.jit(method.scores(config, LAYOUT))
    fitted = method.fit(config, dataset, bench(fit))
    busy = events(100, 5)
    busy[:, 1:9] = np.where(mask(busy)[:, 1:9, None], busy[:, 1:9], [20.0, 0.5, 0.5])
    background, signal = (score(fitted, x)["free_energy"][0] for x in (dataset.test["x"], busy))
    assert np.median(signal) > np.quantile(background, 0.95)


def reference_scores(name, x, train):
    if name == "one_class_svm":
        return -OneClassSVM(nu=0.1, gamma="scale").fit(train).decision_function(x)
    if name == "gaussian_mixture":
        mixture = GaussianMixture(3, reg_covar=1e-3, random_state=0).fit(train)
        return -mixture.score_samples(x)
    if name == "isolation_forest":
        return (
            -IsolationForest(n_estimators=20, random_state=0)
            .fit(train.astype(np.float32))
            .score_samples(x)
        )
    return NearestNeighbors(n_neighbors=5).fit(train).kneighbors(x)[0].mean(axis=1)


@pytest.mark.parametrize(
    "name", ["one_class_svm", "gaussian_mixture", "isolation_forest", "nearest_neighbours"]
)
def test_shallow_scores_equal_scikit_learn(name, dataset):
    config = adc2021_shallow.get_config("smoke")
    config.method.name = name
    config.method.update({"n_trees": 20, "nu": 0.1, "n_components": 3})
    method = methods.get(name)
    fitted = method.fit(config, dataset, None)
    stage = methods.stage(name, config, LAYOUT)
    train, x = (np.asarray(stage.values(d["x"]), np.float64) for d in (dataset.train, dataset.test))
    expected = reference_scores(name, x, train)
    scorer = build_scorer(config, name, fitted, dataset)
    np.testing.assert_allclose(scorer(dataset.test["x"]), expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(scorer(garbage(dataset.test["x"])), scorer(dataset.test["x"]))


def test_a_mixture_is_fitted_on_one_thread(dataset, monkeypatch):
    """Whatever the number of cores, so that sums have one order; other code keeps its threads."""
    config = adc2021_shallow.get_config("smoke")
    config.method.update({"name": "gaussian_mixture", "n_components": 2})
    inside, original = [], GaussianMixture.fit

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info()}

    def fit(self, x):
        inside.append(threads())
        return original(self, x)

    monkeypatch.setattr(GaussianMixture, "fit", fit)
    with threadpool_limits(2):
        methods.get("gaussian_mixture").fit(config, dataset, None)
        assert (inside, threads()) == ([{1}], {2})


def test_distance_of_an_event_to_itself_is_exactly_zero(dataset):
    config = adc2021_shallow.get_config("smoke")
    config.method.update({"name": "nearest_neighbours", "n_neighbours": 1})
    fitted = methods.get("nearest_neighbours").fit(config, dataset, None)
    scorer = build_scorer(config, "nearest_neighbours", fitted, dataset)
    assert (scorer(dataset.train["x"]) == 0).all()
    assert (scorer(dataset.test["x"]) > 0).all()


def test_shallow_methods_are_fitted_on_a_subsample(dataset):
    config = adc2021_shallow.get_config("smoke")
    config.method.n_fit = 50
    fitted = methods.get("nearest_neighbours").fit(config, dataset, None)
    assert fitted["reference"].shape == (50, 57)


@pytest.fixture(scope="module")
def teacher(dataset, tmp_path_factory):
    config = adc2021_shallow.get_config("smoke")
    fitted = methods.get("isolation_forest").fit(config, dataset, None)
    folder = tmp_path_factory.mktemp("teacher")
    build_scorer(config, "isolation_forest", fitted, dataset).save(folder / "scorer")
    return folder


def test_student_learns_the_logarithm_of_its_teachers_score(dataset, teacher):
    config = adc2021_student.get_config("smoke")
    config.method.teacher = str(teacher)
    config.model.hidden = (16,)
    config.train.update({"epochs": 120, "batch_size": 100, "learning_rate": 1e-2})
    student = methods.get("student")
    x = dataset.train["x"]
    target = student.targets(load_teacher(config.method.teacher, dataset, bench(fit)), x)
    fitted = student.fit(config, dataset, bench(fit))
    found = jax.jit(student.scores(config, LAYOUT))(fitted, x)["student"][0]
    assert np.mean((found - target) ** 2) < 0.3 * np.var(target)


def test_student_refuses_a_teacher_that_does_not_fit(dataset, teacher):
    config = adc2021_student.get_config()
    student = methods.get("student")
    with pytest.raises(UserError, match=r"method\.teacher: expected the work directory"):
        student.fit(config, dataset, bench(fit))
    config.method.teacher = str(teacher / "nowhere")
    with pytest.raises(UserError, match=r"method\.teacher: .*nowhere: no trained scorer here"):
        student.fit(config, dataset, bench(fit))
    config.method.teacher = str(teacher)
    rows = {"x": np.zeros((5, 16, 16), np.float32)}
    other = Dataset(rows, rows, rows, {}, Layout("image", (16, 16)))
    with pytest.raises(UserError, match=r"method\.teacher: .* scores events \(19, 3\)"):
        student.fit(config, other, bench(fit))
    energies = lambda x: np.full(len(x), -5.0)  # noqa: E731
    energies.method = "rbm"
    with pytest.raises(UserError, match=r"above -1, found -5 of rbm"):
        student.targets(energies, rows["x"])


def test_unknown_names_are_refused():
    config = configured("transformer")
    with pytest.raises(UserError, match=r"model\.name: expected one of exercise"):
        trigger_autoencoder.model(config)
    with pytest.raises(UserError, match=r"method\.loss: expected one of plain"):
        trigger_autoencoder.stage_of(configured("dense_ae", "huber"), LAYOUT)
    config.inputs.name = "jet_images"
    with pytest.raises(UserError, match=r"inputs\.name: expected one of particles, jet_image"):
        trigger_autoencoder.stage_of(config, LAYOUT)


def test_vectors_of_any_kind_are_taken_and_what_is_not_meant_is_refused():
    config = configured("dense_vae", "plain")
    features = Layout("features", (7,))
    with pytest.raises(UserError, match=r"the data are features \(7,\): choose .*features"):
        trigger_autoencoder.stage_of(config, features)
    config.inputs = inputs.get_config("features")
    assert trigger_autoencoder.stage_of(config, features).kind == "vector"
    config.method.loss = "masked"
    with pytest.raises(UserError, match=r"method\.loss=masked: is for sets of trigger objects"):
        trigger_autoencoder.stage_of(config, features)
    config.method.loss, config.model.name = "plain", "conv_ae"
    with pytest.raises(UserError, match=r"conv_ae: takes sets \(19, 3\), found \(7,\)"):
        trigger_autoencoder.stage_of(config, features)
    with pytest.raises(UserError, match=r"takes events \(19, 3\) of .*, found \(20, 3\)"):
        trigger_autoencoder.stage_of(configured("dense_vae"), Layout("ptetaphi", (20, 3)))


def test_rates_are_thresholds_on_the_background():
    config = adc2021_ae.get_config()
    background = np.random.default_rng(0).normal(size=(1, 20_000)).astype(np.float32)
    found = evaluation.rates(config, {"mse": background})["rates"]["mse"]
    assert list(found) == ["400", "5000", "400000"]
    assert "leaves 0, fewer than 10" in found["400"]["reason"]
    assert "leaves 2, fewer than 10" in found["5000"]["reason"]
    point = found["400000"]
    assert point["rate"] == np.mean(background >= point["threshold"]) * 40e6 == 400e3
    table = report.metrics_table({"signals": {}, "rates": {"mse": found}})
    assert "400 ± 28" in table and "leaves 2, fewer than 10" in table.splitlines()[-1]
    assert evaluation.rates(adc2021_ae.ConfigDict(), {"mse": background}) == {}
