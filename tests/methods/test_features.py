"""Self-supervised features and the autoencoder of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxad.commands.train import bench, build_scorer
from jaxad.configs import adc2021_features, features_ae
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.methods import feature_autoencoder as method
from jaxad.models.features import Encoder, covariance
from jaxad.training import fit

RNG = np.random.default_rng(0)


def test_the_networks_have_the_deployed_sizes():
    config = adc2021_features.get_config()
    x = jnp.zeros((1, 57))
    encoder, autoencoder = method.encoder(config), method.autoencoder(config)
    encoded, params = jax.eval_shape(encoder.init_with_output, jax.random.key(0), x)
    inner = jax.eval_shape(autoencoder.init, jax.random.key(0), encoded)
    kernels = [leaf for leaf in jax.tree.leaves((params, inner)) if leaf.ndim == 2]
    assert sum(kernel.size for kernel in kernels) == 2279  # AXOL1TL v5


def test_the_covariance_is_that_of_the_weighted_rows():
    z, weight = RNG.normal(size=(40, 3)), np.repeat([1.0, 0.0], [30, 10])
    found = covariance(jnp.asarray(z), jnp.asarray(weight))
    np.testing.assert_allclose(found, np.cov(z[:30].T, bias=True), rtol=1e-4, atol=1e-5)


def test_vicreg_vanishes_for_equal_views_that_vary_and_are_uncorrelated():
    z = RNG.normal(size=(4000, 4))
    z = np.linalg.qr(z - z.mean(axis=0))[0] * 2 * np.sqrt(4000)
    weight = np.ones(len(z))
    vicreg = jax.jit(method.vicreg)
    terms = vicreg(z, z, weight)
    assert max(float(value) for value in terms.values()) < 1e-3
    collapsed = vicreg(0 * z, 0 * z, weight)
    assert float(collapsed["variance"]) == pytest.approx(0.99)
    doubled = np.concatenate([z[:, :2], z[:, :2]], axis=1)
    correlated = vicreg(doubled, doubled, weight)
    assert float(correlated["covariance"]) == pytest.approx(2 * 4 * 16 / 4, rel=1e-3)
    apart = vicreg(z, z + 0.5, weight)
    assert float(apart["invariance"]) == pytest.approx(0.25, rel=1e-4)


def test_a_view_replaces_whole_objects_by_those_of_other_events():
    owner = method.objects((("a.pt", ""), ("a.eta", ""), ("b.pt", "")), 3)
    x = jnp.arange(600.0)[:, None] + jnp.array([0.0, 1000.0, 2000.0])
    found = np.asarray(method.view(jax.random.key(1), x, owner, 0.3, 0.0)) - [0, 1000, 2000]
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    replaced = found != np.arange(600)[:, None]
    assert 0.2 < replaced[:, 0].mean() < 0.4 and 0.2 < replaced[:, 2].mean() < 0.4
    assert (replaced[:, 0] != replaced[:, 2]).any()
    np.testing.assert_array_equal(method.view(jax.random.key(1), x, owner, 0.0, 0.0), x)


def test_scaled_features_have_unit_spread_and_are_those_of_the_new_layer():
    network = Encoder((5, 4))
    x = RNG.normal(size=(500, 4)).astype(np.float32)
    params = jax.tree.map(jnp.abs, jax.jit(network.init)(jax.random.key(0), x))
    last = params["params"]["Dense_1"]
    last["kernel"] *= jnp.array([1.0, 1.0, 1e-3, 0.0])
    last["kernel"] = last["kernel"].at[:, 1].multiply(1 / 5)
    scaled, features = method.scaled(params, x, network)
    np.testing.assert_allclose(features.std(axis=0)[:2], 1, rtol=1e-4)
    # What hardly varies is not blown up.
    assert 0 < features[:, 2].std() < 0.1 and features[:, 3].std() == 0
    np.testing.assert_allclose(network.apply(scaled, x), features, rtol=1e-5, atol=1e-6)


def test_events_unlike_the_background_score_higher_for_every_member():
    config = features_ae.get_config("smoke")
    own = adc2021_features.get_config("smoke")
    config.method, config.model = own.method, own.model
    config.feature_train, config.train = own.feature_train, own.train
    config.update_from_flattened_dict(
        {
            "train.ensemble": 2,
            **{f"{section}.epochs": 30 for section in ("train", "feature_train")},
            **{f"{section}.learning_rate": 5e-3 for section in ("train", "feature_train")},
        }
    )
    mixing = RNG.normal(size=(3, 8))
    x = [np.float32(RNG.normal(size=(n, 3)) @ mixing) for n in (1500, 300, 300)]
    layout = Layout("features", (8,), columns=tuple((f"x{i}", "") for i in range(8)))
    dataset = Dataset(*({"x": part} for part in x), {}, layout)
    fitted = method.fit(config, dataset, bench(fit))
    scorer = build_scorer(config, "feature_autoencoder", fitted, dataset)
    unlike = np.float32(2 * RNG.normal(size=(300, 8)) * x[2].std(axis=0))
    background, signal = (scorer.member_scores(part)["distance"] for part in (x[2], unlike))
    assert background.shape == (2, 300)
    assert (np.median(signal, axis=1) > np.quantile(background, 0.8, axis=1)).all()
