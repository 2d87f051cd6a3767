"""How a density p(x | m) sees events: scaled features, and m as its condition.

Features are logit-scaled and standardised. With `flow.frame_order` mean and spread of each scaled
feature follow m, as polynomials, and what is left to the density hardly changes with m: in a gap of
m its moments are then as smooth as those.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.inputs import logit as scaling
from jaxad.models.autoregressive import legendre

LEAST_MASS = 1e-6  # for a logarithm
OUTSIDE = 1e-3  # share of masses on either side of [-1, 1]
EVEN, FLOOR = 0.05, 0.01  # quantiles of masses that a shift makes even, and below which none counts
STRAIGHT = 0.05  # of a skewness that needs no logarithm, in the distance of the even quantiles
NEAREST = 0.05  # of the shift to the floor, in the floor's distance from the median
ROWS_PER_COEFFICIENT = 50  # of a polynomial; of fewer its order is lower
MAX_STEPS, ENOUGH = 50, 1e-8  # of scoring, and the last change of a coefficient


def mass_order(config: ConfigDict) -> int:
    """Of the polynomials by which m enters the maps of a density; 0: its networks see m."""
    return config.get("mass_order", 0) if config.name == "autoregressive" else 0


def fit(config: ConfigDict, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """The frame of rows "x" (N, F) and "m" (N,), perhaps with a "weight" (N,), by `config` (flow).

    Returns:
        {"scaler"; "mass": offset and scale of m or of a logarithm of it, and which; "moving" with
        `frame_order`, unless the rows are too few: coefficients (order + 1, F) of "mean" and
        "log_scale"}.

    Raises:
        UserError: constant features, or masses that have no logarithm.
    """
    scaler = scaling.fit_logit_scaler(rows["x"], config.eps)
    inside = np.asarray(scaling.inside(scaler, jnp.asarray(rows["x"])))
    order = config.get("frame_order", 0)
    found = {"scaler": {k: np.asarray(v) for k, v in scaler._asdict().items()}}
    found["mass"] = mass(config.mass, rows["m"], within=order > 0 or mass_order(config) > 0)
    order = min(order, int(inside.sum(axis=0).min()) // ROWS_PER_COEFFICIENT - 1)
    if order > 0:
        found["moving"] = _moving(found, rows, inside, order)
    return found


def of(fitted: dict) -> dict[str, Any]:
    """The frame of a fitted density."""
    return {key: fitted[key] for key in ("scaler", "mass", "moving") if key in fitted}


def mass(how: str, m: np.ndarray, within: bool) -> dict[str, np.ndarray]:
    """How masses (N,) enter, see `condition`: standardised, or `within` [-1, 1] but for a few."""
    if how not in ("shifted", "log", "linear"):
        raise UserError(f"flow.mass: expected shifted, log or linear, found {how!r}")
    m = np.asarray(m, np.float32)
    if how == "log" and (m <= LEAST_MASS).any():
        raise UserError(
            f"flow.mass=log: expected masses above 0, found {int((m <= LEAST_MASS).sum())} others: "
            "leave those events out, or set flow.mass=shifted or linear"
        )
    found = {"log": np.float32(how != "linear")}
    if how == "shifted":
        found |= _symmetric(m)
    values = np.asarray(_seen(found, m))
    if within:
        low, high = np.quantile(values, (OUTSIDE, 1 - OUTSIDE)).astype(np.float32)
        return found | {"mean": (low + high) / 2, "scale": (high - low) / 2}
    return found | {"mean": values.mean(), "scale": values.std()}


def _symmetric(m: np.ndarray) -> dict[str, np.ndarray]:
    """The "shift" of masses (N,), whose logarithm above it spreads evenly about its median.

    A spectrum rises steeply to its maximum, and features change there within a few per cent of m:
    its logarithm has no room for that, the one above the shift has. Below the quantile `FLOOR`
    masses count as that, the "floor", to which the shift keeps a distance. Masses that are not
    skewed to the right enter as they are.
    """
    floor, low, middle, high = np.quantile(m.astype(np.float64), (FLOOR, EVEN, 0.5, 1 - EVEN))
    skew = low + high - 2 * middle
    if middle <= floor or skew <= STRAIGHT * (high - low):
        return {"log": np.float32(0)}
    floor = np.float32(floor)
    shift = np.float32(min((low * high - middle**2) / skew, floor - NEAREST * (middle - floor)))
    return {"shift": shift, "floor": floor} if shift < floor else {"log": np.float32(0)}


def _seen(mass: dict, m: Array) -> Array:
    above = jnp.maximum(m, mass.get("floor", np.float32(LEAST_MASS))) - mass.get("shift", 0)
    log = mass.get("log", np.float32(0))  # scorers of version 0.1 have none
    return jnp.where(log > 0, jnp.log(above), m)


def condition(frame: dict, m: Array) -> Array:
    """m (N,) as the network sees it, (N, 1): it or a logarithm, standardised or in [-1, 1]."""
    mass = frame["mass"]
    return ((_seen(mass, m) - mass["mean"]) / mass["scale"])[..., None]


def _moving(
    frame: dict, rows: dict[str, np.ndarray], inside: np.ndarray, order: int
) -> dict[str, np.ndarray]:
    """Polynomials of the condition: mean and log of the spread of scaled features.

    The most likely ones of a Gaussian, by Fisher scoring. As for the scaler, values at the edges of
    a feature do not enter.
    """
    scaler = scaling.LogitScaler(**frame["scaler"])
    z = np.asarray(scaling.forward(scaler, jnp.asarray(rows["x"])), np.float64)
    powers = np.asarray(legendre(condition(frame, rows["m"])[:, 0], order), np.float64).T
    weight = np.asarray(rows.get("weight", np.ones(len(z))), np.float64)
    each = [_gaussian(z[i, f], powers[i], weight[i]) for f, i in enumerate(inside.T)]
    means, scales = (np.stack(values, axis=1) for values in zip(*each, strict=True))
    return {"mean": means.astype(np.float32), "log_scale": scales.astype(np.float32)}


def _gaussian(z: np.ndarray, powers: np.ndarray, weight: np.ndarray) -> tuple:
    """Coefficients (P,) of the mean and of the log of the spread of z (n,), of powers (n, P).

    The smallest ones, where masses take fewer values than there are coefficients.
    """
    inverse = np.linalg.pinv(2 * (powers.T * weight) @ powers, hermitian=True)
    log_scale = np.zeros(powers.shape[1])
    for _ in range(MAX_STEPS):
        precise = powers.T * (weight * np.exp(-2 * powers @ log_scale))
        mean = np.linalg.pinv(precise @ powers, hermitian=True) @ (precise @ z)
        squares = ((z - powers @ mean) * np.exp(-powers @ log_scale)) ** 2
        change = inverse @ ((powers.T * weight) @ (squares - 1))
        log_scale = log_scale + np.clip(change, -1, 1)
        if np.abs(change).max() < ENOUGH:
            break
    return mean, log_scale


def _moments(frame: dict, m: Array) -> tuple[Array, Array]:
    """Mean and log of the spread (N, F) of scaled features at masses (N,); 0 if they stay."""
    if "moving" not in frame:
        return jnp.zeros(()), jnp.zeros(())
    moving = frame["moving"]
    powers = legendre(condition(frame, m)[..., 0], len(moving["mean"]) - 1)
    return tuple(jnp.moveaxis(powers, 0, -1) @ moving[key] for key in ("mean", "log_scale"))


def scaled(frame: dict, x: Array, m: Array) -> Array:
    """Features (N, F) at masses (N,) as the network sees them."""
    mean, log_scale = _moments(frame, m)
    z = scaling.forward(scaling.LogitScaler(**frame["scaler"]), x)
    return (z - mean) * jnp.exp(-log_scale)


def unscaled(frame: dict, z: Array, m: Array) -> Array:
    """The features (N, F) that are `scaled` to z (N, F), always inside the range of the fit."""
    mean, log_scale = _moments(frame, m)
    return scaling.inverse(scaling.LogitScaler(**frame["scaler"]), z * jnp.exp(log_scale) + mean)


def log_jacobian(frame: dict, x: Array, m: Array) -> Array:
    """log |det dz/dx| (N,) of `scaled` at features (N, F) and masses (N,)."""
    of_features = scaling.log_jacobian(scaling.LogitScaler(**frame["scaler"]), x)
    return of_features - jnp.sum(jnp.broadcast_to(_moments(frame, m)[1], x.shape), axis=-1)


def seen(frame: dict, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows as the network sees them: "x" (N, F), "m" (N, 1) and "weight" where they have one."""
    x, m = scaled(frame, rows["x"], rows["m"]), condition(frame, rows["m"])
    return {"x": np.asarray(x), "m": np.asarray(m)} | (
        {"weight": rows["weight"]} if "weight" in rows else {}
    )
