"""The student of CICADA: gradients, folded normalisation, and the same values in integers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_scorers import region_params, regions

from jaxad import fixed
from jaxad.models import cicada
from jaxad.models.autoencoder import CountsAutoencoder
from jaxad.models.cicada import BIAS, DENSE, HIDDEN, INPUT, KERNEL, SCORE, Statistics
from jaxad.models.rounding import set_bits

SHAPE = (18, 14)


def images(n=300, seed=0):
    return regions(n, seed)[..., None]


@pytest.fixture(scope="module")
def trained():
    return region_params()


def test_the_teacher_has_its_published_parameters():
    shapes = jax.eval_shape(
        lambda: CountsAutoencoder().init(jax.random.key(0), jnp.zeros((1, *SHAPE, 1)))["params"]
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 323_731
    assert shapes["Dense_1"]["kernel"].shape == (80, 9 * 7 * 30)


def test_the_student_has_its_published_types():
    stored = cicada.integers(cicada.initial(jax.random.key(0), 252, 90.0), ones())
    first, second, last = cicada.network(stored)
    types = [first.kernel_type, second.kernel_type, second.bias_type, last.kernel_type]
    assert [t[:2] for t in types] == [(12, 4), (8, 2), (8, 4), (12, 4)]
    assert str(first.output_type) == str(second.output_type) == "ufixed<10,6,RND_CONV,SAT>"
    assert str(last.output_type) == "ufixed<16,8,RND_CONV,SAT>"
    assert [np.shape(layer.kernel) for layer in (first, second, last)] == [
        *((2, 2, 1, 4), (252, 16)),
        (16, 1),
    ]
    assert not np.any(first.bias) and not np.any(last.bias)
    assert max(bound.bits for bound in fixed.bounds([first, second, last], INPUT)) <= 32


def ones():
    return Statistics(jnp.zeros(16), jnp.ones(16))


def test_no_filter_starts_dead_and_each_has_a_region_of_its_own():
    x = images(200, seed=1)
    for seed in range(3):
        params = cicada.initial(jax.random.key(seed), 252, 90.0)
        y = np.asarray(jax.jit(cicada.hidden)(params, x)).reshape(200, 9, 7, 4)
        assert (y > 0).mean((0, 1, 2)).min() > 0.2
    alone = np.zeros((4, *SHAPE, 1))
    alone[np.arange(4), [0, 0, 1, 1], [0, 1, 0, 1]] = 40
    y = np.asarray(cicada.hidden(params, alone)).reshape(4, 63, 4)
    np.testing.assert_array_equal(y[:, 0], 10 * np.eye(4))
    assert not y[:, 1:].any()


def test_values_in_training_are_those_of_integers(trained):
    """Layer by layer and the score, of ordinary images and of full ones."""
    params, norm = trained
    stored, x = cicada.integers(params, norm), images(seed=2)
    layers = cicada.network(stored)
    y = jax.jit(cicada.hidden)(params, x)
    counts, t = fixed.run(layers[:1], x.astype(int), INPUT)
    np.testing.assert_array_equal(fixed.to_float(counts, t).reshape(len(x), -1), y)
    scores = jax.jit(cicada.output)(params, norm, y)
    counts, t = fixed.run(layers, x.astype(int), INPUT)
    assert t == SCORE
    np.testing.assert_array_equal(fixed.to_float(counts, t)[:, 0], scores)
    assert len(np.unique(scores)) > 250 and 20 < np.median(scores) < 250
    for name, t in (("conv", KERNEL), ("dense", DENSE), ("bias", BIAS), ("out", KERNEL)):
        assert np.any(stored[name]) and np.abs(stored[name]).max() <= t.highest


def test_gradients_of_the_convolution_are_those_of_the_dense_layer(trained):
    """A convolution is a dense layer of repeated weights; rounding lets gradients through alike."""
    params, x = trained[0], images(40, seed=3)
    upstream = np.random.default_rng(0).normal(size=(40, 252)).astype(np.float32)

    def by_conv(kernel):
        return jnp.sum(cicada.hidden({"conv": kernel}, x) * upstream)

    def by_dense(kernel):
        small = cicada.on_grid(kernel, KERNEL)
        matrix = jnp.zeros((*SHAPE, 9, 7, 4))
        for i, j in np.ndindex(9, 7):
            matrix = matrix.at[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, i, j].set(small[:, :, 0])
        y = x.reshape(40, 252) @ matrix.reshape(252, 252)
        return jnp.sum(cicada.on_grid(jax.nn.relu(y), HIDDEN) * upstream)

    kernel = params["conv"].at[0, 0, 0, 0].set(8.5)  # beyond its type: no gradient
    (one, first), (other, second) = (
        jax.jit(jax.value_and_grad(f))(kernel) for f in (by_conv, by_dense)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-2)
    assert first[0, 0, 0, 0] == 0 and np.all(first.ravel()[1:] != 0)


def test_gradients_are_those_without_rounding_where_nothing_saturates():
    """For small images: ReLU and range as they are, the rounding passed by."""
    params = cicada.initial(jax.random.key(4), 252, 100.0)
    x = np.minimum(images(64, seed=5), 20)
    smooth = {"quantised": lambda x, f, low, high, rounding: jnp.clip(x, low, high)}

    def loss(params):
        y = cicada.hidden(params, x)
        return cicada.output(params, cicada.statistics(params, y, np.ones(64)), y).sum()

    found = jax.jit(jax.grad(loss))(params)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cicada, "quantised", smooth["quantised"])
        expected = jax.jit(jax.grad(lambda p: loss(p)))(params)
    for name, gradient in found.items():
        cosine = jnp.vdot(gradient, expected[name])
        cosine /= jnp.linalg.norm(gradient) * jnp.linalg.norm(expected[name])
        assert cosine > 0.97, (name, cosine)


def test_the_folded_normalisation_is_the_one_after_the_layer(trained, monkeypatch):
    """Without rounding; statistics leave out what has no weight, as padding has none."""
    params, _ = trained
    monkeypatch.setattr(cicada, "on_grid", lambda x, t, rounded: x)
    y = cicada.hidden(params, images(50, seed=6))
    weight = np.r_[np.ones(40), np.zeros(10)]
    norm = cicada.statistics(params, y, weight)
    found = cicada.output(params, norm, y)
    layer = nn.BatchNorm(use_running_average=False, epsilon=cicada.NORM_EPS)
    scales = {"params": {"scale": params["scale"], "bias": params["shift"]}}
    running = {"batch_stats": {"mean": jnp.zeros(16), "var": jnp.ones(16)}}
    z, _ = layer.apply(
        scales | running, y @ params["dense"], mask=weight[:, None] > 0, mutable=["batch_stats"]
    )
    expected = jax.nn.relu(jax.nn.relu(z) @ params["out"])[:, 0]
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_running_statistics_start_as_a_mean():
    norm = ones()
    parts = [Statistics(jnp.full(16, m), jnp.full(16, v)) for m, v in ((3.0, 2.0), (5.0, 4.0))]
    for step, part in enumerate(parts):
        norm = cicada.updated(norm, part, jnp.array(float(step)))
    np.testing.assert_allclose(norm.mean, 4.0)
    np.testing.assert_allclose(norm.var, 3.0)
    later = cicada.updated(norm, parts[0], jnp.array(1e4))
    np.testing.assert_allclose(later.mean, 3.99)


def test_ebops_by_hand():
    stored = {
        "conv": np.array([3, 0, -4, 5]).repeat(4).reshape(2, 2, 1, 4),
        "dense": np.zeros((4 * 6, 16), int),
        "bias": np.full(16, 6),
        "out": np.full((16, 1), 1),
    }
    stored["dense"][:2, 0] = 7, -12
    assert set_bits(stored["conv"]).sum() == 4 * (2 + 0 + 1 + 3)
    assert cicada.ebops(stored) == 6 * 10 * 24 + 10 * (3 + 2) + 10 * 16 + 16 * 2
