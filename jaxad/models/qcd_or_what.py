"""The autoencoder of "QCD or What?" on event images.

Heimel, Kasieczka, Plehn, Thompson (arXiv:1808.08979), in the form that Anzalone et al.
(arXiv:2306.12955) train on images of (72, 58).
"""

import flax.linen as nn
from jax import Array

from jaxad.models.convolution import ConvTranspose, GroupedConv

MAX_SIDE = 80  # pixels that the decoder makes


class PReLU(nn.Module):
    """Leaky rectifier with a trained slope a feature; over space the slope is shared."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        slope = self.param("slope", nn.initializers.zeros_init(), (x.shape[-1],))
        return nn.relu(x) - slope * nn.relu(-x)


def _dense(features: int) -> nn.Dense:
    return nn.Dense(features, kernel_init=nn.initializers.glorot_uniform())


class QCDOrWhat(nn.Module):
    """Images (n, h, w, channels), sides up to `MAX_SIDE`, -> logits alike and latent (n, 32)."""

    latent: int = 32

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        shape = x.shape[1:]
        x = PReLU()(GroupedConv(10)(x))
        for _ in range(2):
            x = PReLU()(GroupedConv(5)(x))
            x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        for features in (400, 100):
            x = PReLU()(_dense(features)(x))
        z = _dense(self.latent)(x)
        x = z
        for features in (100, 400):
            x = PReLU()(_dense(features)(x))
        x = x.reshape(-1, 20, 20, 1)
        for _ in range(2):
            x = PReLU()(ConvTranspose(5)(x))
            x = PReLU()(GroupedConv(5)(x))
        top, left = (x.shape[1] - shape[0]) // 2, (x.shape[2] - shape[1]) // 2
        x = x[:, top : top + shape[0], left : left + shape[1]]
        return GroupedConv(shape[-1], kernel_size=1)(x), z
