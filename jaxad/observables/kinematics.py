"""Jet kinematics on padded particle arrays: coordinates, four-vector sums, masses, relative axes.

Two layouts, any number of leading axes: "ptetaphi" (..., n, 3) = (pT [GeV], eta, phi) and
"epxpypz" (..., n, 4) = (E, px, py, pz) [GeV]; padding is a row of zeros. Everything is pure, works
under jit, vmap and grad, keeps float32 and float64 and computes with others (integers, half
precision) in float32, for which it is written: masses
come from E - p without the cancellation of E^2 - p^2, and padding gives zeros, not NaN gradients.
The relative coordinates are those of Heimel et al. (arXiv:1808.08979) and Farina et al.
(arXiv:1808.08992).
"""

import jax
import jax.numpy as jnp
from jax import Array

from jaxad.errors import UserError
from jaxad.observables.momenta import COLUMNS


def as_floating(x: Array) -> Array:
    """`x` in float32 or float64; other numbers, whose sums and squares may overflow, in float32."""
    return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


def with_columns(p: Array, *columns: int) -> Array:
    """The particles (..., k), k being one of `columns`, in float32 or float64.

    Raises:
        UserError: no array, or another number of columns, which JAX would not notice.
    """
    shape = getattr(p, "shape", type(p).__name__)
    if not shape or shape[-1] not in columns:
        expected = " or ".join(f"(..., {n}) = {COLUMNS[n]}" for n in columns)
        raise UserError(f"particles: expected shape {expected}, found {shape}")
    return as_floating(p)


def wrap_phi(phi: Array) -> Array:
    """Azimuth (...) in radians moved to [-pi, pi); values already inside are unchanged.

    Examples:
        >>> round(float(wrap_phi(jnp.float32(4.0))), 3)
        -2.283
    """
    return phi - 2 * jnp.pi * jnp.floor((phi + jnp.pi) / (2 * jnp.pi))


def with_principal_phi(x: Array) -> Array:
    """(..., 3) (pT, eta, phi) with phi moved to [-pi, pi]; one that is there keeps its bits.

    Examples:
        >>> x = with_principal_phi(jnp.float32([[5, 1, -3], [5, 1, 6.82]]))
        >>> [round(float(phi), 3) for phi in x[:, 2]]
        [-3.0, 0.537]
    """
    phi = x[..., 2:]
    phi = jnp.where(jnp.abs(phi) > jnp.pi, wrap_phi(phi), phi)
    return jnp.concatenate([x[..., :2], phi], axis=-1)


@jax.jit
def epxpypz_to_ptetaphi(p: Array) -> Array:
    """(..., 4) (E, px, py, pz) [GeV] to (..., 3) (pT [GeV], pseudorapidity, phi).

    Rows with pT = 0, padding among them, become zeros.
    """
    p = with_columns(p, 4)
    pt, phi = _pt_phi(p)
    eta = jnp.arcsinh(p[..., 3] / jnp.where(pt > 0, pt, 1))
    return jnp.stack([pt, jnp.where(pt > 0, eta, 0), phi], axis=-1)


@jax.jit
def epxpypz_to_ptyphi(p: Array) -> Array:
    """(..., 4) (E, px, py, pz) [GeV] to (..., 3) (pT [GeV], rapidity, phi).

    Rows with pT = 0, padding among them, become zeros. The transverse mass sqrt(E^2 - pz^2) is
    taken to be at least pT, so that rounding cannot make it imaginary.
    """
    p = with_columns(p, 4)
    pt, phi = _pt_phi(p)
    transverse_mass = _sqrt(jnp.maximum((p[..., 0] - p[..., 3]) * (p[..., 0] + p[..., 3]), pt**2))
    y = jnp.arcsinh(p[..., 3] / jnp.where(pt > 0, transverse_mass, 1))
    return jnp.stack([pt, jnp.where(pt > 0, y, 0), phi], axis=-1)


@jax.jit
def ptetaphi_to_epxpypz(p: Array, mass: Array | float = 0.0) -> Array:
    """(..., 3) (pT [GeV], eta, phi) to (..., 4) (E, px, py, pz) [GeV] for particles of one `mass`.

    `mass` [GeV] broadcasts against (...). Rows with pT = 0 become zeros.

    Examples:
        >>> print(ptetaphi_to_epxpypz(jnp.array([3.0, 0.0, 0.0]), mass=4.0))
        [5. 3. 0. 0.]
    """
    p = with_columns(p, 3)
    pt, eta, phi = p[..., 0], p[..., 1], p[..., 2]
    energy = _sqrt((pt * jnp.cosh(eta)) ** 2 + jnp.asarray(mass, p.dtype) ** 2)
    p4 = jnp.stack([energy, pt * jnp.cos(phi), pt * jnp.sin(phi), pt * jnp.sinh(eta)], axis=-1)
    return jnp.where(pt[..., None] > 0, p4, 0)


@jax.jit
def jet_p4(particles: Array) -> Array:
    """Four-vector sum (..., 4) [GeV] of particles (..., n, 3 or 4); massless if 3 columns."""
    particles = with_columns(particles, 3, 4)
    p4 = ptetaphi_to_epxpypz(particles) if particles.shape[-1] == 3 else particles
    return p4.sum(axis=-2)


