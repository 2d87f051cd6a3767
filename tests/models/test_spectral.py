"""Spectral norms, and the published network that has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_task import assert_equal

from jaxad.models import spectral
from jaxad.models.spherical import JetAutoencoder


def test_spectral_norms_are_one_and_can_be_folded():
    rng = np.random.default_rng(0)
    params = {
        "a": {"kernel": rng.normal(size=(3, 3, 2, 5)), "bias": rng.normal(size=5)},
        "b": {"kernel": rng.normal(size=(7, 4))},
    }
    params = jax.tree.map(jnp.float32, params)
    vectors = spectral.start(params, jax.random.key(0))
    update = jax.jit(lambda vectors: spectral.normalised(params, vectors, update=True))
    for _ in range(200):
        found, vectors = update(vectors)
    for layer in ("a", "b"):
        kernel = np.asarray(found[layer]["kernel"]).reshape(-1, found[layer]["kernel"].shape[-1])
        assert np.linalg.svd(kernel)[1][0] == pytest.approx(1, abs=1e-4)
    np.testing.assert_array_equal(found["a"]["bias"], params["a"]["bias"])
    again, same = spectral.normalised(params, vectors, update=False)
    assert_equal(same, vectors)
    assert_equal(again, found, rtol=1e-5)


def test_the_network_of_the_published_jets_has_its_size():
    network = JetAutoencoder()
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 40, 40, 1)))["params"]
    sizes = [leaf.size for leaf in jax.tree.leaves(shapes) if leaf.ndim]
    assert sum(sizes) == 84_429
    assert len(jax.tree.leaves(shapes)) - len(sizes) == 11  # slopes
