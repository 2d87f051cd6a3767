"""Conditional autoregressive densities p(x | m): MADE blocks, affine or spline.

Masked autoregressive flows (Papamakarios et al., arXiv:1705.07057) of blocks whose one masked
network (Germain et al., arXiv:1502.03509) gives the parameters of every feature from those before
it and the condition; a spline's are those of Durkan et al. (arXiv:1906.04032). Arrays here have
the features first and the events last, so that what is done to a feature is one vectorised loop.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad.models import rational_quadratic_spline as spline
from jaxad.models.flow import bounded_log_scale, require_coupling

Weights = list[tuple[Array, Array]]


class Masked(nn.Module):
    """Weights of the masked networks of all blocks, cut to what may see what.

    A unit of degree d sees the condition and the first d features; units are sorted by degree,
    from 0. Feature k (from 0) is given by the units up to degree k: the first one by those that
    see the condition alone. The last layer starts at zero (identity).
    """

    n_features: int
    n_layers: int
    hidden: tuple[int, ...]
    n_out: int

    @nn.compact
    def __call__(self, n_condition: int) -> Weights:
        """A kernel (n_layers, in, out) and a bias (n_layers, out) of every layer.

        Inputs are the condition, then the features; outputs are `n_out` times all features.
        """
        features = np.arange(self.n_features)
        seen = np.concatenate([np.zeros(n_condition, int), features + 1])
        weights = []
        for i, width in enumerate((*self.hidden, self.n_out * self.n_features)):
            last = i == len(self.hidden)
            degrees = np.tile(features, self.n_out) if last else self.degrees(width)
            mask = (seen[:, None] <= degrees).astype(np.float32)
            start = nn.initializers.zeros if last else _scaled_normal(mask)
            kernel = self.param(f"kernel{i}", start, (self.n_layers, *mask.shape))
            bias = self.param(f"bias{i}", nn.initializers.zeros, (self.n_layers, width))
            weights.append((kernel * mask, bias))
            seen = degrees
        return weights

    def degrees(self, width: int) -> np.ndarray:
        """Degree (width,) of every unit of a hidden layer, ascending from 0."""
        return np.arange(width) * self.n_features // width


def _scaled_normal(mask: np.ndarray):
    """Normal numbers whose variance is one over the inputs that a unit sees."""
    scale = 1 / np.sqrt(np.maximum(mask.sum(axis=0), 1))
    return lambda key, shape: scale * jax.random.normal(key, shape)


class Autoregressive(nn.Module):
    """Conditional autoregressive flow of `n_layers` blocks, each in the reverse order of the last.

    m reaches every feature in every block. The density takes one pass through each network. So
    does sampling, a feature at a time: a unit is computed once what it sees is known.
    "spline" puts a spline behind the affine map, on [-bound, bound] with `n_bins` bins and the
    identity outside: alone it would leave the tails as they are.

    With an `order` above 0 the networks do not see m, one number in [-1, 1]: each parameter of a
    map is a polynomial of m, and they give its coefficients. Between values of m that trained it
    the density is as smooth as those; beyond [-1, 1] it is that of the edge.
    """

    n_features: int
    n_layers: int = 6
    hidden: tuple[int, ...] = (64, 64)
    coupling: str = "affine"
    n_bins: int = 8
    bound: float = 6.0
    order: int = 0

    def setup(self):
        require_coupling(self.coupling)
        n_spline = spline.n_parameters(self.n_bins) if self.coupling == "spline" else 0
        n_out = (2 + n_spline) * (self.order + 1)
        self.masked = Masked(self.n_features, self.n_layers, self.hidden, n_out)

    def __call__(self, x: Array, m: Array) -> Array:
        """log p(x | m) (N,) of `x` (N, F) given `m` (N, C)."""
        z, log_det = self._direct(x, m)
        return jax.scipy.stats.norm.logpdf(z).sum(axis=0) + log_det

    def latent(self, x: Array, m: Array) -> Array:
        """The Gaussian latent variables (N, F) of `x` (N, F) given `m` (N, C)."""
        return jnp.moveaxis(self._direct(x, m)[0], 0, -1)

    def sample(self, key: Array, m: Array) -> Array:
        """One draw (N, F) for every row of `m` (N, C)."""
        return self.inverse(jax.random.normal(key, (*m.shape[:-1], self.n_features)), m)

    def inverse(self, z: Array, m: Array) -> Array:
        """The features (N, F) whose `latent` is `z` (N, F) given `m` (N, C)."""
        z, (m, powers) = jnp.moveaxis(z, -1, 0), self._condition(m)
        weights = self.masked(len(m))

        def block(z: Array, weights: Weights) -> tuple[Array, None]:
            return self._inverse_block(weights, z[::-1], m, powers), None

        z = z[::-1] if self.n_layers % 2 else z
        return jnp.moveaxis(jax.lax.scan(block, z, weights, reverse=True)[0], 0, -1)

    def _condition(self, m: Array) -> tuple[Array, Array]:
        """What networks see of m (N, C), (C, N) or (0, N), and its Legendre polynomials."""
        m = jnp.moveaxis(m, -1, 0)
        if not self.order:
            return m, jnp.ones_like(m[:1])
        return m[:0], legendre(m[0], self.order)

    def _direct(self, x: Array, m: Array) -> tuple[Array, Array]:
        """Latent variables (F, N) and the log-determinant (N,)."""
        x, (m, powers) = jnp.moveaxis(x, -1, 0), self._condition(m)
        weights = self.masked(len(m))
        log_det = jnp.zeros(x.shape[1:])
        for i in range(self.n_layers):
            h = jnp.concatenate([m, x])
            for j, (kernel, bias) in enumerate(weights):
                h = _dense(kernel[i], bias[i], nn.silu(h) if j else h)
            x, change = self._transform(_polynomial(h.reshape(-1, *x.shape), powers), x)
            x, log_det = x[::-1], log_det + change.sum(axis=0)
        return (x[::-1] if self.n_layers % 2 else x), log_det

    def _inverse_block(self, weights: Weights, z: Array, m: Array, powers: Array) -> Array:
        """Features (F, N) in the order of the block, each from the units that it completes."""
        known = [m, *(z[:0] for _ in self.hidden)]
        for k in range(self.n_features):
            for j, width in enumerate(self.hidden):
                start, stop = np.searchsorted(self.masked.degrees(width), [k, k + 1])
                kernel, bias = weights[j]
                new = _dense(kernel[: len(known[j]), start:stop], bias[start:stop], known[j])
                known[j + 1] = jnp.concatenate([known[j + 1], nn.silu(new)])
            kernel, bias = weights[-1]
            one = slice(k, None, self.n_features)
            parameters = _dense(kernel[: len(known[-1]), one], bias[one], known[-1])
            parameters = _polynomial(parameters[:, None], powers)[:, 0]
            known[0] = jnp.concatenate([known[0], self._inverse(parameters, z[k])[None]])
        return known[0][len(m) :]

    def _transform(self, parameters: Array, x: Array) -> tuple[Array, Array]:
        shift, log_scale = parameters[0], bounded_log_scale(parameters[1])
        x = x * jnp.exp(log_scale) + shift
        if self.coupling == "affine":
            return x, log_scale
        x, log_slope = spline.forward(parameters[2:], x, self.bound)
        return x, log_scale + log_slope

    def _inverse(self, parameters: Array, y: Array) -> Array:
        if self.coupling == "spline":
            y = spline.inverse(parameters[2:], y, self.bound)
        return (y - parameters[0]) * jnp.exp(-bounded_log_scale(parameters[1]))


def legendre(m: Array, order: int) -> Array:
    """Legendre polynomials (order + 1, N) of m (N,), beyond [-1, 1] those of the edge."""
    u = jnp.clip(m, -1, 1)
    powers = [jnp.ones_like(u), u]
    for k in range(1, order):
        powers.append(((2 * k + 1) * u * powers[k] - k * powers[k - 1]) / (k + 1))
    return jnp.stack(powers[: order + 1])


def _polynomial(coefficients: Array, powers: Array) -> Array:
    """Parameters (P, F, N): sums over coefficients (P * orders, F, N) times powers (orders, N)."""
    if len(powers) <= 1:
        return coefficients
    parts = coefficients.reshape(-1, len(powers), *coefficients.shape[1:])
    return (parts * powers[:, None]).sum(axis=1)


def _dense(kernel: Array, bias: Array, h: Array) -> Array:
    """(out, ...) of `h` (in, ...), a kernel (in, out) and a bias (out,)."""
    return jnp.einsum("io,i...->o...", kernel, h) + bias.reshape(-1, *[1] * (h.ndim - 1))
