"""Shapes of padded jets, one number a jet: girth, pT dispersion, share of the hardest particle.

Each needs no training and is a reference that a trained detector has to beat. Girth is that of
Gallicchio, Schwartz (arXiv:1106.3076, section 3), the pT dispersion that of CMS (pTD,
CMS-PAS-JME-13-002). They are pure, work under jit, vmap and grad, and change neither with the
order of particles, nor with padding, nor with a rotation about the beam.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jaxad.observables.kinematics import epxpypz_to_ptetaphi, relative, with_columns


def _ptetaphi(particles: Array) -> Array:
    """(..., n, 3) (pT [GeV], eta, phi), zero padded, of these or of (E, px, py, pz) [GeV]."""
    particles = with_columns(particles, 3, 4)
    return epxpypz_to_ptetaphi(particles) if particles.shape[-1] == 4 else particles


def _fractions(particles: Array) -> Array:
    """z_i = pT_i / sum pT (..., n); zeros of a jet without particles."""
    pt = _ptetaphi(particles)[..., 0]
    total = pt.sum(axis=-1, keepdims=True)
    return pt / jnp.where(total > 0, total, 1)


@jax.jit
def girth(particles: Array) -> Array:
    """Width (...,) sum_i z_i dR(i, jet), with z_i = pT_i / sum pT and the four-vector jet axis.

    Args:
        particles: (..., n, 3) (pT [GeV], eta, phi) or (..., n, 4) (E, px, py, pz) [GeV], zero
            padded, in float32 or float64 (else it computes in float32).

    Returns:
        0 of a jet with one particle, or with none.

    Examples:
        >>> jet = jnp.array([[[100.0, 0.3, 0.0], [100.0, -0.3, 0.0], [0.0, 0.0, 0.0]]])
        >>> round(float(girth(jet)[0]), 3)
        0.3
    """
    coordinates = relative(_ptetaphi(particles))
    square = coordinates[..., 1] ** 2 + coordinates[..., 2] ** 2
    distance = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return (_fractions(particles) * distance).sum(axis=-1)


@jax.jit
def pt_dispersion(particles: Array) -> Array:
    """pTD (...,) = sqrt(sum_i pT_i^2) / sum_i pT_i, from 1 / sqrt(n) to 1; `particles` as `girth`.

    0 of a jet without particles.

    Examples:
        >>> round(float(pt_dispersion(jnp.array([[30.0, 0.1, 0.0], [40.0, 0.0, 0.2]]))), 3)
        0.714
    """
    z = _fractions(particles)
    largest = z.max(axis=-1, keepdims=True)
    ratio = z / jnp.where(largest > 0, largest, 1)
    return largest[..., 0] * jnp.sqrt(jnp.maximum((ratio**2).sum(axis=-1), 1))


@jax.jit
def z_max(particles: Array) -> Array:
    """Share (...,) of the hardest particle in sum pT, from 1 / n to 1; `particles` as `girth`.

    0 of a jet without particles.

    Examples:
        >>> round(float(z_max(jnp.array([[30.0, 0.1, 0.0], [90.0, 0.0, 0.2]]))), 3)
        0.75
    """
    return _fractions(particles).max(axis=-1)


SHAPES = {"girth": girth, "pt_dispersion": pt_dispersion, "z_max": z_max}
"""Name -> function of particles."""
SHAPE_LABELS = {
    "girth": ("girth", ""),
    "pt_dispersion": ("pT dispersion", ""),
    "z_max": ("pT share of the hardest particle", ""),
}
"""Name -> text and unit, for figures."""
