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
from jaxad.models.convolution import GroupedConv, pad_same

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

    Ties are common on binary images; their gradient goes to the first maximum, as in TensorFlow.
    """
    sizes = [-(-size // 2) for size in x.shape[1:3]]
    x = pad_same(x, 3, 2, periodic, value=-jnp.inf)
    for axis, size in zip((1, 2), sizes, strict=True):
        taps = [jax.lax.slice_in_dim(x, i, i + 2 * size - 1, 2, axis) for i in range(3)]
        x = taps[0]
        for tap in taps[1:]:
            x = jnp.where(x >= tap, x, tap)
    return x


class InstanceNorm(nn.Module):
    """Normalises each sample and channel over the image, scales by gamma and shifts by beta."""

    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (x.shape[-1],)
        gamma = self.param("gamma", nn.initializers.ones_init(), shape)
        beta = self.param("beta", nn.initializers.zeros_init(), shape)
        values = x.astype(jnp.float32)
        mean = values.mean((1, 2), keepdims=True)
        variance = jnp.square(values - mean).mean((1, 2), keepdims=True)
        scale = jax.lax.rsqrt(variance + self.epsilon) * gamma
        return ((values - mean) * scale + beta).astype(x.dtype)


class ConvLayer(nn.Module):
    """3x3 "same" convolution, instance normalisation, LeakyReLU(0.2)."""

    features: int
    stride: int = 1
    groups: int = 1
    periodic: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = GroupedConv(
            self.features,
            stride=self.stride,
            groups=self.groups,
            periodic=self.periodic,
            kernel_init=nn.initializers.he_uniform(),
            name="conv",
        )(x)
        return nn.leaky_relu(InstanceNorm(name="norm")(x), 0.2)


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
    """Multiply a feature map by a convolution of (z_m, x, y), with x and y running over [-1, 1]."""

    @nn.compact
    def __call__(self, x: Array, z_m: Array) -> Array:
        n, h, w, c = x.shape
        columns, rows = np.meshgrid(np.linspace(-1, 1, w), np.linspace(-1, 1, h))
        grid = jnp.asarray(np.stack([columns, rows], -1), x.dtype)
        code = jnp.broadcast_to(z_m[:, None, None].astype(x.dtype), (n, h, w, z_m.shape[-1]))
        grid = jnp.broadcast_to(grid, (n, h, w, 2))
        return x * GroupedConv(c, name="conv")(jnp.concatenate([code, grid], -1))


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
        top, left = ((a - b) // 2 for a, b in zip(x.shape[1:3], self.shape, strict=True))
        x = x[:, top : top + self.shape[0], left : left + self.shape[1]]
        return GroupedConv(
            self.channels,
            kernel_size=1,
            kernel_init=nn.initializers.he_uniform(),
            bias_init=nn.initializers.constant(-1.0),
            name="logits",
        )(x)


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
