"""Conditional dual autoencoders of dark-shower searches (Anzalone et al., arXiv:2306.12955).

CoDAE encodes a detector image twice: a residual encoder keeps a map z of (5, 4, 64) and a small
mask encoder two numbers z_m, which scale every feature map of the decoder. The categorical CoDVAE
replaces z by relaxed one-hot categoricals under a trained mixture prior. Images are
(n, 72, 58, channels) in (phi, eta); decoders return logits.
"""

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad.errors import UserError
from jaxad.models.convolution import ConvParameters, GroupedConv, grouped_conv, pad_same

N_PARAMETERS = {"codae": 1_646_467, "codvae": 1_653_124}
IMAGE_SHAPE = (72, 58)
FEATURES = (64, 128, 128, 256)


def upsample(x: Array) -> Array:
    """Bilinear doubling, half-pixel centres, borders repeated: (n, h, w, c) -> (n, 2h, 2w, c)."""
    for axis in (1, 2):
        n = x.shape[axis]
        before = jnp.concatenate(
            [
                jax.lax.slice_in_dim(x, 0, 1, axis=axis),
                jax.lax.slice_in_dim(x, 0, n - 1, axis=axis),
            ],
            axis,
        )
        after = jnp.concatenate(
            [
                jax.lax.slice_in_dim(x, 1, n, axis=axis),
                jax.lax.slice_in_dim(x, n - 1, n, axis=axis),
            ],
            axis,
        )
        pair = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])
    return x


def max_pool(x: Array, periodic: bool = False) -> Array:
    """3x3 maximum of stride 2, "same": rows, then columns, by slices; `periodic` wraps axis 1.

    Ties are common on binary images; their gradient goes to the first maximum, as in TensorFlow;
    reverse mode only.
    """
    return _pooled(pad_same(x, 3, 2, periodic, value=-jnp.inf))


@jax.custom_vjp
def _pooled(x: Array) -> Array:
    """Maxima (n, h, w, c) of x (n, 2h + 1, 2w + 1, c); kept for the gradient is their place."""
    return _pooled_with_places(x)[0]


def _pooled_with_places(x: Array) -> tuple[Array, Array]:
    """Maxima, and the row plus three times the column in the window of each, of bytes."""
    place = jnp.zeros(x.shape, jnp.uint8)
    for axis, unit in ((1, 1), (2, 3)):
        last = x.shape[axis] - 3
        taps = [
            [jax.lax.slice_in_dim(a, i, i + last + 1, 2, axis) for a in (x, place)]
            for i in range(3)
        ]
        x, place = taps[0]
        for i, (tap, there) in enumerate(taps[1:], 1):
            earlier = x >= tap
            place = jnp.where(earlier, place, there + jnp.uint8(unit * i))
            x = jnp.where(earlier, x, tap)
    return x, place


def _pooled_backward(place: Array, dy: Array) -> tuple[Array]:
    def share(row: int, column: int) -> Array:
        """What the pixels at a place of their window get, (n, h + 1, w + 1, c)."""
        hit = jnp.where(place == jnp.uint8(row + 3 * column), dy, 0)
        pads = [(1, 0) if i == 2 else (0, 1) for i in (row, column)]
        return jnp.pad(hit, ((0, 0), *pads, (0, 0)))

    # A pixel of even number is the first of one window and the last of another.
    of = ((0, 2), (1,))
    phases = [
        [sum(share(i, j) for i in of[row] for j in of[column]) for column in (0, 1)]
        for row in (0, 1)
    ]
    dx = jnp.stack([jnp.stack(phase, 3) for phase in phases], 2)
    n, h, w, c = dy.shape
    return (dx.reshape(n, 2 * h + 2, 2 * w + 2, c)[:, :-1, :-1],)


_pooled.defvjp(_pooled_with_places, _pooled_backward)


EPSILON = 1e-3
"""Added to the variances of instance normalisation."""
SLOPE = 0.2
"""Of LeakyReLU below zero."""


