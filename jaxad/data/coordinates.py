"""Particles in the coordinates that files hold, as four-momenta (E, px, py, pz)."""

import numpy as np

from jaxad.errors import UserError

MASSES = {
    **{11: 0.000510999, 13: 0.1056584, 22: 0.0, 12: 0.0, 14: 0.0, 16: 0.0},
    **{111: 0.1349768, 211: 0.1395704, 130: 0.497611, 310: 0.497611, 321: 0.493677},
    **{2112: 0.9395654, 2212: 0.9382721, 3122: 1.115683, 3112: 1.197449, 3222: 1.18937},
    **{3312: 1.32171, 3322: 1.31486, 3334: 1.67245},
}
"""PDG id, without sign -> mass [GeV], PDG 2024: particles that a generator calls stable."""
COORDINATES = {
    "ptetaphim": "pT, eta, phi, mass",
    "ptetaphie": "pT, eta, phi, E",
    "ptyphim": "pT, rapidity, phi, mass",
    "ptyphipid": "pT, rapidity, phi, PDG id",
    "pxpypzm": "px, py, pz, mass",
}
"""What the four numbers of a particle are, where they are not those of `data.format`."""


def four_vectors(x: np.ndarray, coordinates: str, unit: float = 1.0) -> np.ndarray:
    """(..., 4) (E, px, py, pz) of particles (..., 4) in one of `COORDINATES`.

    A particle of pT 0 (of momentum 0 in pxpypzm) is padding, and all zero.

    Args:
        unit: of momenta and masses, in GeV.

    Raises:
        UserError: a PDG id of which no mass is known.
    """
    first, second, third, fourth = (x[..., i].astype(np.float64) for i in range(4))
    if coordinates == "pxpypzm":
        there = (first != 0) | (second != 0) | (third != 0)
        squared = first**2 + second**2 + third**2 + fourth**2
        return np.stack([np.sqrt(squared), first, second, third], -1) * there[..., None]
    pt, there = first, first > 0
    if coordinates == "ptyphipid":
        mass = _masses(np.where(there, fourth, 22)) / unit
    elif coordinates == "ptetaphie":
        mass = None
    else:
        mass = fourth
    with np.errstate(over="ignore", invalid="ignore"):
        if coordinates in ("ptyphim", "ptyphipid"):
            transverse = np.hypot(pt, mass)
            pz, energy = transverse * np.sinh(second), transverse * np.cosh(second)
        else:
            pz = pt * np.sinh(second)
            energy = fourth if mass is None else np.sqrt(pt**2 + pz**2 + mass**2)
        momenta = np.stack([energy, pt * np.cos(third), pt * np.sin(third), pz], -1)
    kept = there | np.isnan(pt) | (pt < 0)  # what cannot be is refused later, not made padding
    return np.where(kept[..., None], momenta, 0)


def _masses(ids: np.ndarray) -> np.ndarray:
    """Masses [GeV] of PDG ids."""
    known, place = np.unique(np.abs(ids), return_inverse=True)
    unknown = [f"{number:g}" for number in known if number not in MASSES]
    if unknown:
        raise UserError(
            f"data.coordinates=ptyphipid: expected PDG ids of stable particles, found "
            f"{', '.join(unknown[:5])}: is this the column of the ids?"
        )
    return np.array([MASSES[number] for number in known])[place].reshape(ids.shape)


def invariant_masses(x: np.ndarray, coordinates: str) -> np.ndarray:
    """Invariant mass (N,) float64 of all particles (N, n, 4); NaN stays NaN."""
    energy, px, py, pz = np.moveaxis(four_vectors(x, coordinates).sum(axis=1), -1, 0)
    momentum = np.sqrt(px**2 + py**2 + pz**2)
    return np.sqrt(np.maximum((energy - momentum) * (energy + momentum), 0))
