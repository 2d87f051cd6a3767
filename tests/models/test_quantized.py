"""Quantised layers: grids, gradients, folded norms, and what they cost by hand."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxad.errors import UserError
from jaxad.fixed import FixedType
from jaxad.fixed.convert import from_float
from jaxad.models import cicada, quantized, rounding
from jaxad.models.affine import Affine
from jaxad.models.integers import ebops, integers, rectified
from jaxad.models.quantized import QuantizedNetwork, Widths, calibrated

LEARNED = Widths(6, 5, 9, True, "weight")


def layers_of(seed=0, sizes=(5, 4, 3)):
    rng = np.random.default_rng(seed)
    shapes = itertools.pairwise(sizes)
    *hidden, last = (
        Affine(rng.normal(0, 0.7, s).astype("f4"), rng.normal(0, 0.3, s[1]).astype("f4"))
        for s in shapes
    )
    return [*hidden, last._replace(relu=False)]


def inputs_of(n=200, d=5, seed=1):
    return (np.round(np.random.default_rng(seed).normal(0, 2, (n, d)) * 4) / 4).astype(np.float32)


@pytest.mark.parametrize("mode", rounding.MODES)
def test_rounding_equals_that_of_integers(mode):
    x = np.random.default_rng(0).normal(0, 4, 4000).astype(np.float32)
    quantised = jax.jit(rounding.quantised, static_argnames="rounding")
    x[:100] = (np.arange(-50, 50) + 0.5) / 8  # halves between two values
    for fraction in (3, 0, -1):
        t = FixedType(6, 6 - fraction, False, mode, "SAT")
        high = t.highest * 2.0**-fraction
        values = quantised(x, jnp.array(float(fraction)), 0.0, high, rounding=mode)
        np.testing.assert_array_equal(np.ldexp(values, fraction), from_float(x, t))
    t = FixedType(5, 2, True, "RND", "SAT_SYM")
    values = rounding.symmetric(x, jnp.array(3.0), 5)
    np.testing.assert_array_equal(np.ldexp(values, 3), from_float(x, t))


def test_powers_of_two_are_exact():
    f = jnp.arange(-20.0, 24.0)
    np.testing.assert_array_equal(
        rounding.power_of_two(f), np.ldexp(np.float32(1), np.arange(-20, 24))
    )


def test_gradients_are_those_of_the_smooth_part():
    """The rounding adds c at f: with that held, y(f) = (x 2^f + c) 2^-f is smooth."""
    x = np.random.default_rng(0).normal(0, 2, 50)
    f, low, high = jnp.array(2.0), -2.0, 1.75

    def value(x, f):
        return rounding.quantised(x, f, low, high)

    inside = (x > low) & (x < high)
    by_x = jax.vmap(jax.grad(value), (0, None))(jnp.asarray(x, jnp.float32), f)
    np.testing.assert_array_equal(by_x, inside)
    by_f = jax.vmap(jax.grad(value, 1), (0, None))(jnp.asarray(x, jnp.float32), f)
    f, scaled = 2.0, np.clip(x, low, high) * 4
    c, h = np.floor(scaled + 0.5) - scaled, 1e-5

    def smooth(f):
        return (np.clip(x, low, high) * 2**f + c) * 2**-f

    np.testing.assert_allclose(by_f, (smooth(f + h) - smooth(f - h)) / (2 * h), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(by_f)[~inside], 0)
    assert np.abs(np.asarray(by_f)[inside]).min() > 0


def test_cost_of_two_by_two_weights_by_hand():
    """Weights 3, 0, -4, 5 and biases 1, 6 in quarters, on inputs of 7 bits without the sign."""
    kernel, bias = np.array([[3, 0], [-4, 5]]), np.array([1, 6])
    layer = {"kernel": kernel, "bias": bias}
    linear = {"result_type": np.array([9, 5])}
    assert ebops({"0": layer | linear}, 7) == 7 * (2 + 0 + 1 + 3) + (1 + 2)
    second = {"kernel": np.array([[1], [-6]]), "bias": np.array([0]), **linear}
    first = layer | {"relu_type": np.array([4, 1])}
    assert ebops({"0": first, "1": second}, 7) == 45 + 4 * (1 + 2)
    tree = {"kernel": kernel / 4, "bias": bias / 4}
    for granularity, bits in (("weight", 2 + 3 + 3), ("channel", 2 * 3 + 2 * 3), ("layer", 4 * 3)):
        shapes = {n: rounding.fractions_shape(a.shape, granularity) for n, a in tree.items()}
        fractions = {f"{n}_bits": np.full(s, 2 / quantized.RATE) for n, s in shapes.items()}
        network = QuantizedNetwork((2,), LEARNED._replace(granularity=granularity), 7)
        variables = {"params": {"0": tree | fractions}, "types": {"0": {"integer": 5.0}}}
        found = jax.jit(network.apply)(jax.tree.map(np.float32, variables), np.ones((1, 2)))
        biases = 1 + 3 if granularity != "layer" else 2 * 3
        assert found.ebops == 7 * bits + biases
        shared = {"weight": 2 + 3 + 3 + 1 + 3, "channel": 3 + 3 + 1 + 3, "layer": 3 + 3}
        assert found.bits == shared[granularity] + LEARNED.code - 1


def test_bits_have_gradient_one_where_there_are_any():
    values, f = jnp.array([[0.75, 0.0], [-1.0, 0.25]]), jnp.full((2, 2), 2.0)
    bits = lambda f: jnp.sum(rounding.magnitude_bits(values, f))  # noqa: E731
    assert bits(f) == 2 + 0 + 3 + 1
    np.testing.assert_array_equal(jax.grad(bits)(f), [[1, 0], [1, 1]])
    np.testing.assert_array_equal(jax.grad(bits)(jnp.full((1, 2), 2.0)), [[1, 1]])


@pytest.mark.parametrize(
    "widths", [LEARNED, Widths(5, 4, 8), Widths(4, 4, 8, granularity="channel")]
)
def test_cost_of_stored_integers_is_a_count_of_their_digits(widths):
    params, types = calibrated(layers_of(), inputs_of(), 2, widths)
    layers = integers(params, types, widths)
    total, bits = 0, 7
    for layer in layers.values():
        span = lambda m: len(bin(abs(m))[2:].strip("0"))  # noqa: E731
        total += sum(bits * span(int(m)) for m in layer["kernel"].ravel())
        total += sum(span(int(m)) for m in layer["bias"])
        bits = int(layer["relu_type"][0]) if "relu_type" in layer else None
    assert ebops(layers, 7) == total > 0


@pytest.mark.parametrize("granularity", quantized.GRANULARITIES)
def test_fixed_widths_hold_and_calibration_leaves_a_bit(granularity):
    widths, x = Widths(5, 4, 8, granularity=granularity), inputs_of()
    layers = layers_of()
    params, types = calibrated(layers, x, 2, widths)
    for layer in integers(params, types, widths).values():
        assert np.abs(layer["kernel"]).max() < 2**12
    hidden = np.maximum(x @ layers[0].kernel + layers[0].bias, 0)
    top = 2.0 ** float(types["0"]["integer"])
    assert top / 4 <= hidden.max() < top / 2
    kernel, f = quantized.weights(params["0"], types["0"], widths)["kernel"]
    counts = np.abs(np.asarray(kernel) * 2 ** np.asarray(f))
    assert f.shape == rounding.fractions_shape(kernel.shape, granularity)
    assert 8 <= counts.max() <= 15
    assert np.abs(kernel - layers[0].kernel).max() <= 0.5 / 2 ** f.min()


def test_learnt_widths_start_as_the_fixed_ones_and_have_gradients():
    x, layers = inputs_of(), layers_of()
    fixed = Widths(6, 5, 9)
    outputs, gradients = [], None
    for widths in (fixed, LEARNED):
        params, types = calibrated(layers, x, 2, widths)
        network = QuantizedNetwork((4, 3), widths, 7)

        def cost(params, types=types, network=network):
            found = network.apply({"params": params, "types": types}, x)
            return jnp.mean(found.codes**2) + 1e-3 * found.ebops, found

        gradients, found = jax.jit(jax.grad(cost, has_aux=True))(params)
        outputs.append(found.codes)
    np.testing.assert_array_equal(*outputs)
    for name in ("kernel_bits", "bias_bits", "activation_bits"):
        assert np.any(gradients["0"][name] != 0)


def test_a_norm_folds_into_the_layer_before_it():
    rng = np.random.default_rng(0)
    (kernel, bias, *_), x = layers_of()[0], inputs_of()
    norm = {name: rng.uniform(0.5, 2, 4).astype("f4") for name in ("scale", "bias", "mean", "var")}
    layer = nn.BatchNorm(use_running_average=True, epsilon=1e-3)
    variables = {
        "params": {name: norm[name] for name in ("scale", "bias")},
        "batch_stats": {name: norm[name] for name in ("mean", "var")},
    }
    expected = layer.apply(variables, x @ kernel + bias)
    kernel, bias = cicada.folded(kernel, bias, norm, 1e-3)
    np.testing.assert_allclose(x @ kernel + bias, expected, rtol=1e-4, atol=1e-4)


def test_initial_parameters_are_those_of_the_shapes():
    network = QuantizedNetwork((4, 3), LEARNED, 7)
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 5)))
    start = calibrated(layers_of(), inputs_of(), 2, LEARNED)
    for mine, theirs in zip((variables["params"], variables["types"]), start, strict=True):
        assert jax.tree.map(jnp.shape, mine) == jax.tree.map(jnp.shape, theirs)


def test_layers_have_bits_of_their_own():
    """Each layer's constants are those of a network that has its bits in all layers."""
    x, layers = inputs_of(), layers_of()
    own = Widths((6, 3), (7, 0), 9)
    found = integers(*calibrated(layers, x, 2, own), own)
    for number, bits in (("0", 6), ("1", 3)):
        same = Widths(bits, 7, 9)
        expected = integers(*calibrated(layers, x, 2, same), same)[number]
        jax.tree.map(np.testing.assert_array_equal, found[number], expected)
    network = QuantizedNetwork((4, 3), own, 7)
    params, types = calibrated(layers, x, 2, own)
    codes = network.apply({"params": params, "types": types}, x).codes
    grid = 2.0 ** -(9 - types["1"]["integer"])
    np.testing.assert_array_equal(codes % grid, 0)


def test_stored_layers_of_which_none_has_a_relu_are_refused():
    layer = {"result_type": np.array([8, 4])}
    assert rectified({"0": layer}) == [False]
    assert rectified({"0": {"relu_type": layer["result_type"]}, "1": layer}) == [True, False]
    with pytest.raises(UserError, match="found none: the run is of an earlier version"):
        rectified({"0": layer, "1": layer})
