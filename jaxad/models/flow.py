"""Conditional densities p(x | m): RealNVP and flow matching.

The outer density of CATHODE (Hallin et al., arXiv:2109.00546). `RealNVP` (Dinh et al.,
arXiv:1605.08803) stacks masked couplings from distrax, affine or rational-quadratic spline
(Durkan et al., arXiv:1906.04032); `FlowMatching` (Lipman et al., arXiv:2210.02747) integrates a
learned velocity. Both work on scaled features and a standardised condition, and both answer
`log_prob`, `latent` and `sample`.
"""

import itertools
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad.errors import UserError

if TYPE_CHECKING:
    import distrax

MAX_LOG_SCALE = 2.0
MAX_HALVED = 12  # features


def bounded_log_scale(raw: Array) -> Array:
    """The log scale of an affine map, between -2 and 2, of what a network gave."""
    return MAX_LOG_SCALE * jnp.tanh(raw / MAX_LOG_SCALE)


def require_coupling(coupling: str) -> None:
    """Refuse what is neither affine nor spline.

    Raises:
        UserError: another `coupling`.
    """
    if coupling not in ("affine", "spline"):
        raise UserError(f"flow.coupling: expected 'affine' or 'spline', found {coupling!r}")


def coupling_masks(n_features: int, n_layers: int) -> np.ndarray:
    """Which features pass unchanged, bool (n_layers, n_features): half of them in every layer.

    Every mask is followed by its complement, and successive pairs run through all ways of
    halving the features, so that each feature is transformed given each other one. Of more
    features than 12, whose halves nobody runs through, they are random ones, always the same.
    """
    if n_features == 1:
        return np.zeros((n_layers, 1), bool)
    size = n_features // 2
    if n_features > MAX_HALVED:
        rng = np.random.default_rng(n_features)
        drawn = (rng.permutation(n_features)[:size] for _ in range(n_layers))
    else:
        every = itertools.combinations(range(n_features), size)
        drawn = (chosen for chosen in every if 0 in chosen or n_features % 2)
    halves = [np.isin(np.arange(n_features), chosen) for chosen in drawn]
    return np.stack([halves[i // 2 % len(halves)] ^ bool(i % 2) for i in range(n_layers)])


class MLP(nn.Module):
    """Dense layers with SiLU between them; the last one starts at zero (identity couplings)."""

    hidden: tuple[int, ...]
    n_out: int

    @nn.compact
    def __call__(self, h: Array) -> Array:
        for i, width in enumerate(self.hidden):
            h = nn.silu(self._seen(i, h, nn.Dense(width)))
        last = nn.Dense(self.n_out, kernel_init=nn.initializers.zeros)
        return self._seen(len(self.hidden), h, last)

    def _seen(self, i: int, h: Array, layer: nn.Dense) -> Array:
        """`layer(h)`; `log_prob_by_level` learns what went in and adds a zero to what came out."""
        if self.is_initializing():
            return layer(h)
        self.sow("intermediates", f"level{i}", h)
        return self.perturb(f"level{i}", layer(h))


class RealNVP(nn.Module):
    """Conditional RealNVP of `n_layers` masked couplings over `n_features` features.

    Every conditioner sees the passing features and the condition, so m reaches every feature.
    Spline couplings act on [-bound, bound] with `n_bins` bins and are the identity outside.
    """

    n_features: int
    n_layers: int = 12
    hidden: tuple[int, ...] = (64, 64)
    coupling: str = "affine"
    n_bins: int = 8
    bound: float = 6.0

    def setup(self):
        require_coupling(self.coupling)
        per_feature = 2 if self.coupling == "affine" else 3 * self.n_bins + 1
        self.conditioners = [
            MLP(self.hidden, self.n_features * per_feature) for _ in range(self.n_layers)
        ]

    def __call__(self, x: Array, m: Array) -> Array:
        """log p(x | m) (N,) of `x` (N, F) given `m` (N, C)."""
        return self.distribution(m).log_prob(x)

    def latent(self, x: Array, m: Array) -> Array:
        """The Gaussian latent variables (N, F) of `x` (N, F) given `m` (N, C)."""
        return self.distribution(m).bijector.inverse(x)

    def sample(self, key: Array, m: Array) -> Array:
        """One draw (N, F) for every row of `m` (N, C)."""
        return self.distribution(m).sample(seed=key)

    def distribution(self, m: Array) -> "distrax.Transformed":
        """p(x | m) with batch shape (N,); `log_prob` is the direct pass through the couplings."""
        import distrax  # takes half a second, which other networks start without

        layers = [
            distrax.MaskedCoupling(
                mask=jnp.asarray(mask),
                conditioner=lambda x, network=network: self._parameters(network, x, m),
                bijector=self._bijector,
            )
            for mask, network in zip(
                coupling_masks(self.n_features, self.n_layers), self.conditioners, strict=True
            )
        ]
        zeros = jnp.zeros((*m.shape[:-1], self.n_features))
        base = distrax.MultivariateNormalDiag(zeros, jnp.ones_like(zeros))
        return distrax.Transformed(base, distrax.Inverse(distrax.Chain(layers)))

    def _parameters(self, network: MLP, x: Array, m: Array) -> Array:
        out = network(jnp.concatenate([x, m], axis=-1))
        return out.reshape(*x.shape, -1)

    def _bijector(self, parameters: Array) -> "distrax.Bijector":
        import distrax

        if self.coupling == "spline":
            return distrax.RationalQuadraticSpline(
                parameters,
                -self.bound,
                self.bound,
                boundary_slopes="identity",
                min_bin_size=1e-3,
                min_knot_slope=1e-3,
            )
        shift, log_scale = parameters[..., 0], parameters[..., 1]
        return distrax.ScalarAffine(shift=shift, log_scale=bounded_log_scale(log_scale))


def log_prob_by_level(flow: RealNVP, params: Any, x: Array, m: Array) -> Array:
    """`flow.apply(params, x, m)`, whose gradient takes the same layer of all conditioners at once.

    Backwards through a coupling the gradients of its weights wait for nothing and nothing waits for
    them: they are one batched product for all couplings, where a GPU would launch one for each.
    Reverse mode only; equal to the plain form but for the order of sums.
    """
    levels = range(len(flow.hidden) + 1)

    @jax.custom_vjp
    def log_prob(params: Any, x: Array, m: Array) -> Array:
        return flow.apply(params, x, m)

    def forward(params: Any, x: Array, m: Array) -> tuple:
        def probed(probes: Any, x: Array, m: Array) -> tuple:
            variables = params | {"perturbations": probes}
            values, seen = flow.apply(variables, x, m, mutable=["intermediates"])
            return values, seen["intermediates"]

        probes = {
            name: {
                f"level{i}": jnp.zeros((*x.shape[:-1], *network[f"Dense_{i}"]["bias"].shape))
                for i in levels
            }
            for name, network in params["params"].items()
        }
        values, backward, seen = jax.vjp(probed, probes, x, m, has_aux=True)
        return values, (backward, seen)

    def gradient(kept: tuple, cotangent: Array) -> tuple:
        backward, seen = kept
        behind, x, m = backward(cotangent)
        found: dict = {name: {} for name in behind}
        for i in levels:
            inputs = jnp.stack([seen[name][f"level{i}"][0] for name in behind])
            slopes = jnp.stack([behind[name][f"level{i}"] for name in behind])
            kernels = jnp.einsum("l...h,l...k->lhk", inputs, slopes)
            biases = slopes.sum(axis=tuple(range(1, slopes.ndim - 1)))
            for name, kernel, bias in zip(behind, kernels, biases, strict=True):
                found[name][f"Dense_{i}"] = {"kernel": kernel, "bias": bias}
        return {"params": found}, x, m

    log_prob.defvjp(forward, gradient)
    return log_prob(params, x, m)


class FlowMatching(nn.Module):
    """Density of a learned flow field between a Gaussian (t = 0) and the data (t = 1).

    The field is fitted to straight paths (`residual`); log p is exact up to the `n_steps` of the
    fourth-order Runge-Kutta integration, with the divergence by forward differentiation.
    """

    n_features: int
    hidden: tuple[int, ...] = (128, 128, 128)
    n_steps: int = 20

    def setup(self):
        self.network = MLP(self.hidden, self.n_features)

    def __call__(self, x: Array, m: Array) -> Array:
        """log p(x | m) (N,) of `x` (N, F) given `m` (N, C)."""
        return self._backward(x, m)[1]

    def latent(self, x: Array, m: Array) -> Array:
        """The Gaussian latent variables (N, F) of `x` (N, F) given `m` (N, C)."""
        return self._backward(x, m)[0]

    def sample(self, key: Array, m: Array) -> Array:
        """One draw (N, F) for every row of `m` (N, C)."""
        z = jax.random.normal(key, (*m.shape[:-1], self.n_features))
        field = self._field(z, m)
        return _runge_kutta(lambda t, state: field(t, state, m), z, 0.0, 1.0, self.n_steps)

    def residual(self, key: Array, x: Array, m: Array) -> Array:
        """Squared error (N,) of the field on straight paths from noise to `x`, at random times."""
        noise_key, time_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, x.shape)
        t = jax.random.uniform(time_key, (*x.shape[:-1], 1))
        predicted = self.network(_with_time(t, (1 - t) * noise + t * x, m))
        return ((predicted - (x - noise)) ** 2).sum(axis=-1)

    def _field(self, x: Array, m: Array):
        """The velocity (t, x, m) -> (N, F) as a pure function, free of module state."""
        if self.is_initializing():
            self.network(_with_time(jnp.zeros((*x.shape[:-1], 1)), x, m))
        network, variables = self.network.unbind()
        return lambda t, x, m: network.apply(
            variables, _with_time(jnp.full((*x.shape[:-1], 1), t), x, m)
        )

    def _backward(self, x: Array, m: Array) -> tuple[Array, Array]:
        field = self._field(x, m)
        directions = jnp.eye(self.n_features)

        def change(t, state):
            def derivative(direction):
                tangent = jnp.broadcast_to(direction, x.shape)
                moved = jax.jvp(lambda x: field(t, x, m), (state[0],), (tangent,))[1]
                return (moved * direction).sum(axis=-1)

            return field(t, state[0], m), jax.vmap(derivative)(directions).sum(axis=0)

        state = (x, jnp.zeros(x.shape[:-1]))
        z, log_det = _runge_kutta(change, state, 1.0, 0.0, self.n_steps)
        return z, jax.scipy.stats.norm.logpdf(z).sum(axis=-1) + log_det


def _with_time(t: Array, x: Array, m: Array) -> Array:
    waves = [jnp.cos(jnp.pi * t), jnp.sin(jnp.pi * t), jnp.cos(2 * jnp.pi * t)]
    return jnp.concatenate([x, m, t, *waves], axis=-1)


def _runge_kutta(change, state, start: float, stop: float, n_steps: int):
    """Integrate d state / dt = change(t, state) from `start` to `stop` in equal steps."""
    dt = (stop - start) / n_steps

    def move(state, slope, by):
        return jax.tree.map(lambda s, k: s + by * k, state, slope)

    def step(state, t):
        k1 = change(t, state)
        k2 = change(t + dt / 2, move(state, k1, dt / 2))
        k3 = change(t + dt / 2, move(state, k2, dt / 2))
        k4 = change(t + dt, move(state, k3, dt))
        mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, k1, k2, k3, k4)
        return move(state, mean, dt), None

    return jax.lax.scan(step, state, start + dt * jnp.arange(n_steps))[0]
