"""Grouped convolutions of large images, fast on CPU inside compiled loops.

XLA's CPU backend runs a stride-1 convolution with dense kernel at full speed anywhere, but its
gradient with respect to the kernel, strides in the gradient, and `feature_group_count` fall to
naive loops inside `lax.scan` and `fori_loop`. Here strides become a space-to-depth, groups are
convolved one by one, and both gradients are themselves stride-1 convolutions. Compared with patches
times a matrix this keeps a quarter of the memory. Accelerators run the native grouped operation.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxad.models.layers import conv as layers_conv
from jaxad.models.layers import on_cpu


def _convolve(x: Array, kernel: Array, padding: str | tuple = "VALID") -> Array:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@jax.custom_vjp
def _valid(x: Array, kernel: Array) -> Array:
    """Stride-1 convolution without padding; reverse-mode differentiation only."""
    return _convolve(x, kernel)


def _valid_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel), (x, kernel)


def _valid_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    kh, kw = kernel.shape[:2]
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    dx = _convolve(dy, flipped, ((kh - 1, kh - 1), (kw - 1, kw - 1)))
    # Channels act as batch, events as channels: the kernel's gradient is a convolution as well.
    dkernel = _convolve(x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3))
    return dx, dkernel.transpose(1, 2, 0, 3)


_valid.defvjp(_valid_forward, _valid_backward)


def _space_to_depth(x: Array, stride: int) -> Array:
    """(n, h, w, c) -> (n, h / s, w / s, s * s * c); kernels (kh, kw, c, f) as images of n = 1."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // stride, stride, w // stride, stride, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // stride, w // stride, stride**2 * c)


def _strided(x: Array, kernel: Array, stride: int) -> Array:
    """Convolution without padding, of any stride."""
    if stride == 1:
        return _valid(x, kernel)
    kh, kw = kernel.shape[:2]
    out = [(size - k) // stride + 1 for size, k in zip(x.shape[1:3], (kh, kw), strict=True)]
    blocks = [-(-k // stride) for k in (kh, kw)]
    used = [(o + b - 1) * stride for o, b in zip(out, blocks, strict=True)]
    x = x[:, : used[0], : used[1]]
    missing = [u - size for u, size in zip(used, x.shape[1:3], strict=True)]
    x = jnp.pad(x, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
    kernel = jnp.pad(
        kernel, ((0, blocks[0] * stride - kh), (0, blocks[1] * stride - kw), (0, 0), (0, 0))
    )
    kernel = _space_to_depth(kernel.transpose(3, 0, 1, 2), stride).transpose(1, 2, 3, 0)
    return _valid(_space_to_depth(x, stride), kernel)


def conv(
    x: Array, kernel: Array, *, stride: int = 1, groups: int = 1, native: bool | None = None
) -> Array:
    """Cross-correlate `x` (n, h, w, c) with `kernel` (kh, kw, c / groups, features), no padding.

    `native` forces XLA's grouped operation (True) or the form for CPU (False); by default the
    backend decides. Returns (n, oh, ow, features).
    """
    if native if native is not None else not on_cpu():
        return layers_conv(x, kernel, stride=stride, padding="VALID", groups=groups, native=True)
    outputs = [
        _strided(part, weights, stride)
        for part, weights in zip(
            jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True
        )
    ]
    return jnp.concatenate(outputs, axis=-1) if groups > 1 else outputs[0]


def pad_same(
    x: Array, kernel: int, stride: int, periodic: bool = False, value: float = 0.0
) -> Array:
    """`value` around `x` (n, h, w, c) for a "same" window, the odd one after, as TensorFlow does.

    `periodic` wraps the first axis of the image around instead.
    """
    pads = []
    for size in x.shape[1:3]:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads.append((total // 2, total - total // 2))
    if periodic:
        (before, after), h = pads[0], x.shape[1]
        x = jnp.concatenate([x[:, h - before :], x, x[:, :after]], axis=1)
        pads[0] = (0, 0)
    return jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


class GroupedConv(nn.Module):
    """2D convolution, padding "same", (n, h, w, c) -> (n, oh, ow, features); `kernel` is HWIO."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    periodic: bool = False
    kernel_init: Callable = nn.initializers.glorot_uniform()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k = self.kernel_size
        shape = (k, k, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(x.dtype)
        bias = self.param("bias", self.bias_init, (self.features,)).astype(x.dtype)
        padded = pad_same(x, k, self.stride, self.periodic)
        return conv(padded, kernel, stride=self.stride, groups=self.groups) + bias
