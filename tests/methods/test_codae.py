"""Models, scores and methods on event images: counts, parity with published arrays, properties."""

import importlib
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from jaxad.commands.train import bench
from jaxad.configs import cct, codae, codvae, dirichlet_vae, qcd_or_what
from jaxad.data.codae import LAYOUT
from jaxad.data.dataset import Dataset
from jaxad.devices.batches import in_chunks
from jaxad.errors import UserError
from jaxad.methods import codae as codae_method
from jaxad.methods.stages import event_images
from jaxad.models import cct as cct_model
from jaxad.models import codae as codae_model
from jaxad.models import qcd_or_what as qcd_model
from jaxad.models import vae
from jaxad.models.codae import CoDAE, CoDVAE, count_parameters, from_keras_arrays
from jaxad.models.convolution import GroupedConv, grouped_conv, large_conv, pad_same
from jaxad.scorer import Scorer
from jaxad.training import fit, get_config
from jaxad.training.step import make_optimizer

IMAGES = jnp.zeros((2, 72, 58, 1))
NOISE = jnp.zeros((1, 5, 4, 64))


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def shapes(network, *inputs):
    return jax.eval_shape(network.init, jax.random.key(0), *inputs)


@pytest.mark.parametrize(
    ("network", "inputs", "count"),
    [
        (CoDAE(), (IMAGES,), codae_model.N_PARAMETERS["codae"]),
        (CoDVAE(), (IMAGES, NOISE, NOISE[None]), codae_model.N_PARAMETERS["codvae"]),
        (vae.DirichletVAE(4176), (IMAGES.reshape(2, -1), jnp.zeros((2, 3))), 2_154_742),
        (qcd_model.QCDOrWhat(), (IMAGES,), 594_003),
        (cct_model.CCT(learned_position=False), (IMAGES,), 406_084),
        (cct_model.CCT(), (IMAGES,), 406_084 + 34_560),
    ],
)
def test_parameter_counts(network, inputs, count):
    assert count_parameters(shapes(network, *inputs)["params"]) == count


