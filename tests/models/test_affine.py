"""Networks as layers of weights: what they compute, what they share, and what has no such form."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxad import fixed
from jaxad.errors import UserError
from jaxad.models import affine, quantized
from jaxad.models.integers import ebops, integers
from jaxad.models.quantized import QuantizedNetwork, Widths, calibrated
from jaxad.models.reading import layers_of, rectified
from jaxad.models.trigger import MODELS


def network_of(name, part):
    """Pure function (variables, x (n, 57)) of a trigger autoencoder, and variables off any grid."""
    network = MODELS[name]
    noise = np.zeros((1, getattr(network, "n_latent", 1)), np.float32)

    def apply(variables, x):
        return getattr(network.apply(variables, x, noise, False, np.ones(len(x), bool)), part)

    arguments = jnp.zeros((1, 57)), noise, False, np.ones(1, bool)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), *arguments))
    rng = np.random.default_rng(0)

    def drawn(leaf):
        sign = rng.choice([-1, 1], leaf.shape) if len(leaf.shape) > 1 else 1
        return (rng.uniform(0.1, 0.5, leaf.shape) * sign).astype(np.float32)

    return apply, jax.tree.map(drawn, shapes)


@pytest.mark.parametrize(
    ("name", "part", "relus"),
    [
        ("exercise", "output", [1, 1]),
        ("challenge", "output", [1, 1, 1, 0]),
        ("encoder", "mean", [1, 1, 0]),
        ("encoder_norm", "output", [1, 1, 0, 1, 1, 0]),
        ("conv_vae", "mean", [1, 1, 0]),
        ("conv_ae", "output", [1, 1, 0, 1, 1, 1, 0]),
    ],
)
def test_layers_compute_what_the_network_does(name, part, relus):
    """A VAE's too, whose variance is not read where no noise is drawn."""
    network, variables = network_of(name, part)
    layers = layers_of(network, variables, 57)
    assert [layer.relu for layer in layers] == rectified(network, variables, 57) == relus
    x = np.random.default_rng(1).normal(0, 1, (9, 57)).astype(np.float32)
    expected, y = jax.jit(network)(variables, x), x
    for layer in layers:
        y = affine.output(layer, y)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_convolutions_have_the_weights_of_their_kernels():
    network, variables = network_of("conv_vae", "mean")
    first, second, last = layers_of(network, variables, 57)
    assert first.kernel.shape == (9, 16) and first.rows.shape == (57, 18 * 16)
    assert second.kernel.shape == (3 * 16, 32) and second.rows.shape == (18 * 16, 6 * 32)
    assert last.kernel.shape == (2 * 32, 8)  # the mean of three rows shares a weight
    assert [len(layer.bias) for layer in (first, second, last)] == [16, 32, 8]
    # The first row of an image is padding: two rows of three columns are left of it.
    assert np.sum(first.rows >= 0) == 16 * (17 * 9 + 6)
    assert rectified(*network_of("encoder", "mean"), 57) == [True, True, False]


def test_dense_weights_are_those_of_the_network():
    network, variables = network_of("encoder", "mean")
    for layer, name in zip(layers_of(network, variables, 57), ("Dense_0", "Dense_1"), strict=False):
        np.testing.assert_array_equal(layer.kernel, variables["params"][name]["kernel"])
        np.testing.assert_array_equal(layer.bias, variables["params"][name]["bias"])
        assert layer.rows is None


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda w, x: nn.leaky_relu(x @ w), "a leaky ReLU"),
        (lambda w, x: nn.softmax(x @ w), "a largest value, as of a softmax"),
        (lambda w, x: jnp.log1p(nn.relu(x @ w)), "a logarithm"),
        (lambda w, x: jnp.exp(x @ w), "an exponential"),
        (lambda w, x: jnp.tanh(x @ w), "a tanh"),
        (lambda w, x: nn.elu(x @ w), "an ELU"),
        (lambda w, x: (x @ w) * (x @ w), "a product of two results"),
        (lambda w, x: jnp.sin(x @ w), "sin"),
        (lambda w, x: nn.relu(x @ w) + x, "layers that do not follow each other"),
        (lambda w, x: nn.relu(x) @ w, "a ReLU without weights before it"),
        (lambda w, x: w, "a result that does not depend on its input"),
    ],
)
def test_what_is_neither_linear_nor_relu_is_refused_by_name(function, reason):
    with pytest.raises(UserError, match=f"^{reason}(\n|$)"):
        rectified(function, np.ones((4, 4), np.float32), 4)


