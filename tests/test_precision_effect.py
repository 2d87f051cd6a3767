"""Products of rounded operands, and the command that shows what they do to AUC."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from benchmarks import precision, rounded

RNG = np.random.default_rng(0)


def nearest(x: np.ndarray, bits: int) -> np.ndarray:
    """float32 to the nearest of a mantissa of so many bits, ties to even, by integers."""
    drop = 23 - bits
    raw = np.asarray(x, np.float32).view(np.uint32)
    raw = raw + np.uint32((1 << (drop - 1)) - 1) + ((raw >> np.uint32(drop)) & np.uint32(1))
    return (raw & ~np.uint32((1 << drop) - 1)).view(np.float32)


@pytest.fixture
def as_trained():
    """Products as the device takes them by itself, as in training steps."""
    with jax.default_matmul_precision("default"):
        yield


def random(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


TF32, BFLOAT16 = rounded.MANTISSA_BITS.values()


@pytest.mark.long
@pytest.mark.parametrize("bits", [TF32, BFLOAT16])
def test_products_are_those_of_rounded_operands(bits, as_trained):
    a, b = random(7, 30), random(30, 5)
    exactly = nearest(a, bits).astype(float) @ nearest(b, bits)
    image, kernel = random(2, 6, 6, 3), random(3, 3, 3, 4)

    def conv(x, k):
        return lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    convolved = jax.jit(conv)(nearest(image, bits), nearest(kernel, bits))
    with rounded.products(bits):
        product = jax.jit(jnp.matmul)(a, b)
        with jax.default_matmul_precision("highest"):
            highest = jax.jit(jnp.matmul)(a, b)
        np.testing.assert_array_equal(jax.jit(conv)(image, kernel), convolved)
        half = jnp.asarray(a, jnp.bfloat16) @ jnp.asarray(b, jnp.bfloat16)
    np.testing.assert_allclose(product, exactly, rtol=1e-5, atol=1e-5)
    assert np.abs(product - a.astype(float) @ b).max() > 10 * np.abs(product - exactly).max()
    np.testing.assert_array_equal(highest, jax.jit(jnp.matmul)(a, b))
    np.testing.assert_array_equal(half, jnp.asarray(a, jnp.bfloat16) @ jnp.asarray(b, jnp.bfloat16))


@pytest.mark.parametrize("bits", [pytest.param(TF32, marks=pytest.mark.long), BFLOAT16])
def test_gradients_round_cotangents_as_well(bits, as_trained):
    x, y, first, second = random(20, 6), random(20, 3), random(6, 8), random(8, 3)

    def loss(params):
        hidden = jnp.tanh(x @ params[0])
        return jnp.sum((hidden @ params[1] - y) ** 2)

    def step(carry, _):  # products in loops, conditions and vectorised functions are met too
        return jax.tree.map(lambda p, g: p - 1e-3 * g, carry, jax.grad(loss)(carry)), None

    def r(z):
        return nearest(z, bits).astype(float)

    hidden = np.tanh(r(x) @ r(first))
    error = 2 * (r(hidden) @ r(second) - y)
    before = (r(error) @ r(second).T) * (1 - hidden**2)
    expected = r(x).T @ r(before), r(hidden).T @ r(error)
    with rounded.products(bits):
        gradients = jax.jit(jax.grad(loss))((first, second))
        stepped, _ = jax.jit(lambda p: lax.scan(step, p, None, 1))((first, second))
        members = jax.jit(jax.vmap(jax.grad(loss)))((first[None], second[None]))
    rough = jax.grad(loss)((first, second))
    for found, moved, member, wanted, start, plain in zip(
        gradients, stepped, members, expected, (first, second), rough, strict=True
    ):
        scale = np.abs(wanted).max()
        # A hidden value beside the middle of two may be rounded to the other one.
        np.testing.assert_allclose(found / scale, wanted / scale, atol=2.0**-bits / 50)
        np.testing.assert_allclose(member[0], found, rtol=1e-5, atol=1e-6 * scale)
        np.testing.assert_allclose((start - moved) / 1e-3, found, atol=1e-3 * scale)
        assert np.abs(plain - wanted).max() > 3 * np.abs(found - wanted).max()


@pytest.mark.long
def test_the_command_prints_a_row_a_network(capsys):
    precision.main(["--tiny", "--seeds", "1", "--configs", "rbm"])
    about, _, header, _, row = capsys.readouterr().out.splitlines()
    assert "emulated: TF32, bfloat16" in about or jax.default_backend() != "cpu"
    assert header.count("|") == row.count("|") == 7
    name, area, *changes = (cell.strip() for cell in row.strip("|").split("|"))
    assert name == "ADC2021, RBM"
    assert 0 <= float(area) <= 1
    assert all(abs(float(change)) < 0.5 for change in changes)