def test_parts_of_codae():
    params = shapes(CoDAE(), IMAGES)["params"]
    encoder = count_parameters(params["trunk"]) + count_parameters(params["latents"])
    assert encoder == 612_032
    assert count_parameters(params["mask_encoder"]) == 270_594
    assert count_parameters(params["decoder"]) == 763_841


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "groups"),
    [
        ((8, 8), 3, 1, 4),
        ((9, 5), 3, 2, 2),
        ((7, 10), 3, 3, 1),
        ((6, 6), 1, 1, 2),
        ((9, 9), 5, 2, 2),
    ],
)
def test_split_convolution_equals_native(size, kernel_size, stride, groups):
    x, kernel = random(3, *size, 8), random(kernel_size, kernel_size, 8 // groups, 8, seed=1)

    def value(native):
        def loss(x, kernel):
            y = large_conv(x, kernel, stride=stride, groups=groups, native=native)
            return jnp.sum(jnp.sin(y)), y

        grads, y = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(x, kernel)
        return y, *grads

    for ours, reference in zip(value(False), value(True), strict=True):
        assert ours.shape == reference.shape
        np.testing.assert_allclose(ours, reference, atol=1e-4)


def test_block_diagonal_convolution_of_a_gpu_is_that_of_groups(monkeypatch):
    x, kernel = random(2, 6, 5, 8), random(3, 3, 2, 12, seed=1)
    by_groups = grouped_conv(x, kernel, groups=4)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    program = str(jax.make_jaxpr(lambda x: grouped_conv(x, kernel, groups=4))(x))
    assert "feature_group_count=1" in program and program.count("conv_general_dilated") == 1
    np.testing.assert_allclose(grouped_conv(x, kernel, groups=4), by_groups, atol=1e-5)


def test_split_convolution_in_ensembles_and_loops():
    x, kernels = random(2, 6, 6, 4), random(3, 3, 3, 2, 4, seed=1)

    def gradient(kernel, native):
        return jax.grad(lambda k: jnp.sum(jnp.sin(large_conv(x, k, groups=2, native=native))))(
            kernel
        )

    ours, native = partial(gradient, native=False), jax.jit(partial(gradient, native=True))
    one_by_one = np.stack([native(k) for k in kernels])
    many = jax.jit(jax.vmap(ours))(kernels)
    looped = jax.jit(partial(jax.lax.map, ours))(kernels)
    np.testing.assert_allclose(many, one_by_one, atol=1e-4)
    np.testing.assert_allclose(looped, one_by_one, atol=1e-4)


@pytest.mark.parametrize(("size", "stride"), [((72, 58), 1), ((72, 58), 2), ((9, 8), 2)])
def test_padding_is_that_of_tensorflow(size, stride):
    x, kernel = random(1, *size, 1), random(3, 3, 1, 2)
    ours = large_conv(pad_same(x, 3, stride), kernel, stride=stride)
    reference = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(ours, reference, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_periodic_convolution_commutes_with_rotations(stride):
    x = random(1, 8, 6, 2)
    layer = GroupedConv(4, stride=stride, groups=2, periodic=True)
    params, apply = jax.jit(layer.init)(jax.random.key(0), x), jax.jit(layer.apply)
    turned = apply(params, np.roll(x, 2, axis=1))
    np.testing.assert_allclose(turned, np.roll(apply(params, x), 2 // stride, axis=1), atol=1e-5)


def test_normalisation_and_its_gradient_are_those_of_the_formula():
    """Also of an image that is far from zero, and of one that is a constant but for one pixel."""

    def formula(x, gamma, beta):
        mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
        y = (x - mean) / jnp.sqrt(variance + 1e-3) * gamma + beta
        return jnp.where(y > 0, y, 0.2 * y)

    x = jnp.concatenate(
        [random(2, 5, 4, 3), random(1, 5, 4, 3, seed=1) + 50, jnp.ones((1, 5, 4, 3))]
    )
    x = x.at[3, 2, 2].set(7.0)
    gamma, beta, slope = random(3, seed=2), random(3, seed=3), random(4, 5, 4, 3, seed=4)

    @partial(jax.jit, static_argnums=0)
    def both(function, *arguments):
        value, pulled = jax.vjp(function, *arguments)
        return value, pulled(slope)

    found, gradient = both(codae_model.normalised, x, gamma, beta)
    expected, reference = both(formula, x, gamma, beta)
    for ours, theirs in zip(gradient, reference, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)
    half = jax.jit(codae_model.normalised)(x[:2].astype(jnp.bfloat16), gamma, beta)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half, expected[:2], atol=0.05)


def test_conditioning_multiplies_by_the_convolution_of_code_and_coordinates():
    x, z_m = random(2, 5, 4, 6), random(2, 2, seed=1)
    layer = codae_model.SpatialConditioning()
    params = jax.jit(layer.init)(jax.random.key(0), x, z_m)
    kernel, bias = params["params"]["conv"]["kernel"], random(6, seed=2)
    params = {"params": {"conv": {"kernel": kernel, "bias": bias}}}
    columns, rows = np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 5))
    maps = [np.broadcast_to(z_m[:, None, None, i], (2, 5, 4)) for i in (0, 1)]
    maps += [np.broadcast_to(grid, (2, 5, 4)) for grid in (columns, rows)]
    images = jnp.asarray(np.stack(maps, -1), jnp.float32)
    direct = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = jax.jit(layer.apply)(params, x, z_m)
    np.testing.assert_allclose(found, x * (direct + bias), atol=1e-5)


def test_upsample_is_half_pixel_bilinear():
    x = random(2, 5, 4, 3)
    reference = jax.image.resize(x, (2, 10, 8, 3), "bilinear")
    np.testing.assert_allclose(jax.jit(codae_model.upsample)(x), reference, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (9, 5), (1, 2)])
def test_max_pool(size):
    x = random(2, *size, 3)
    reference = nn.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding="SAME")
    np.testing.assert_array_equal(jax.jit(codae_model.max_pool)(x), reference)


@pytest.mark.parametrize("size", [(8, 8), (9, 5), (1, 2)])
def test_max_pool_gradient(size):
    x = random(2, *size, 3)
    slope = random(2, -(-size[0] // 2), -(-size[1] // 2), 3, seed=1)

    def reference(x):
        return nn.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding="SAME")

    (ours,), (expected,) = (
        jax.jit(lambda x, pool=pool: jax.vjp(pool, x)[1](slope))(x)
        for pool in (codae_model.max_pool, reference)
    )
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_max_pool_gradient_goes_to_the_first_maximum():
    gradient = jax.jit(jax.grad(lambda x: codae_model.max_pool(x).sum()))(np.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[1, 0], [0, 0]])