@jax.custom_vjp
def normalised(x: Array, gamma: Array, beta: Array) -> Array:
    """Each sample and channel of x (n, h, w, c) normalised over the image, then LeakyReLU(0.2).

    Statistics are float32, whatever x is. Kept for the gradient is x alone, and the value is
    recomputed: x is read twice forwards and twice backwards; reverse mode only.
    """
    return _normalised(x, gamma, beta)[0]


def _normalised(x: Array, gamma: Array, beta: Array) -> tuple[Array, tuple[Array, ...]]:
    values = x.astype(jnp.float32)
    # Variances of differences from a corner, which in sparse images is what most pixels are: one
    # pass over x, with little cancellation.
    corner = values[:, :1, :1]
    shifted = values - corner
    mean = shifted.mean((1, 2), keepdims=True)
    variance = jnp.square(shifted).mean((1, 2), keepdims=True) - jnp.square(mean)
    rate = jax.lax.rsqrt(jnp.maximum(variance, 0.0) + EPSILON)
    mean = mean + corner
    y = (values - mean) * (rate * gamma) + beta
    y = jnp.maximum(y, SLOPE * y)  # a comparison would be kept for the gradient
    return y.astype(x.dtype), (x, mean, rate, gamma, beta)


def _normalised_backward(saved: tuple[Array, ...], dy: Array) -> tuple[Array, Array, Array]:
    x, mean, rate, gamma, beta = saved

    def before(x: Array, dy: Array) -> tuple[Array, Array]:
        """The normalised values, and the gradient in front of LeakyReLU."""
        unit = (x.astype(jnp.float32) - mean) * rate
        slope = jnp.where(unit * gamma + beta >= 0, 1.0, SLOPE)
        return unit, dy.astype(jnp.float32) * slope

    # What lies behind a barrier is computed anew: reading x and dy twice is less than keeping what
    # both uses of them share.
    x, dy = jax.lax.optimization_barrier((x, dy))
    unit, dz = before(x, dy)
    sums = dz.sum((1, 2), keepdims=True), (dz * unit).sum((1, 2), keepdims=True)
    x, dy, *sums = jax.lax.optimization_barrier((x, dy, *sums))
    unit, dz = before(x, dy)
    means = [each / (x.shape[1] * x.shape[2]) for each in sums]
    dx = (dz - means[0] - unit * means[1]) * (rate * gamma)
    return dx.astype(x.dtype), sums[1].sum((0, 1, 2)), sums[0].sum((0, 1, 2))


normalised.defvjp(_normalised, _normalised_backward)


