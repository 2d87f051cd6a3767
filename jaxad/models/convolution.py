"""Convolutions that are fast where they run.

XLA's CPU backend falls back to naive loops for convolutions inside `lax.scan`, for the gradients of
grouped convolutions and for transposed convolutions. On CPU two other forms give the same sums:
`conv` and `conv_transpose` are patches times a matrix (stride 2 by space-to-depth, a transposed
convolution by output phases, groups one by one); `large_conv`, for large images of many channels,
is a stride-1 convolution whose gradients are stride-1 convolutions as well, in a quarter of the
memory. On a GPU patches are faster too but for wide maps of many channels (`WIDE`), and layers of
stride 2 between many channels are one product of blocks of pixels (`_blocks`); other accelerators
run the native operation. Padding and kernel layout follow TensorFlow/Keras, so that
published Keras weights load unchanged.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


_for_others = ContextVar("_for_others", default=False)


def on_cpu() -> bool:
    """Whether computations are traced for XLA on a CPU, where native convolutions are slow."""
    return jax.default_backend() == "cpu" and not _for_others.get()


def on_gpu() -> bool:
    """Whether computations are traced for XLA on a GPU."""
    return jax.default_backend() == "gpu" and not _for_others.get()


@contextlib.contextmanager
def native_convolutions() -> Iterator[None]:
    """Traces inside have native convolutions, whatever the backend: for other runtimes."""
    token = _for_others.set(True)
    try:
        yield
    finally:
        _for_others.reset(token)


class _Wide(NamedTuple):
    channels: int
    pixels: int


WIDE = _Wide(channels=32, pixels=200)
"""On a GPU the native operation is the faster one from here on, at stride 1: measured on an H100
(benchmarks/accelerator, `convolutions`: value and gradients, in float32 and bfloat16)."""


def _block_diagonal(kernel: Array, groups: int) -> Array:
    """Kernel (kh, kw, c / groups, features) of groups -> (kh, kw, c, features) of none.

    On a GPU the zeros cost less than what cuDNN does for groups (benchmarks/accelerator,
    `convolutions`).
    """
    kh, kw, c, features = kernel.shape
    split = kernel.reshape(kh, kw, c, groups, features // groups)
    spread = jnp.einsum("hwcgf,gk->hwkcgf", split, jnp.eye(groups, dtype=kernel.dtype))
    return spread.reshape(kh, kw, groups * c, features)


def _is_native(x: Array, stride: int, transposed: bool = False) -> bool:
    """Whether XLA's own operation is the fastest form of a convolution of x (n, h, w, c)."""
    if on_cpu():
        return False
    if not on_gpu():
        return True
    _, h, w, channels = x.shape
    wide = channels >= WIDE.channels and h * w >= WIDE.pixels
    return wide and stride == 1 and not transposed


class _Blocks(NamedTuple):
    """Of a transposed convolution of few bytes: all phases of a block of outputs in one product.

    An output pixel needs few of the kernel's taps, and all those of a block of stride x stride the
    same few shifts of the input: (shifts * c) -> (stride * stride * features), zeros among the
    weights, moves fewer bytes than (c) -> (kh * kw * features).
    """

    shifts: tuple[tuple[int, int], ...]  # down, right
    weights: Array  # (shifts * c, stride * stride * features)


BLOCKS_PIXELS = range(2**12, 2**15 + 1)
"""Pixels of a batch for which blocks are the form to take. Measured on an H100 by its deterministic
kernels: faster at 2^12 and 2^14, slower at 2^17, and at 2^9, where arranging the weights costs more
than the pixels save."""