@pytest.fixture(scope="module")
def published(shared_data):
    folder = shared_data / "codae" / "published"
    with np.load(folder / "codae_f16_weights.npz") as weights:
        params = jax.tree.map(jnp.asarray, from_keras_arrays(dict(weights)))
    with np.load(folder / "parity_codae.npz") as parity:
        return params, dict(parity)


def test_published_codae_forward(published):
    params, parity = published
    x = jnp.asarray(parity["x"], jnp.float32)
    logits, z, z_m = jax.jit(CoDAE().apply)({"params": params}, x)
    np.testing.assert_allclose(z, parity["z"], atol=1e-4)
    np.testing.assert_allclose(z_m, parity["zm"], atol=1e-4)
    np.testing.assert_allclose(jax.nn.sigmoid(logits), parity["reco"], atol=1e-4)
    loss = event_images.bce(x, logits).mean()
    np.testing.assert_allclose(loss, parity["loss"], rtol=1e-4)


@pytest.mark.slow
def test_published_codae_gradient_and_step(published):
    params, parity = published
    x = jnp.asarray(parity["x"], jnp.float32)

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: event_images.bce(x, CoDAE().apply({"params": p}, x)[0]).mean())(
            params
        )

    grads = gradient(params)

    def named(prefix):
        names = (name for name in parity if name.startswith(prefix))
        return from_keras_arrays({name.removeprefix(prefix): parity[name] for name in names})

    def compare(tree, reference, rtol):
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        for (path, leaf), norm in zip(leaves, jax.tree.leaves(reference), strict=True):
            name = jax.tree_util.keystr(path)
            # A bias before a normalisation has no gradient but rounding.
            if "'conv']['bias']" in name and "condition" not in name:
                continue
            np.testing.assert_allclose(np.linalg.norm(leaf), norm, rtol=rtol, err_msg=name)

    compare(grads, named("gnorm/"), 1e-3)
    # Keras adds epsilon before the bias correction of the second moment, optax after it.
    config = get_config(
        optimizer="adamw", weight_decay=0.1, eps=1e-7 / 0.001**0.5, clip_per_tensor=1.0
    )
    optimizer = make_optimizer(config, 1)

    @jax.jit
    def step(grads, params):
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        return jax.tree.map(jnp.add, params, updates)

    new = step(grads, params)
    compare(new, named("wnorm1/"), 1e-3)
    for array, name in (
        (new["latents"]["kernel"], "encoder1/latents/kernel"),
        (new["decoder"]["condition0"]["conv"]["kernel"], "decoder/conditioning-b0/kernel"),
        (new["mask_encoder"]["z"]["bias"], "encoder2/z/bias"),
    ):
        np.testing.assert_allclose(array, parity[f"w1/{name}"], atol=1e-4, err_msg=name)


def test_import_names_the_missing_field(shared_data):
    with np.load(shared_data / "codae" / "published" / "codvae_f16_weights.npz") as weights:
        arrays = dict(weights)
    expected = shapes(CoDVAE(), IMAGES, NOISE, NOISE[None])["params"]
    found = from_keras_arrays(arrays)
    expected.pop("prior_logits")
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)
    del arrays["mask_encoder/z/bias"]
    with pytest.raises(UserError, match="mask_encoder/z/bias"):
        from_keras_arrays(arrays)


def test_relaxed_categorical_is_that_of_tfp():
    tfd = pytest.importorskip("tensorflow_probability.substrates.jax.distributions")
    logits, temperature = random(2, 3, 5), jnp.array([[0.5, 1.0, 2.0]] * 2)
    ours = codae_model.Categorical(logits, temperature)
    log_x = ours.log_sample(jax.random.gumbel(jax.random.key(1), logits.shape))
    np.testing.assert_allclose(jnp.exp(log_x).sum(-1), 1.0, rtol=1e-5)
    reference = tfd.ExpRelaxedOneHotCategorical(temperature, logits=logits)
    np.testing.assert_allclose(ours.log_prob(log_x), reference.log_prob(log_x), rtol=1e-4)