@jax.jit
def jet_ptetaphi(particles: Array) -> Array:
    """Transverse momentum [GeV], pseudorapidity and phi (..., 3) of the four-vector sum."""
    return epxpypz_to_ptetaphi(jet_p4(particles))


@jax.jit
def jet_mass(particles: Array) -> Array:
    """Invariant mass (...,) [GeV] of the four-vector sum of particles (..., n, 3 or 4).

    m^2 = (E - P)(E + P), where E - P is a sum of terms that are small one by one: for massless
    particles pT [2 sinh^2(d_eta/2) + 2 sin^2(d_phi/2)] in the frame boosted along the beam to the
    jet's axis, for four-vectors E_i - p_i . n with n the jet's direction. The mass of several jets
    (dijet mass) is the same function of their four-vectors stacked on axis -2.

    Examples:
        >>> jet = jnp.array([[[100.0, 0.4, 0.0], [100.0, -0.4, 0.0], [0.0, 0.0, 0.0]]])
        >>> round(float(jet_mass(jet)[0]), 1)
        82.2
    """
    particles = with_columns(particles, 3, 4)
    massless = particles.shape[-1] == 3
    return _sqrt(_mass2_massless(particles) if massless else _mass2(particles))


def multiplicity(particles: Array) -> Array:
    """Number of particles (...,) that are not padding: rows with positive pT (or energy).

    Examples:
        >>> print(multiplicity(jnp.array([[[100.0, 0.4, 0.0], [0.0, 0.0, 0.0]]])))
        [1.]
    """
    particles = with_columns(particles, 3, 4)
    return (particles[..., 0] > 0).sum(axis=-1).astype(particles.dtype)


@jax.jit
def relative(particles: Array) -> Array:
    """Coordinates relative to the jet: (pT / pT_jet, eta - eta_jet, wrapped phi - phi_jet).

    `particles` and the result are (..., n, 3); the jet is the four-vector sum. Padding, which
    would land at (-eta_jet, -phi_jet), stays zero.
    """
    particles = with_columns(particles, 3)
    jet = jet_ptetaphi(particles)[..., None, :]
    fraction = particles[..., 0] / jnp.where(jet[..., 0] > 0, jet[..., 0], 1)
    eta = particles[..., 1] - jet[..., 1]
    phi = wrap_phi(particles[..., 2] - jet[..., 2])
    return jnp.where(
        particles[..., :1] > 0, jnp.stack([fraction, eta, phi], axis=-1), jnp.zeros_like(particles)
    )


def _sqrt(x: Array) -> Array:
    """Square root whose value and gradient are 0 for x <= 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)


def _pt_phi(p: Array) -> tuple[Array, Array]:
    """pT and phi (...,) of four-vectors (..., 4); phi is 0, with zero gradient, where pT is 0."""
    pt = _sqrt(p[..., 1] ** 2 + p[..., 2] ** 2)
    return pt, jnp.where(pt > 0, jnp.arctan2(p[..., 2], jnp.where(pt > 0, p[..., 1], 1)), 0)


def _mass2_massless(particles: Array) -> Array:
    pt, eta, phi = particles[..., 0], particles[..., 1], particles[..., 2]
    total = pt.sum(axis=-1, keepdims=True)
    centre_eta = (pt * eta).sum(axis=-1, keepdims=True) / jnp.where(total > 0, total, 1)
    sum_x, sum_y = (pt * jnp.cos(phi)).sum(axis=-1), (pt * jnp.sin(phi)).sum(axis=-1)
    centre_phi = jnp.arctan2(sum_y, jnp.where(sum_x**2 + sum_y**2 > 0, sum_x, 1))[..., None]
    d_eta, d_phi = eta - centre_eta, phi - centre_phi
    e_minus_x = (2 * pt * (jnp.sinh(d_eta / 2) ** 2 + jnp.sin(d_phi / 2) ** 2)).sum(axis=-1)
    e_plus_x = e_minus_x + (2 * pt * jnp.cos(d_phi)).sum(axis=-1)
    y, z = (pt * jnp.sin(d_phi)).sum(axis=-1), (pt * jnp.sinh(d_eta)).sum(axis=-1)
    return e_minus_x * e_plus_x - y**2 - z**2


def _mass2(particles: Array) -> Array:
    energy, p = particles[..., 0], particles[..., 1:]
    jet_p = p.sum(axis=-2)
    jet_momentum = _sqrt((jet_p**2).sum(axis=-1))
    axis = jet_p / jnp.where(jet_momentum > 0, jet_momentum, 1)[..., None]
    axis = jnp.broadcast_to(axis[..., None, :], p.shape)
    momentum = _sqrt((p**2).sum(axis=-1))
    along = (p * axis).sum(axis=-1)
    # |p| - p.n = |p x n|^2 / (|p| + p.n) keeps its digits for particles near the axis.
    forward = along > 0
    across2 = (jnp.cross(p, axis) ** 2).sum(axis=-1)
    p_minus_along = jnp.where(
        forward, across2 / jnp.where(forward, momentum + along, 1), momentum - along
    )
    e_minus_p = (energy - momentum + p_minus_along).sum(axis=-1)
    return e_minus_p * (energy.sum(axis=-1) + jet_momentum)