def _blocks(kernel: Array, stride: int, shape: tuple[int, int, int]) -> _Blocks | None:
    """Those of a "SAME" kernel (kh, kw, features, c) for inputs of `shape` (n, h, w).

    None where they are not the form to take: on other devices, of small and large batches, and
    where taps move fewer bytes.
    """
    kh, kw, features, c = kernel.shape
    n, height, width = shape
    if not on_gpu() or stride == 1 or not isinstance(n, int):
        return None
    if n * height * width not in BLOCKS_PIXELS:
        return None
    phases = range(stride)
    taps = [
        [
            {a: u for u, a in _taps(k, stride, _padding(size * stride, k, stride, "SAME")[0], p)}
            for p in phases
        ]
        for k, size in ((kh, height), (kw, width))
    ]
    down, right = (sorted({a for phase in axis for a in phase}) for axis in taps)
    if len(down) * len(right) * c >= kh * kw * features:
        return None
    zero = jnp.zeros((features, c), kernel.dtype)

    def weight(a: int, b: int, p: int, r: int) -> Array:
        u, v = taps[0][p].get(a), taps[1][r].get(b)
        return zero if u is None or v is None else kernel[u, v]

    shifts = tuple((a, b) for a in down for b in right)
    found = jnp.stack(
        [jnp.stack([weight(*s, p, r) for p in phases for r in phases]) for s in shifts]
    )
    return _Blocks(shifts, found.transpose(0, 3, 1, 2).reshape(len(shifts) * c, -1))


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
    default the backend and the shape decide. Returns (n, oh, ow, features).
    """
    if native is None and groups > 1 and on_gpu():
        kernel, groups, native = _block_diagonal(kernel, groups), 1, True
    if native if native is not None else _is_native(x, stride):
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
    even = not (x.shape[1] % stride or x.shape[2] % stride) and padding == "SAME" and groups == 1
    if native is None and even:
        # It is the transpose of a transposed convolution, whose features are this one's inputs.
        inner = x.shape[0], x.shape[1] // stride, x.shape[2] // stride
        if blocks := _blocks(kernel, stride, inner):
            shares = jnp.split(
                _space_to_depth(x, stride) @ blocks.weights.T, len(blocks.shifts), -1
            )
            moved = zip(shares, blocks.shifts, strict=True)
            return sum(_shift(share, -down, -right) for share, (down, right) in moved)
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
    if native if native is not None else _is_native(x, stride, transposed=True):
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
    if native is None and (blocks := _blocks(kernel, stride, (n, h, w))):
        moved = jnp.concatenate([_shift(x, *shift) for shift in blocks.shifts], axis=-1)
        return _depth_to_space(moved @ blocks.weights, stride)
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
    return _depth_to_space(jnp.stack(phases, axis=3).reshape(n, h, w, -1), stride)


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


def _depth_to_space(x: Array, stride: int) -> Array:
    """(n, h, w, s * s * c) -> (n, h * s, w * s, c), the inverse of `_space_to_depth`."""
    n, h, w, depth = x.shape
    c = depth // stride**2
    x = x.reshape(n, h, w, stride, stride, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h * stride, w * stride, c)


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


def large_conv(
    x: Array, kernel: Array, *, stride: int = 1, groups: int = 1, native: bool | None = None
) -> Array:
    """Cross-correlate `x` (n, h, w, c) with `kernel` (kh, kw, c / groups, features), no padding.

    `native` forces XLA's grouped operation (True) or the form for CPU (False); by default the
    backend and, on a GPU, the shape decide. Returns (n, oh, ow, features).
    """
    if native if native is not None else not on_cpu():
        return conv(x, kernel, stride=stride, padding="VALID", groups=groups, native=native)
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
    pads = [_padding(size, kernel, stride, "SAME") for size in x.shape[1:3]]
    if periodic:
        (before, after), h = pads[0], x.shape[1]
        x = jnp.concatenate([x[:, h - before :], x, x[:, :after]], axis=1)
        pads[0] = (0, 0)
    return jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


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


class ConvParameters(nn.Module):
    """Kernel (k, k, c / groups, features) and bias (features,) for an x (n, h, w, c)."""

    features: int
    kernel_size: int = 3
    groups: int = 1
    kernel_init: Callable = nn.initializers.glorot_uniform()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: ArrayLike) -> tuple[Array, Array]:
        k = self.kernel_size
        shape = (k, k, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        return kernel, self.param("bias", self.bias_init, (self.features,))


def grouped_conv(
    x: Array, kernel: Array, stride: int = 1, groups: int = 1, periodic: bool = False
) -> Array:
    """Cross-correlate x (n, h, w, c) with kernel (k, k, c / groups, features), padding "same".

    `periodic` wraps the first axis of the image around. Returns (n, oh, ow, features), of the type
    of x.
    """
    kernel = kernel.astype(x.dtype)
    if kernel.shape[:2] == (1, 1) and stride == groups == 1:
        return x @ kernel[0, 0]
    if on_cpu() or periodic:
        padded = pad_same(x, kernel.shape[0], stride, periodic)
        return large_conv(padded, kernel, stride=stride, groups=groups)
    return conv(x, kernel, stride=stride, groups=groups)


class GroupedConv(nn.Module):
    """`grouped_conv` of x (n, h, w, c), plus a bias; `kernel` is HWIO."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    periodic: bool = False
    kernel_init: Callable = nn.initializers.glorot_uniform()
    bias_init: Callable = nn.initializers.zeros_init()

    def setup(self):
        sizes = (self.features, self.kernel_size, self.groups)
        self.parameters = ConvParameters(*sizes, self.kernel_init, self.bias_init)
        nn.share_scope(self, self.parameters)

    def __call__(self, x: Array) -> Array:
        kernel, bias = self.parameters(x)
        y = grouped_conv(x, kernel, self.stride, self.groups, self.periodic)
        return y + bias.astype(x.dtype)