def test_kl_of_the_prior_itself_is_zero():
    network, logits = CoDVAE(latent=4), random(5, 4, 4)
    variables = {
        "params": {"prior_logits": jnp.repeat(logits[:, :, None], 5, axis=2)},
        "prior": {"prior_temperature": jnp.full((5,), 0.7)},
    }
    gumbel = jax.random.gumbel(jax.random.key(1), (200, 1, 5, 4, 4))

    @jax.jit
    def divergence(logits, temperature):
        posterior = codae_model.Categorical(logits[None], jnp.full((1, 5, 4), temperature))
        return network.apply(variables, posterior, gumbel, method="kl")

    np.testing.assert_allclose(divergence(logits, 0.7), 0.0, atol=1e-3)
    assert divergence(-2 * logits, 2.0) > 5


def test_dirichlet_prior_and_kl():
    mean, variance = vae.dirichlet_prior((2.0, 2.0, 2.0))
    np.testing.assert_allclose(mean, 0.0, atol=1e-7)
    np.testing.assert_allclose(variance, (1 - 1 / 3) / 2)
    mean, variance = vae.dirichlet_prior((1.0, 0.25, 0.1))
    assert mean[0] > mean[1] > mean[2] and variance[0] < variance[1] < variance[2]
    tile = jnp.tile(mean, (4, 1))
    same = vae.gaussian_kl(tile, jnp.log(variance) + 0 * tile, mean, variance)
    np.testing.assert_allclose(same, 0.0, atol=1e-5)
    assert (vae.gaussian_kl(tile + 1, jnp.log(variance) + 0 * tile, mean, variance) > 0).all()


def test_stochastic_depth_keeps_the_mean():
    layer, x = cct_model.StochasticDepth(0.25), jnp.ones((4000, 2))
    y = layer.apply({}, x, True, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    np.testing.assert_allclose(y.mean(), 1.0, atol=0.05)
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    np.testing.assert_array_equal(layer.apply({}, x, False), x)


def masks(n=6, seed=0, shape=(72, 58, 1)):
    return (np.random.default_rng(seed).random((n, *shape)) < 0.05).astype(np.float32)


def test_reconstruction_scores_by_hand_and_orientation():
    x = masks()
    y = np.clip(x + 0.3 * np.random.default_rng(1).random(x.shape), 0, 1).astype(np.float32)
    scores = jax.jit(event_images.reconstruction_scores)
    found = scores(x, y)
    total = lambda v: v.reshape(len(v), -1).sum(1)  # noqa: E731
    np.testing.assert_allclose(found["mse"], total((x - y) ** 2), rtol=1e-5)
    dice = (total(x**2) + total(y**2)) / (2 * total(x * y))
    np.testing.assert_allclose(found["dice"], dice, rtol=1e-5)
    perfect = scores(x, x)
    for name in ("mse", "abs", "dice"):
        assert (found[name] > perfect[name]).all()
    np.testing.assert_allclose(perfect["dice"], 1.0, rtol=1e-6)
    np.testing.assert_array_equal(found["pixels_in"], total(x))


def test_bce_is_finite_where_the_sigmoid_saturates():
    loss = lambda t: event_images.bce(jnp.ones((1, 2, 2, 1)), t).sum()  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.full((1, 2, 2, 1), -200.0))
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_ssim():
    x, y = (np.random.default_rng(s).random((2, 30, 24, 1)).astype(np.float32) for s in (0, 1))
    ssim = jax.jit(event_images.ssim)
    np.testing.assert_allclose(ssim(x, x), 1.0, rtol=1e-5)

    def blur(values):
        for axis in (1, 2):
            values = gaussian_filter1d(values, 1.5, axis=axis, radius=5)
        return values[:, 5:-5, 5:-5]

    x64, y64 = x.astype(np.float64), y.astype(np.float64)
    mx, my = blur(x64), blur(y64)
    vx, vy, cov = blur(x64**2) - mx**2, blur(y64**2) - my**2, blur(x64 * y64) - mx * my
    c1, c2 = 1e-4, 9e-4
    value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    np.testing.assert_allclose(ssim(x, y), value.mean((1, 2, 3)), atol=1e-4)


def test_distance_correlation():
    a, b = random(300), random(300, seed=1)
    ones = jnp.ones(300)
    distance = jax.jit(event_images.distance_correlation)
    np.testing.assert_allclose(distance(a, 3 - 2 * a, ones), 1.0, rtol=1e-4)
    assert distance(a, b, ones) < 0.05 < distance(a, a**2, ones)
    padded = [jnp.concatenate([v, 50 + jnp.arange(20.0)]) for v in (a, b)]
    weight = jnp.concatenate([ones, jnp.zeros(20)])
    np.testing.assert_allclose(distance(*padded, weight), distance(a, b, ones), rtol=1e-3)


