"""Momenta and angles on the host, in double precision; `kinematics` is the same on a device."""

import numpy as np
from numpy.typing import ArrayLike

from jaxad.devices.arrays import numbers
from jaxad.errors import UserError

COLUMNS = {3: "(pT, eta, phi)", 4: "(E, px, py, pz)"}


def particles_of(x: ArrayLike, what: str, columns: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """`x` as particles (N, n, 3 or 4), of the type that it has; masked particles become zeros.

    Args:
        what: names the function in refusals.
        columns: how many numbers a particle may have.

    Raises:
        UserError: another shape, no real numbers, or a pT or energy that is below 0 or NaN.
    """
    expected = " or ".join(f"(N, n, {n}) = {COLUMNS[n]}" for n in columns)
    particles = numbers(x, f"{what}: particles", expected, padding=True)
    if particles.ndim != 3 or particles.shape[-1] not in columns:
        raise UserError(f"{what}: particles must be {expected}, found shape {particles.shape}")
    bad = ~(particles[..., 0] >= 0).all(axis=1)
    if bad.any():
        first = {3: "a pT", 4: "an energy"}[particles.shape[-1]]
        raise UserError(
            f"{what}: event {int(np.argmax(bad))} holds {first} below 0 or NaN: are the columns "
            f"{COLUMNS[particles.shape[-1]]}?"
        )
    return particles


def massless(pt: np.ndarray, eta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """(..., 4) float64 (E, px, py, pz) of massless particles, in the unit of `pt` (...).

    Where pT is 0, in padding, whatever angles stand there, the result is 0.
    """
    pt, eta, phi = (np.asarray(values, np.float64) for values in (pt, eta, phi))
    eta = np.where(pt == 0, 0, eta)
    return np.stack(
        [pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=-1
    )


def four_momenta(particles: np.ndarray) -> np.ndarray:
    """(..., n, 4) float64 (E, px, py, pz) of (..., n, 4), or of massless (pT, eta, phi)."""
    if particles.shape[-1] == 4:
        return particles.astype(np.float64)
    return massless(*np.moveaxis(particles, -1, 0))


def wrap_phi(phi: np.ndarray) -> np.ndarray:
    """Angle in [-pi, pi)."""
    return np.mod(phi + np.pi, 2 * np.pi) - np.pi
