"""Momenta and angles on the host, in double precision; `kinematics` is the same on a device."""

import numpy as np


def massless(pt: np.ndarray, eta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """(..., 4) float64 (E, px, py, pz) of massless particles, in the unit of `pt` (...)."""
    pt, eta, phi = (np.asarray(values, np.float64) for values in (pt, eta, phi))
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