def test_chunks_change_nothing():
    x = random(10, 3)
    function = lambda x: {"a": x.sum(1), "b": x[:, :2]}  # noqa: E731
    for size in (3, 5, 10, 100):
        found = jax.jit(partial(in_chunks, function, size=size))(x)
        jax.tree.map(np.testing.assert_allclose, found, function(x))


IMAGE = (72, 58, 1)


def dataset(n=24):
    rng = np.random.default_rng(0)

    def rows(n):
        x = masks(n, int(rng.integers(1 << 30)), (72, 58, 3)) * 10
        return {"x": x, "label": rng.integers(0, 3, n).astype(np.float32)}

    supervised = {
        f"supervised_{part}": {"x": r["x"].sum(-1, keepdims=True), "label": r["label"]}
        for part, r in (("train", rows(n)), ("val", rows(8)))
    }
    return Dataset(rows(n), rows(10), rows(8), {"SUEP_125": rows(8)}, LAYOUT, supervised)


def fitter(task, train, val, config, seed, *, stage, **more):
    return fit(task, train, val, config, seed, stage=stage, **more)


def tiny(module):
    config = module.get_config("smoke")
    config.train.epochs, config.train.batch_size = 1, 16
    if "features" in config.model and "groups" in config.model:
        config.model.update({"features": (2, 2, 2, 2), "groups": 1, "mask_groups": 1})
    return config


@pytest.mark.parametrize(
    ("module", "default"),
    [
        pytest.param(codvae, "mse", marks=pytest.mark.long),
        pytest.param(qcd_or_what, "mse", marks=pytest.mark.long),
        (dirichlet_vae, "rare"),
        pytest.param(cct, "signal", marks=pytest.mark.long),
    ],
)
def test_methods_train_and_score(module, default):
    config = tiny(module)
    method = importlib.import_module(f"jaxad.methods.{config.method.name}")
    events = dataset()
    fitted = jax.tree.map(jnp.asarray, method.fit(config, events, bench(fitter)))
    x = events.test["x"]
    score = Scorer(config.method.name, config, fitted, LAYOUT).member_scores
    found = score(x)
    assert next(iter(found)) == default
    for name, values in found.items():
        assert values.shape == (1, len(x)), name
        assert np.isfinite(values).all(), name
        np.testing.assert_allclose(values[:, :3], score(x[:3])[name], rtol=2e-4, atol=2e-4)
    if hasattr(method, "outputs"):
        shown = jax.jit(method.outputs(config, LAYOUT))(fitted, x)
        assert shown["input"].shape == shown["reconstruction"].shape == (len(x), 72, 58)


@pytest.mark.slow
def test_padding_rows_and_batch_size_do_not_change_the_loss():
    config = tiny(codae)
    config.method.decorrelation = 0.5
    task = codae_method.task(config, IMAGE)
    x = jnp.asarray(masks(6))
    params, state = jax.jit(task.init)(jax.random.key(0), {"x": x})
    loss = jax.jit(lambda batch: task.loss(params, state, batch, jax.random.key(1), False)[0])
    whole = loss({"x": x[:4], "weight": jnp.ones(4)})
    padded = loss({"x": x, "weight": jnp.array([1.0, 1, 1, 1, 0, 0])})
    np.testing.assert_allclose(whole, padded, rtol=1e-4)


@pytest.mark.slow
def test_bfloat16_stays_close():
    config = tiny(codae)
    task = codae_method.task(config, IMAGE)
    x = jnp.asarray(masks(4))
    params, state = jax.jit(task.init)(jax.random.key(0), {"x": x})
    batch, values = {"x": x, "weight": jnp.ones(4)}, []
    for dtype in ("float32", "bfloat16"):
        config.model.dtype = dtype
        loss = jax.jit(codae_method.task(config, IMAGE).loss, static_argnums=4)
        values.append(
            loss(params, state, {"x": x, "weight": jnp.ones(4)}, jax.random.key(1), False)
        )
    np.testing.assert_allclose(values[0][0], values[1][0], rtol=2e-2)
    config.model.dtype = "float8"
    with pytest.raises(UserError, match=r"model\.dtype"):
        codae_method.task(config, IMAGE).loss(params, state, batch, jax.random.key(1), False)