@pytest.mark.parametrize(
    ("learned", "granularity"),
    [
        (False, "channel"),
        (True, "weight"),
        pytest.param(False, "layer", marks=pytest.mark.long),
        pytest.param(True, "channel", marks=pytest.mark.long),
    ],
)
def test_a_convolution_in_integers_is_that_of_the_fixed_point_layers(granularity, learned):
    """Every count as of `jaxad.fixed.conv`, and the cost of each weight at every position."""
    rng = np.random.default_rng(0)
    w = {"kernel": rng.normal(0, 0.5, (2, 2, 1, 3)), "bias": rng.normal(0, 0.3, 3)}
    w = jax.tree.map(np.float32, w | {"dense": rng.normal(0, 0.3, (18, 2))})

    def network(w, x):
        dimensions = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(
            x.reshape(-1, 4, 6, 1), w["kernel"], (2, 2), "VALID", dimension_numbers=dimensions
        )
        return nn.relu(y + w["bias"]).reshape(len(x), -1) @ w["dense"]

    layers, widths = layers_of(network, w, 24), Widths(5, 6, 9, learned, granularity)
    assert [layer.kernel.shape for layer in layers] == [(4, 3), (18, 2)]
    x = np.round(rng.normal(0, 2, (300, 24)) * 4).astype(np.float32) / 4
    params, types = calibrated(layers, x, 2, widths)
    found = integers(params, types, widths)
    quantised = QuantizedNetwork((3, 2), widths, 7)
    apply = jax.jit(lambda *a: quantised.apply({"params": a[0], "types": a[1]}, a[2]))
    out = apply(params, types, x)
    # The kernel as images have it, from the rows of the matrix.
    stored, grid = found["0"], fixed.FixedType(8, 6)
    own = {name: fixed.FixedType(*map(int, stored[f"{name}_type"])) for name in ("kernel", "bias")}
    taps = (0, 1, 6, 7)
    kernel = stored["kernel"][taps, :3].reshape(2, 2, 1, 3)
    exact = fixed.FixedType(40, 20)
    counts = np.asarray(fixed.from_float(x, grid)).reshape(-1, 4, 6, 1)
    y = fixed.conv(
        *(counts, kernel, stored["bias"][:3], grid, own["kernel"], own["bias"], exact, 2)
    )
    to = fixed.FixedType(*map(int, stored["relu_type"]), False, "RND_CONV", "SAT")
    y = fixed.relu(y, exact, to).reshape(len(x), -1)
    np.testing.assert_array_equal(np.ldexp(out.hidden[0], to.fraction), y)
    assert len(np.unique(y)) > 15
    by_hand = 6 * 7 * quantized_bits(kernel) + 6 * quantized_bits(stored["bias"][:3])
    second = found["1"]
    by_hand += to.width * quantized_bits(second["kernel"]) + quantized_bits(second["bias"])
    assert ebops(found, 7) == by_hand
    # In the loss: the bits of each kernel's weight, or of what shares them, at six positions.
    (kernel, f), _ = quantized.weights(params["0"], types["0"], widths).values()
    bits = quantized.magnitude_bits(kernel, f)
    first = 6 * 7 * jnp.sum(jnp.broadcast_to(bits, kernel.shape))
    cost = jax.jit(lambda *a: quantised.apply({"params": a[0], "types": a[1]}, a[2]).ebops)
    without = jax.tree.map(np.copy, params)
    without["0"]["kernel"][:] = 0
    assert out.ebops - cost(without, types, x) == first


def quantized_bits(counts):
    return sum(len(bin(abs(int(m)))[2:].strip("0")) for m in np.ravel(counts))


def _matrices(n, width=8):
    rng = np.random.default_rng(n)
    return {"a": rng.normal(size=(5, width)).astype("f4"), "b": rng.normal(size=width).astype("f4")}


@pytest.mark.parametrize(
    ("end", "named"),
    [
        (lambda y: jnp.sum(jax.nn.relu(y), -1), "after its last ReLU"),
        (lambda y: 2 * jax.nn.relu(y) + 1, "after its last ReLU"),
        (lambda y: jax.lax.scan(lambda c, _: (2 * c, None), y, None, 3)[0], "scan"),
    ],
)
def test_what_would_be_left_out_is_refused(end, named):
    with pytest.raises(UserError, match=named):
        rectified(lambda v, x: end(x @ v["a"] + v["b"]), _matrices(0), 5)


@pytest.mark.parametrize(
    "end",
    [
        lambda y: y[:, :3],
        lambda y: jnp.sum(y, -1),
        lambda y: jnp.pad(y, ((0, 0), (1, 2))),
    ],
)
def test_results_of_other_columns_are_layers_too(end):
    v = _matrices(1)
    (layer,) = layers_of(lambda v, x: end(x @ v["a"] + v["b"]), v, 5)
    x = np.random.default_rng(2).normal(size=(4, 5)).astype("f4")
    expected = np.asarray(end(jnp.asarray(x) @ v["a"] + v["b"])).reshape(4, -1)
    np.testing.assert_allclose(affine.output(layer, x), expected, atol=1e-4)


def test_weights_of_a_large_layer_are_its_own():
    v = {"a": np.random.default_rng(0).normal(size=(512, 512)).astype("f4")}
    (layer,) = layers_of(lambda v, x: x @ v["a"], v, 512)
    assert layer.rows is None
    np.testing.assert_array_equal(layer.kernel, v["a"])