class InstanceNorm(nn.Module):
    """`normalised`, with its scale gamma and shift beta."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (x.shape[-1],)
        gamma = self.param("gamma", nn.initializers.ones_init(), shape)
        return normalised(x, gamma, self.param("beta", nn.initializers.zeros_init(), shape))


class ConvLayer(nn.Module):
    """3x3 "same" convolution, instance normalisation, LeakyReLU(0.2).

    The normalisation takes away the bias of the convolution, which is therefore never added: it is
    a parameter because the published arrays have one.
    """

    features: int
    stride: int = 1
    groups: int = 1
    periodic: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel, _ = ConvParameters(
            self.features, groups=self.groups, kernel_init=nn.initializers.he_uniform(), name="conv"
        )(x)
        x = grouped_conv(x, kernel, self.stride, self.groups, self.periodic)
        return InstanceNorm(name="norm")(x)


class ResidualBlock(nn.Module):
    """Two ConvLayers plus the input."""

    features: int
    groups: int
    periodic: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = ConvLayer(self.features, groups=self.groups, periodic=self.periodic, name="conv1")(x)
        y = ConvLayer(self.features, groups=self.groups, periodic=self.periodic, name="conv2")(y)
        return x + y


class ResTrunk(nn.Module):
    """Four times: ConvLayer of stride 2, residual block. (n, 72, 58, c) -> (n, 5, 4, 256)."""

    features: tuple[int, ...] = FEATURES
    groups: int = 4
    periodic: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i, features in enumerate(self.features):
            groups = self.groups if i else 1
            x = ConvLayer(features, 2, groups, self.periodic, name=f"down{i}")(x)
            x = ResidualBlock(features, self.groups, self.periodic, name=f"block{i}")(x)
        return x


class MaskEncoder(nn.Module):
    """Four times: ConvLayer, max pooling; then two numbers. (n, 72, 58, c) -> z_m (n, 2)."""

    features: tuple[int, ...] = FEATURES
    groups: int = 2
    periodic: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i, features in enumerate(self.features):
            groups = self.groups if i else 1
            x = ConvLayer(features, groups=groups, periodic=self.periodic, name=f"conv{i}")(x)
            x = max_pool(x, self.periodic)
        kernel_init = nn.initializers.glorot_uniform()
        flat = x.reshape(x.shape[0], -1).astype(jnp.float32)
        return nn.Dense(2, kernel_init=kernel_init, name="z")(flat)


class SpatialConditioning(nn.Module):
    """Multiply a feature map by a convolution of (z_m, x, y), with x and y running over [-1, 1].

    z_m is the same in every pixel and (x, y) in every sample, so that the convolution, which is
    linear, is taken of three images: z_m[0] a + z_m[1] b + c, with maps (h, w, features).
    """

    @nn.compact
    def __call__(self, x: Array, z_m: Array) -> Array:
        _, h, w, features = x.shape
        columns, rows = np.meshgrid(np.linspace(-1, 1, w), np.linspace(-1, 1, h))
        images = np.zeros((3, h, w, 4), np.float32)
        images[0, ..., 0] = images[1, ..., 1] = 1
        images[2, ..., 2], images[2, ..., 3] = columns, rows
        kernel, bias = ConvParameters(features, name="conv")(images)
        a, b, c = grouped_conv(jnp.asarray(images), kernel)
        return _scaled(x, z_m[:, None, None, None], a, b, c + bias)


@jax.checkpoint
def _scaled(x: Array, z_m: Array, a: Array, b: Array, c: Array) -> Array:
    """x times z_m[0] a + z_m[1] b + c, of which the gradient keeps nothing of the size of x."""
    return x * (z_m[..., 0] * a + z_m[..., 1] * b + c).astype(x.dtype)


class Decoder(nn.Module):
    """Image logits from a latent map and z_m: (n, 5, 4, c), (n, 2) -> (n, 72, 58, channels)."""

    features: tuple[int, ...] = FEATURES[::-1]
    groups: int = 4
    shape: tuple[int, int] = IMAGE_SHAPE
    channels: int = 1

    @nn.compact
    def __call__(self, z: Array, z_m: Array) -> Array:
        x = z
        for i, features in enumerate(self.features):
            x = upsample(SpatialConditioning(name=f"condition{i}")(x, z_m))
            x = ConvLayer(features, groups=self.groups if i else 1, name=f"up{i}")(x)
            x = ResidualBlock(features, self.groups, name=f"block{i}")(x)
        x = GroupedConv(
            self.channels,
            kernel_size=1,
            kernel_init=nn.initializers.he_uniform(),
            bias_init=nn.initializers.constant(-1.0),
            name="logits",
        )(x)
        top, left = ((a - b) // 2 for a, b in zip(x.shape[1:3], self.shape, strict=True))
        return x[:, top : top + self.shape[0], left : left + self.shape[1]]


class CoDAE(nn.Module):
    """Conditional dual autoencoder (section 3): image -> (logits, z, z_m).

    `periodic` wraps the encoders' convolutions around phi; the decoder, which crops 80 to 72 rows,
    has no period to wrap.
    """

    features: tuple[int, ...] = FEATURES
    latent: int = 64
    groups: int = 4
    mask_groups: int = 2
    channels: int = 1
    periodic: bool = False
    shape: tuple[int, int] = IMAGE_SHAPE

    def setup(self):
        self.trunk = ResTrunk(self.features, self.groups, self.periodic)
        self.latents = GroupedConv(self.latent, kernel_size=1)
        self.mask_encoder = MaskEncoder(self.features, self.mask_groups, self.periodic)
        self.decoder = Decoder(self.features[::-1], self.groups, self.shape, self.channels)

    def encode(self, x: Array) -> Array:
        """The latent map z (n, 5, 4, 64)."""
        return self.latents(self.trunk(x))

    def mask_code(self, x: Array) -> Array:
        """z_m (n, 2): 13 % of the arithmetic, and all that a trigger needs."""
        return self.mask_encoder(x)

    def decode(self, z: Array, z_m: Array) -> Array:
        """Logits of the pixels (n, 72, 58, channels)."""
        return self.decoder(z, z_m)

    def __call__(self, x: Array) -> tuple[Array, Array, Array]:
        z, z_m = self.encode(x), self.mask_code(x)
        return self.decode(z, z_m), z, z_m


class Categorical(NamedTuple):
    """Relaxed one-hot categoricals: logits (..., k) and temperature (...)."""

    logits: Array
    temperature: Array

    def log_sample(self, gumbel: Array) -> Array:
        """Logarithm of a relaxed one-hot vector, from standard Gumbel noise like the logits."""
        return jax.nn.log_softmax((self.logits + gumbel) / self.temperature[..., None])

    def log_prob(self, log_x: Array) -> Array:
        """Log density at `log_x` (..., k), in the measure of log x (arXiv:1611.00712, C.3)."""
        k = self.logits.shape[-1]
        t = self.temperature
        logits = self.logits - t[..., None] * log_x
        constant = jax.scipy.special.gammaln(float(k)) + (k - 1) * jnp.log(t)
        return constant + logits.sum(-1) - k * jax.nn.logsumexp(logits, -1)


class CoDVAE(nn.Module):
    """Categorical CoDVAE: q(z|x) is a relaxed categorical over 64 classes at each of 5x4 positions.

    The prior is a mixture of `components` equal relaxed categoricals a position; its logits are
    trained, its temperatures are drawn once from U(0.1, 1) and live in the collection "prior".
    """

    features: tuple[int, ...] = FEATURES
    latent: int = 64
    components: int = 5
    groups: int = 4
    mask_groups: int = 2
    channels: int = 1
    periodic: bool = False
    shape: tuple[int, int] = IMAGE_SHAPE

    def setup(self):
        self.trunk = ResTrunk(self.features, self.groups, self.periodic)
        self.logits = GroupedConv(self.latent, kernel_size=1)
        self.temperature = GroupedConv(1, kernel_size=1)
        self.mask_encoder = MaskEncoder(self.features, self.mask_groups, self.periodic)
        self.decoder = Decoder(self.features[::-1], self.groups, self.shape, self.channels)
        h, w = (-(-size // 2 ** len(self.features)) for size in self.shape)
        self.prior_logits = self.param(
            "prior_logits", nn.initializers.normal(1.0), (h, w, self.components, self.latent)
        )
        self.prior_temperature = self.variable(
            "prior",
            "prior_temperature",
            lambda: jax.random.uniform(
                self.make_rng("params"), (self.components,), minval=0.1, maxval=1.0
            ),
        )

    def posterior(self, x: Array) -> Categorical:
        """q(z|x): logits (n, 5, 4, 64), temperature softplus + 1 (n, 5, 4)."""
        h = self.trunk(x)
        temperature = nn.softplus(self.temperature(h)[..., 0]) + 1.0
        return Categorical(self.logits(h), temperature)

    def log_prior(self, log_z: Array) -> Array:
        """Log density of the mixture at `log_z` (..., 5, 4, 64) -> (..., 5, 4)."""
        component = Categorical(self.prior_logits, self.prior_temperature.value)
        log_probs = component.log_prob(log_z[..., None, :])
        return jax.nn.logsumexp(log_probs, -1) - jnp.log(float(self.components))

    def kl(self, posterior: Categorical, gumbel: Array) -> Array:
        """Monte Carlo KL(q || prior), summed over positions, (n,).

        `gumbel`: standard Gumbel noise (samples, n or 1, 5, 4, 64).
        """
        log_z = posterior.log_sample(gumbel)
        difference = posterior.log_prob(log_z) - self.log_prior(log_z)
        return difference.sum((-2, -1)).mean(0)

    def mask_code(self, x: Array) -> Array:
        """z_m (n, 2)."""
        return self.mask_encoder(x)

    def decode(self, z: Array, z_m: Array) -> Array:
        """Logits of the pixels (n, 72, 58, channels)."""
        return self.decoder(z, z_m)

    def __call__(
        self, x: Array, decode_noise: Array, kl_noise: Array
    ) -> tuple[Array, Categorical, Array, Array]:
        """Images and Gumbel noise -> (logits, q(z|x), z_m, KL).

        `decode_noise` (n or 1, 5, 4, 64): zeros decode softmax(logits / temperature); `kl_noise`
        (samples, n or 1, 5, 4, 64).
        """
        posterior, z_m = self.posterior(x), self.mask_code(x)
        z = jnp.exp(posterior.log_sample(decode_noise))
        return self.decode(z, z_m), posterior, z_m, self.kl(posterior, kl_noise)


def _layer(arrays: Mapping[str, Array], prefix: str) -> dict:
    """ConvLayer parameters from `<prefix>/{kernel,bias,gamma,beta}`."""
    return {
        "conv": {name: arrays[f"{prefix}/{name}"] for name in ("kernel", "bias")},
        "norm": {name: arrays[f"{prefix}/{name}"] for name in ("gamma", "beta")},
    }


def _plain(arrays: Mapping[str, Array], prefix: str) -> dict:
    """Convolution or dense parameters from `<prefix>/{kernel,bias}`."""
    return {name: arrays[f"{prefix}/{name}"] for name in ("kernel", "bias")}


def _block(arrays: Mapping[str, Array], part: str, i: int) -> dict:
    return {f"conv{j}": _layer(arrays, f"{part}/conv{j}-b{i}_0") for j in (1, 2)}


def from_keras_arrays(arrays: Mapping[str, Array]) -> dict:
    """Parameters of CoDAE, or of CoDVAE, from the published arrays.

    `arrays` maps `<part>/<layer>/<kernel|bias|gamma|beta>` (kernels HWIO) to values; the file holds
    `encoder1` for CoDAE and `energy_encoder` for CoDVAE. The published CoDVAE has no prior: the
    result then lacks `prior_logits`, to be filled from a fresh initialisation.
    Gradients or norms under the same names convert the same way.
    """
    variational = any(name.startswith("energy_encoder/") for name in arrays)
    encoder, mask = ("energy_encoder", "mask_encoder") if variational else ("encoder1", "encoder2")
    heads = ("logits", "temperature") if variational else ("latents",)
    depth = range(len(FEATURES))
    try:
        return {
            "trunk": {f"down{i}": _layer(arrays, f"{encoder}/dconv-b{i}") for i in depth}
            | {f"block{i}": _block(arrays, encoder, i) for i in depth},
            **{head: _plain(arrays, f"{encoder}/{head}") for head in heads},
            "mask_encoder": {f"conv{i}": _layer(arrays, f"{mask}/conv-b{i}") for i in depth}
            | {"z": _plain(arrays, f"{mask}/z")},
            "decoder": {
                f"condition{i}": {"conv": _plain(arrays, f"decoder/conditioning-b{i}")}
                for i in depth
            }
            | {f"up{i}": _layer(arrays, f"decoder/up_conv-b{i}") for i in depth}
            | {f"block{i}": _block(arrays, "decoder", i) for i in depth}
            | {"logits": _plain(arrays, "decoder/conv2d_32")},
        }
    except KeyError as error:
        raise UserError(
            f"published arrays: expected the field {error.args[0]!r}, found {len(arrays)} others; "
            "export them as <part>/<layer>/<kernel|bias|gamma|beta>"
        ) from error


def count_parameters(params: dict) -> int:
    """Number of trained values in a tree of arrays or shapes."""
    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(params))
