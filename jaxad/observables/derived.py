"""Features that are computed of a row's columns, by name: see `jaxad.data.layout.Layout`."""

import jax.numpy as jnp
from jax import Array

from jaxad.observables.kinematics import wrap_phi

DIJET_COLUMNS = tuple(
    (f"{name}j{jet}", unit)
    for jet in (1, 2)
    for name, unit in (
        *(("px", "GeV"), ("py", "GeV"), ("pz", "GeV"), ("m", "GeV")),
        *(("tau1", ""), ("tau2", ""), ("tau3", "")),
    )
)


def dijet(jets: Array, shift: float = 0.0, delta_r: bool = False) -> Array:
    """Dijet mass and features of `jets` (..., 14), columns `DIJET_COLUMNS` [GeV].

    Returns (..., 5): mjj [TeV], mJ1 and dmJ = mJ2 - mJ1 >= 0 [TeV], tau21 of J1 and of J2, where
    J1 is the lighter jet and tau21 = tau2 / (1e-5 + tau1); with `delta_r` also dR_jj (..., 6).
    The `shift` adds shift * mjj to both masses (Hallin et al., arXiv:2109.00546, section V).
    """
    j1, j2 = jets[..., :7], jets[..., 7:]
    energy = [jnp.sqrt((j[..., :4] ** 2).sum(axis=-1)) for j in (j1, j2)]
    # m^2 as a sum of positive terms: the jets are nearly back to back.
    dot = energy[0] * energy[1] - (j1[..., :3] * j2[..., :3]).sum(axis=-1)
    mjj = jnp.sqrt(j1[..., 3] ** 2 + j2[..., 3] ** 2 + 2 * dot) / 1000
    swap = (j1[..., 3] > j2[..., 3])[..., None]
    light, heavy = jnp.where(swap, j2, j1), jnp.where(swap, j1, j2)
    columns = [
        mjj,
        light[..., 3] / 1000 + shift * mjj,
        (heavy[..., 3] - light[..., 3]) / 1000 + shift * mjj,
        light[..., 5] / (1e-5 + light[..., 4]),
        heavy[..., 5] / (1e-5 + heavy[..., 4]),
    ]
    if delta_r:
        eta = [jnp.arcsinh(j[..., 2] / jnp.hypot(j[..., 0], j[..., 1])) for j in (j1, j2)]
        phi = jnp.arctan2(j1[..., 1], j1[..., 0]) - jnp.arctan2(j2[..., 1], j2[..., 0])
        columns.append(jnp.hypot(eta[0] - eta[1], wrap_phi(phi)))
    return jnp.stack(columns, axis=-1)


def dijet_names(delta_r: bool = False, **_: float) -> tuple[tuple[str, str], ...]:
    """Name and unit of what `dijet` returns."""
    names = (("mjj", "TeV"), ("mJ1", "TeV"), ("dmJ", "TeV"), ("tau21_J1", ""), ("tau21_J2", ""))
    return (*names, ("dR_jj", "")) if delta_r else names


DERIVED = {"dijet": (dijet, dijet_names)}
"""Name -> (function of columns and settings, names and units of what it returns)."""
