"""Variational autoencoders.

The Dirichlet VAE (Dillon et al., arXiv:2104.08291, as used by Anzalone et al., arXiv:2306.12955):
a Gaussian latent whose softmax approximates a Dirichlet prior, and a linear decoder whose rows are
the mixture's components.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def dirichlet_prior(concentration: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (k,) of the Gaussian whose softmax approximates a Dirichlet (Laplace)."""
    a = np.asarray(concentration, np.float64)
    k = len(a)
    mean = np.log(a) - np.log(a).mean()
    variance = (1 - 2 / k) / a + (1 / a).sum() / k**2
    return mean.astype(np.float32), variance.astype(np.float32)


def gaussian_kl(mean: Array, log_var: Array, prior_mean: Array, prior_var: Array) -> Array:
    """KL of diagonal Gaussians (n, k) against a diagonal Gaussian (k,), summed over k: (n,)."""
    ratio = jnp.exp(log_var) / prior_var
    distance = (mean - prior_mean) ** 2 / prior_var
    return 0.5 * jnp.sum(ratio + distance - 1 - jnp.log(ratio), axis=-1)


class DirichletVAE(nn.Module):
    """Flat images (n, pixels) -> mean (n, k), log-variance (n, k), log of the output (n, pixels).

    `noise` (n, k) is standard normal in training; zero decodes the mean. `mask` (n,) bool tells
    the batch normalisation which rows are events.
    """

    pixels: int
    latent: int = 3
    hidden: int = 512

    @nn.compact
    def __call__(
        self, x: Array, noise: Array, training: bool = False, mask: Array | None = None
    ) -> tuple[Array, Array, Array]:
        glorot = nn.initializers.glorot_uniform()
        h = nn.selu(nn.Dense(self.hidden, kernel_init=glorot, name="hidden")(x))
        h = nn.BatchNorm(
            use_running_average=not training,
            momentum=0.99,
            epsilon=1e-3,
            use_bias=False,
            name="norm",
        )(h, mask=None if mask is None else mask[:, None])
        mean = nn.Dense(self.latent, kernel_init=glorot, name="mean")(h)
        log_var = nn.Dense(self.latent, kernel_init=glorot, name="log_var")(h)
        log_var = jnp.clip(log_var, -20.0, 2.0)
        mixture = jax.nn.softmax(mean + jnp.exp(0.5 * log_var) * noise)
        components = nn.Dense(self.pixels, use_bias=False, kernel_init=glorot, name="components")
        return mean, log_var, jax.nn.log_softmax(components(mixture))
