"""The top-tagging autoencoder and its PCA baseline: size, normalisation, scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from jaxad import data, inputs, methods
from jaxad.commands import evaluate
from jaxad.commands import train as run
from jaxad.configs import cicada_teacher, features_ae, interpretable_ae, toptagging_ae
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs import features, prepared
from jaxad.inputs.images import turned
from jaxad.methods import autoencoder, pca
from jaxad.models.autoencoder import ConvAutoencoder, PooledAutoencoder
from jaxad.observables.images import jet_image
from jaxad.observables.kinematics import epxpypz_to_ptyphi
from jaxad.scorer import load

LAYOUT = Layout("epxpypz", (30, 4))


@pytest.fixture(scope="module")
def jets() -> np.ndarray:
    """Particles (200, 30, 4) as (E, px, py, pz), massless, a third of each jet padding."""
    rng = np.random.default_rng(0)
    pt = rng.gamma(1, 20, (200, 30))
    pt[:, 20:] = 0
    eta, phi = rng.normal(0.5, 0.2, (200, 30)), rng.normal(3.0, 0.2, (200, 30))
    momenta = [pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)]
    return np.stack(momenta, -1).astype(np.float32)


@pytest.mark.parametrize(
    ("config", "n_pixels", "expected"),
    [(toptagging_ae, 16, 307_843), (interpretable_ae, 40, 88_709)],
)
def test_number_of_parameters(config, n_pixels, expected):
    network = autoencoder.model(config.get_config())
    image = jnp.zeros((1, n_pixels, n_pixels, 1))
    variables = jax.eval_shape(network.init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected


def test_pooled_autoencoder_reconstructs_images_of_unit_sum():
    x = jax.random.uniform(jax.random.key(0), (2, 12, 8, 1))
    network = PooledAutoencoder(n_latent=3)
    result = jax.jit(network.apply)(jax.jit(network.init)(jax.random.key(1), x), x)
    assert result.output.shape == x.shape
    assert result.latent.shape == (2, 3)
    np.testing.assert_allclose(result.output.sum(axis=(1, 2, 3)), 1, rtol=1e-5)


def test_aligned_images_of_a_scorer_are_those_of_rapidity_also_from_the_cache(jets, tmp_path):
    heavy = jets.copy()
    heavy[..., 0] = np.where(jets[..., 0] > 0, np.hypot(jets[..., 0], 3), 0)
    config = interpretable_ae.get_config("smoke")
    expected = jet_image(epxpypz_to_ptyphi(heavy), 40, 1.0, align=True)
    stage = methods.stage("autoencoder", config, LAYOUT)
    found = prepared(stage, {"jets": heavy})[1]["jets"]
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-6)
    for _ in range(2):
        kept = prepared(stage, {"jets": heavy}, tmp_path)[1]["jets"]
        np.testing.assert_array_equal(kept, found)
    assert len(list(tmp_path.iterdir())) == 1


def test_reconstructions_are_images_of_unit_sum():
    x = jax.random.uniform(jax.random.key(0), (5, 16, 16, 1))
    network = ConvAutoencoder(width=8)
    result = jax.jit(network.apply)(jax.jit(network.init)(jax.random.key(1), x), x)
    assert result.output.shape == x.shape
    assert result.latent.shape == (5, 2)
    np.testing.assert_allclose(result.output.sum(axis=(1, 2, 3)), 1, rtol=1e-5)


def test_score_is_the_mean_squared_pixel_difference_of_each_member(jets):
    config = toptagging_ae.get_config("smoke")
    network = autoencoder.model(config)
    keys = jax.random.split(jax.random.key(0), 2)
    initial = jax.jit(network.init)
    single = [initial(k, jnp.zeros((1, 16, 16, 1)))["params"] for k in keys]
    fitted = {"params": jax.tree.map(lambda *a: jnp.stack(a)[:, None], *single)}
    scores = jax.jit(autoencoder.scores(config, LAYOUT))(fitted, jets)["mse"]
    assert scores.shape == (2, 200)
    image = jax.jit(autoencoder.outputs(config, LAYOUT))(fitted, jets)["input"][..., 0]
    np.testing.assert_allclose(image.sum(axis=(1, 2)), 1, rtol=1e-5)
    for member, params in enumerate(single):
        output = jax.jit(network.apply)({"params": params}, image[..., None]).output[..., 0]
        expected = np.mean((np.asarray(output) - np.asarray(image)) ** 2, axis=(1, 2))
        np.testing.assert_allclose(scores[member], expected, rtol=1e-4)


def test_a_symmetric_score_is_that_of_six_reconstructions_and_of_every_copy():
    """Turned by thirds and mirrored: their mean is nearer to the image than they are."""
    config = cicada_teacher.get_config("smoke")
    layout = Layout("image", (18, 14), periodic=True)
    x = np.random.default_rng(0).poisson(3, (40, 18, 14)).astype(np.float32)
    network = autoencoder.model(config)
    drawn = jax.jit(network.init)(jax.random.key(1), x[..., None])["params"]
    params = jax.tree.map(lambda a: 0.1 * np.abs(a), drawn)  # no unit is dead
    fitted = {"params": jax.tree.map(lambda a: a[None, None], params), "inputs": {}}
    score = jax.jit(autoencoder.scores(config, layout))
    found = np.asarray(score(fitted, x)["mse"])[0]
    shown = jax.jit(autoencoder.outputs(config, layout))(fitted, x)
    back, apply = [], jax.jit(network.apply)
    for third in range(3):
        for mirrored in (1, -1):
            copy = np.roll(x, 6 * third, axis=1)[:, :, ::mirrored, None]
            output = np.asarray(apply({"params": params}, copy).output)
            back.append(np.roll(output[:, :, ::mirrored], -6 * third, axis=1))
    assert np.std(back, axis=0).mean() > 1e-3 * np.mean(back) > 0
    np.testing.assert_allclose(shown["reconstruction"], np.mean(back, axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found, np.mean((np.mean(back, 0) - x[..., None]) ** 2, (1, 2, 3)), rtol=1e-4
    )
    alone = np.mean((back - x[..., None]) ** 2, (0, 2, 3, 4))
    assert (found < alone).all()
    for number in (1, 12, 25):
        copy = np.asarray(turned(x, number))
        np.testing.assert_allclose(score(fitted, copy)["mse"][0], found, rtol=1e-5)
    config.method.symmetric = False
    own = np.asarray(jax.jit(autoencoder.scores(config, layout))(fitted, x)["mse"])[0]
    np.testing.assert_allclose(own, np.mean((back[0] - x[..., None]) ** 2, (1, 2, 3)), rtol=1e-4)


def test_images_whose_rows_three_does_not_divide_are_not_symmetric():
    config, x = cicada_teacher.get_config("smoke"), np.ones((8, 16, 14), np.float32)
    layout = Layout("image", (16, 14), periodic=True)
    dataset = Dataset({"x": x}, {"x": x}, {"x": x}, {}, layout)
    with pytest.raises(UserError, match=r"method.symmetric: .* that 3 divides, found 16"):
        autoencoder.fit(config, dataset, None)


@pytest.mark.cpu("elsewhere all images are scored at once")
def test_memory_of_scoring_does_not_grow_with_the_images():
    config = interpretable_ae.get_config("smoke")
    network, side = autoencoder.model(config), config.inputs.n_pixels
    image = jax.ShapeDtypeStruct((1, side, side, 1), jnp.float32)
    found = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    fitted = {"params": jax.tree.map(lambda a: jnp.ones((1, 1, *a.shape)), found), "inputs": {}}
    score = jax.jit(autoencoder.scores(config, LAYOUT))

    def memory(n: int) -> int:
        program = score.lower(fitted, jnp.ones((n, 30, 4))).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert memory(320) < 2 * memory(64)


def test_scores_ignore_order_and_padding_of_particles(jets):
    config = toptagging_ae.get_config("smoke")
    network = autoencoder.model(config)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]
    fitted = {"params": jax.tree.map(lambda a: a[None, None], params)}
    function = jax.jit(autoencoder.scores(config, LAYOUT))
    expected = function(fitted, jets)["mse"]
    shuffled = jets[:, np.random.default_rng(1).permutation(30)]
    np.testing.assert_allclose(function(fitted, shuffled)["mse"], expected, rtol=1e-3)
    longer = np.concatenate([jets, np.zeros((200, 10, 4), np.float32)], axis=1)
    np.testing.assert_allclose(function(fitted, longer)["mse"], expected, rtol=1e-3)


def test_pca_equals_scikit_learn(jets):
    config = toptagging_ae.get_config("smoke")
    rows = {"x": jets}
    fitted = pca.fit(config, Dataset(rows, rows, rows, {}, LAYOUT), None)
    result = pca.outputs(config, LAYOUT)(fitted, jets)
    flat = np.asarray(result["input"]).reshape(200, -1)
    reference = PCA(2, svd_solver="full").fit(flat)
    output = reference.inverse_transform(reference.transform(flat))
    expected = np.mean((output - flat) ** 2, axis=1)
    np.testing.assert_allclose(pca.scores(config, LAYOUT)(fitted, jets)["mse"], expected, rtol=1e-3)
    np.testing.assert_allclose(
        np.abs(result["latent"]), np.abs(reference.transform(flat)), atol=1e-4
    )


def test_features_run_is_standardised_resists_constants_and_reconstructs_background(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3000, 2))
    x = np.concatenate([z, z @ rng.normal(size=(2, 4))], axis=1) * 10.0 ** np.arange(6) + 7
    x[:300, 3] += 3e3  # breaks what ties column 3 to the others
    label = (np.arange(3000) < 300).astype(int)
    np.savez(tmp_path / "own.npz", x=x.astype(np.float32), label=label)
    config = features_ae.get_config()
    config.data.update(
        source=str(tmp_path / "own.npz"), label_key="label", signals="broken=1", val_fraction=0.2
    )
    config.train.epochs = 15
    run.train(config, tmp_path / "run")
    metrics = evaluate.evaluate(tmp_path / "run", n_bootstrap=10)
    scores = metrics["signals"]["broken"]
    assert scores["scores"]["mse"]["auc"] > 0.95 and scores["baselines"]["pca"]["auc"] > 0.95
    assert (tmp_path / "run" / "eval" / "feature_errors.png").exists()
    scorer = load(tmp_path / "run")
    kept = data.load(config.data).train["x"]
    result = scorer.outputs(kept)
    np.testing.assert_allclose(result["input"], (kept - kept.mean(0)) / kept.std(0), atol=1e-3)
    expected = np.mean((result["reconstruction"] - result["input"]) ** 2, axis=1)
    np.testing.assert_allclose(scorer(kept), expected, rtol=1e-4)
    config.model.name = "conv"
    with pytest.raises(
        UserError, match="dense is for vectors, conv, pooled and counts are for images"
    ):
        autoencoder.stage_of(config, scorer.layout)
    kept[:, 4] = 3
    with pytest.raises(UserError, match=r"column 4 \(x\[4\]\) is constant"):
        features.fit(kept, tuple(name for name, _ in scorer.layout.columns))


@pytest.mark.parametrize(("sides", "channels"), [((17, 9), 1), ((16, 16), 3)])
def test_images_of_any_size_and_number_of_channels(sides, channels):
    config = toptagging_ae.get_config("smoke")
    config.inputs = inputs.get_config("image", pixels="energies", max_energy=10.0)
    layout = Layout("image", (*sides, channels))
    x = np.random.default_rng(0).uniform(0, 20, (5, *layout.shape)).astype(np.float32)
    stage = autoencoder.stage_of(config, layout)
    images = stage.values(x)
    clipped = np.minimum(x, 10)
    np.testing.assert_allclose(images, clipped / clipped.sum((1, 2, 3), keepdims=True), rtol=1e-5)
    network = autoencoder.model(config)
    params = jax.jit(network.init)(jax.random.key(0), images)["params"]
    fitted = {"params": jax.tree.map(lambda a: a[None, None], params)}
    found = jax.jit(autoencoder.outputs(config, layout))(fitted, x)
    assert found["reconstruction"].shape == x.shape
    np.testing.assert_allclose(found["reconstruction"].sum((1, 2, 3)), 1, rtol=1e-5)
    config.model.name = "pooled"
    if sides == (17, 9):
        with pytest.raises(UserError, match=r"images of even sides, found \(17, 9\)"):
            autoencoder.stage_of(config, layout)
