"""Convolutions that are fast where they run.

XLA's CPU backend falls back to naive loops for convolutions inside `lax.scan`, for the gradients of
grouped convolutions and for transposed convolutions. On CPU the layers here therefore evaluate the
same sums as patches times a matrix (stride 2 by space-to-depth, a transposed convolution by output
phases, groups one by one); on accelerators they call the native operation. Padding and
kernel layout follow TensorFlow/Keras, so published Keras weights load unchanged.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


_for_others = ContextVar("_for_others", default=False)


def on_cpu() -> bool:
    """Whether computations are traced for XLA on a CPU, where native convolutions are slow."""
    return jax.default_backend() == "cpu" and not _for_others.get()


@contextlib.contextmanager
def native_convolutions() -> Iterator[None]:
    """Traces inside have native convolutions, whatever the backend: for other runtimes."""
    token = _for_others.set(True)
    try:
        yield
    finally:
        _for_others.reset(token)


def _padding(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Zeros before and after one axis; "SAME" puts the odd one after, as TensorFlow does."""
    if padding == "VALID":
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _patches(x: Array, kernel: tuple[int, int], stride: int, padding: str) -> Array:
    """Receptive fields of `x` (n, h, w, c) as (n, oh, ow, kh * kw * c), row by row."""
    (kh, kw), (_, h, w, c) = kernel, x.shape
    pad_h, pad_w = _padding(h, kh, stride, padding), _padding(w, kw, stride, padding)
    oh = (h + sum(pad_h) - kh) // stride + 1
    ow = (w + sum(pad_w) - kw) // stride + 1
    if (kh, kw, stride) == (1, 1, 1):
        return x
    # Pad to whole blocks of stride x stride, so that every tap is a contiguous slice of blocks.
    block_h, block_w = oh + (kh - 1) // stride, ow + (kw - 1) // stride
    extra_h = block_h * stride - h - pad_h[0]
    extra_w = block_w * stride - w - pad_w[0]
    x = lax.pad(
        x,
        jnp.zeros((), x.dtype),
        ((0, 0, 0), (pad_h[0], extra_h, 0), (pad_w[0], extra_w, 0), (0, 0, 0)),
    )
    x = x.reshape(x.shape[0], block_h, stride, block_w, stride, c)
    taps = [
        x[:, i // stride : i // stride + oh, i % stride, j // stride : j // stride + ow, j % stride]
        for i in range(kh)
        for j in range(kw)
    ]
    return jnp.concatenate(taps, axis=-1)


def conv(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: str = "SAME",
    groups: int = 1,
    native: bool | None = None,
) -> Array:
    """Cross-correlate `x` (n, h, w, c) with `kernel` (kh, kw, c / groups, features).

    `native` forces XLA's own convolution (True) or patches and a matrix product (False); by
    default the backend decides. Returns (n, oh, ow, features).
    """
    if native if native is not None else not on_cpu():
        h, w = (
            _padding(s, k, stride, padding)
            for s, k in zip(x.shape[1:3], kernel.shape, strict=False)
        )
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            (h, w),
            dimension_numbers=_DIMENSIONS,
            feature_group_count=groups,
        )
    size, features = kernel.shape[:2], kernel.shape[-1]
    outputs = [
        _patches(part, size, stride, padding) @ weights.reshape(-1, features // groups)
        for part, weights in zip(
            jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True
        )
    ]
    return jnp.concatenate(outputs, axis=-1) if groups > 1 else outputs[0]


def _taps(kernel: int, stride: int, before: int, phase: int) -> list[tuple[int, int]]:
    """(u, a) such that output[q * stride + phase] is the sum of input[q - a] kernel[u]."""
    return [
        (u, (u - phase - before) // stride)
        for u in range(kernel)
        if (u - phase - before) % stride == 0
    ]


def _shift(x: Array, down: int, right: int) -> Array:
    """`x` (n, h, w, c) moved `down` rows and `right` columns, zeros moving in."""
    if down == right == 0:
        return x
    return lax.pad(
        x, jnp.zeros((), x.dtype), ((0, 0, 0), (down, -down, 0), (right, -right, 0), (0, 0, 0))
    )


def conv_transpose(
    x: Array, kernel: Array, *, stride: int = 2, native: bool | None = None
) -> Array:
    """Transpose of the "SAME" `conv` of this stride, as Keras' Conv2DTranspose.

    `x` (n, h, w, c), `kernel` (kh, kw, features, c); returns (n, h * stride, w * stride, features).
    """
    kh, kw, features, _ = kernel.shape
    n, h, w, _ = x.shape
    pads = [_padding(size * stride, k, stride, "SAME") for size, k in ((h, kh), (w, kw))]
    if native if native is not None else not on_cpu():
        # The adjoint of a padded convolution pads by kernel - 1 - pad and flips the kernel.
        padding = [
            (k - 1 - before, stride * size - (size - 1) * stride - 1 + before)
            for size, k, (before, _) in zip((h, w), (kh, kw), pads, strict=True)
        ]
        return lax.conv_general_dilated(
            x,
            jnp.flip(kernel, (0, 1)).swapaxes(2, 3),
            (1, 1),
            padding,
            lhs_dilation=(stride, stride),
            dimension_numbers=_DIMENSIONS,
        )
    z = x @ kernel.transpose(3, 0, 1, 2).reshape(kernel.shape[3], -1)
    # One split, since its gradient is one concatenation; that of slices would be nine additions.
    z = jnp.split(z, kh * kw, axis=-1)
    phases = [
        sum(
            (
                _shift(z[u * kw + v], a, b)
                for u, a in _taps(kh, stride, pads[0][0], p)
                for v, b in _taps(kw, stride, pads[1][0], r)
            ),
            start=jnp.zeros((n, h, w, features), x.dtype),
        )
        for p in range(stride)
        for r in range(stride)
    ]
    y = jnp.stack(phases, axis=3).reshape(n, h, w, stride, stride, features)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(n, h * stride, w * stride, features)


class Conv(nn.Module):
    """2D convolution, (n, h, w, c) -> (n, oh, ow, features); `kernel` is HWIO."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    use_bias: bool = True
    padding: str = "SAME"
    kernel_init: Callable = nn.initializers.glorot_uniform()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k = self.kernel_size
        kernel = self.param(
            "kernel", self.kernel_init, (k, k, x.shape[-1] // self.groups, self.features)
        )
        y = conv(x, kernel, stride=self.stride, padding=self.padding, groups=self.groups)
        return y + self.param("bias", self.bias_init, (self.features,)) if self.use_bias else y


class ConvTranspose(nn.Module):
    """Transposed 2D convolution, (n, h, w, c) -> (n, h * stride, w * stride, features)."""

    features: int
    kernel_size: int = 3
    stride: int = 2
    kernel_init: Callable = nn.initializers.glorot_uniform(in_axis=-1, out_axis=-2)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k = self.kernel_size
        kernel = self.param("kernel", self.kernel_init, (k, k, self.features, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return conv_transpose(x, kernel, stride=self.stride) + bias
