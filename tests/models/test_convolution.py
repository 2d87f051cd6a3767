"""The CPU forms of the convolutions equal XLA's native ones, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxad.models.convolution import _blocks, conv, conv_transpose, native_convolutions


def _compare(function, x, kernel):
    def value(native):
        def loss(x, kernel):
            y = function(x, kernel, native=native)
            return jnp.sum(jnp.sin(y)), y

        grads, y = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(x, kernel)
        return y, *grads

    for ours, reference in zip(value(False), value(True), strict=True):
        assert ours.shape == reference.shape
        np.testing.assert_allclose(ours, reference, atol=2e-5 * float(jnp.abs(reference).max()))


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding", "groups"),
    [
        ((8, 8), 3, 1, "SAME", 1),
        ((8, 8), 3, 2, "SAME", 1),
        ((9, 5), 3, 2, "SAME", 2),
        ((7, 10), 5, 2, "SAME", 1),
        ((9, 8), 3, 3, "VALID", 1),
        ((7, 10), 1, 2, "SAME", 1),
        ((8, 8), 1, 1, "SAME", 2),
        ((9, 5), 2, 1, "VALID", 1),
    ],
)
def test_conv_equals_native(size, stride, kernel_size, padding, groups):
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (3, *size, 4))
    kernel = jax.random.normal(keys[1], (kernel_size, kernel_size, 4 // groups, 6))

    def function(x, kernel, native):
        return conv(x, kernel, stride=stride, padding=padding, groups=groups, native=native)

    _compare(function, x, kernel)


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride"),
    [
        ((4, 4), 3, 2),
        ((5, 3), 2, 2),
        ((5, 3), 1, 2),
        ((4, 4), 5, 2),
        ((5, 3), 3, 1),
        ((4, 4), 5, 3),
    ],
)
def test_conv_transpose_equals_native(size, stride, kernel_size):
    keys = jax.random.split(jax.random.key(1))
    x = jax.random.normal(keys[0], (2, *size, 4))
    kernel = jax.random.normal(keys[1], (kernel_size, kernel_size, 3, 4))

    def function(x, kernel, native):
        return conv_transpose(x, kernel, stride=stride, native=native)

    _compare(function, x, kernel)


@pytest.mark.parametrize(
    ("size", "kernel_size", "features", "taken"),
    [((4, 3), 3, 8, True), ((4, 3), 5, 8, True), ((3, 4), 2, 8, True), ((4, 3), 3, 2, False)],
)
def test_strided_layers_of_a_gpu_are_one_product_of_blocks(
    size, kernel_size, features, taken, monkeypatch
):
    """Where that moves fewer bytes than taps, of middling batches; with their gradients."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    keys = jax.random.split(jax.random.key(3), 3)
    kernel = jax.random.normal(keys[0], (kernel_size, kernel_size, features, 8))
    n = 2**12 // 12 + 1
    assert (_blocks(kernel, 2, (n, *size)) is not None) is taken
    assert _blocks(kernel, 2, (32, *size)) is _blocks(kernel, 2, (2**16, *size)) is None
    small = jax.random.normal(keys[1], (n, *size, 8))
    large = jax.random.normal(keys[2], (n, 2 * size[0], 2 * size[1], features))

    def native_or_not(native):
        return True if native else None

    _compare(lambda x, k, native: conv_transpose(x, k, native=native_or_not(native)), small, kernel)
    _compare(lambda x, k, native: conv(x, k, stride=2, native=native_or_not(native)), large, kernel)


@pytest.mark.parametrize("kernel_size", [2, 3])
def test_conv_transpose_is_the_adjoint_of_conv(kernel_size):
    keys = jax.random.split(jax.random.key(2), 3)
    small, large = (
        jax.random.normal(keys[0], (2, 4, 4, 5)),
        jax.random.normal(keys[1], (2, 8, 8, 3)),
    )
    kernel = jax.random.normal(keys[2], (kernel_size, kernel_size, 3, 5))
    left = jnp.vdot(conv(large, kernel, stride=2), small)
    right = jnp.vdot(large, conv_transpose(small, kernel, stride=2))
    np.testing.assert_allclose(left, right, rtol=1e-4)


@pytest.mark.parametrize(
    ("backend", "shape", "stride", "native"),
    [
        ("cpu", (2, 20, 17, 128), 1, False),
        ("tpu", (2, 8, 8, 1), 2, True),
        ("gpu", (2, 20, 17, 128), 1, True),
        ("gpu", (2, 20, 17, 128), 2, False),
        ("gpu", (2, 11, 10, 128), 1, False),
        ("gpu", (2, 74, 60, 10), 1, False),
    ],
)
def test_the_form_is_chosen_by_device_and_shape(backend, shape, stride, native, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    kernel = jnp.zeros((3, 3, shape[-1], 8))
    program = str(jax.make_jaxpr(lambda x: conv(x, kernel, stride=stride))(jnp.zeros(shape)))
    assert ("conv_general_dilated" in program) is native
    with native_convolutions():
        forced = str(jax.make_jaxpr(lambda x: conv(x, kernel, stride=stride))(jnp.zeros(shape)))
    assert "conv_general_dilated" in forced


def test_the_number_of_images_may_be_a_symbol():
    """In exports of one's own."""
    (n,) = export.symbolic_shape("n")
    kernel = jnp.zeros((3, 3, 4, 8))
    function = jax.jit(lambda x: conv_transpose(conv(x, kernel, stride=2), kernel))
    exported = export.export(function)(jax.ShapeDtypeStruct((n, 8, 8, 4), jnp.float32))
    assert exported.call(jnp.zeros((3, 8, 8, 4))).shape == (3, 8, 8, 4)
