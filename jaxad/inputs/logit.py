"""Invertible feature scaling: logit of the min-max scaled value, then standardisation.

The pre-processing of CATHODE (Hallin et al., arXiv:2109.00546, section III) as a pytree of arrays
with exact forward, inverse and log-Jacobian. Values at or beyond the edges of the fitted range are
clipped to `eps` of the unit interval, so that every finite row has a finite image.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxad.devices.arrays import numbers
from jaxad.errors import UserError


class LogitScaler(NamedTuple):
    """Parameters of z = (logit(clip((x - low) / (high - low))) - mean) / scale, arrays of (F,).

    `eps` (scalar) is the distance kept from the edges 0 and 1 of the unit interval.
    """

    low: Array
    high: Array
    mean: Array
    scale: Array
    eps: Array


def fit_logit_scaler(x: ArrayLike, eps: float = 1e-6) -> LogitScaler:
    """Fit the range, then mean and spread of the logit, on rows `x` (N, F).

    Values within `eps` of an edge do not enter mean and spread: a handful of degenerate jets with
    logits of -16 would otherwise set the scale of the feature.

    Raises:
        UserError: a feature is constant or not finite, or `eps` is outside (0, 0.5).
    """
    if not 0 < eps < 0.5:
        raise UserError(f"scaling eps: expected a number in (0, 0.5), found {eps}")
    x = numbers(x, "scaling", "(N, F)").astype(np.float64)
    if not np.isfinite(x).all():
        raise UserError(f"scaling: {np.sum(~np.isfinite(x))} values are NaN or infinite; mend them")
    low, high = x.min(axis=0), x.max(axis=0)
    if (high <= low).any():
        raise UserError(
            f"scaling: feature {int(np.argmin(high - low))} is constant, expected a spread"
        )
    unit = (x - low) / (high - low)
    inside = (unit > eps) & (unit < 1 - eps)
    unit = np.clip(unit, eps, 1 - eps)
    logit = np.where(inside, np.log(unit) - np.log1p(-unit), np.nan)
    spread = inside.any(axis=0)
    if not spread.all():
        raise UserError(
            f"scaling: feature {int(np.argmin(spread))} has two values only, expected a spread: "
            "leave it out"
        )
    mean, scale = np.nanmean(logit, axis=0), np.nanstd(logit, axis=0)
    return LogitScaler(*(jnp.asarray(a, jnp.float32) for a in (low, high, mean, scale, eps)))


def clip_counts(scaler: LogitScaler, x: ArrayLike) -> dict[str, list[int]]:
    """How many values of each feature of `x` (N, F) are clipped at the low and the high edge."""
    low, high = _clipped(scaler, jnp.asarray(x))
    return {"low": np.asarray(low).tolist(), "high": np.asarray(high).tolist()}


@jax.jit
def _clipped(scaler: LogitScaler, x: Array) -> tuple[Array, Array]:
    unit = _unit(scaler, x)
    return (unit < scaler.eps).sum(axis=0), (unit > 1 - scaler.eps).sum(axis=0)


@jax.jit
def inside(scaler: LogitScaler, x: Array) -> Array:
    """Which values of `x` (N, F) are clipped at no edge, bool (N, F)."""
    unit = _unit(scaler, x)
    return (unit > scaler.eps) & (unit < 1 - scaler.eps)


def forward(scaler: LogitScaler, x: Array) -> Array:
    """Features `x` (..., F) to scaled features z (..., F); rows out of range are clipped."""
    unit = jnp.clip(_unit(scaler, x), scaler.eps, 1 - scaler.eps)
    return (jnp.log(unit) - jnp.log1p(-unit) - scaler.mean) / scaler.scale


def inverse(scaler: LogitScaler, z: Array) -> Array:
    """Scaled features z (..., F) back to features, always strictly inside the fitted range."""
    logit = z * scaler.scale + scaler.mean
    width = scaler.high - scaler.low
    # Written from the nearer edge, so that values close to either edge keep their precision.
    near = 1 / (1 + jnp.exp(jnp.abs(logit)))
    return jnp.where(logit < 0, scaler.low + width * near, scaler.high - width * near)


def log_jacobian(scaler: LogitScaler, x: Array) -> Array:
    """log |det dz/dx| (...,) of `forward` at `x` (..., F), at the clipped place out of range.

    The density of x is then log p(x) = log p(z) + log_jacobian(x).
    """
    unit = jnp.clip(_unit(scaler, x), scaler.eps, 1 - scaler.eps)
    slope = jnp.log(unit) + jnp.log1p(-unit) + jnp.log(scaler.high - scaler.low)
    return -(slope + jnp.log(scaler.scale)).sum(axis=-1)


def _unit(scaler: LogitScaler, x: Array) -> Array:
    return (x - scaler.low) / (scaler.high - scaler.low)
