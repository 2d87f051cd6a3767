"""Families of smooth functions of the mass, all log-linear: ln f = sum of p_i phi_i(m).

`dijet` is p1 (1 - x)^p2 / x^(p3 + p4 ln x + p5 ln^2 x), x = m / sqrt(s) (CDF, arXiv:0812.4036);
`exponential` the exponential of a polynomial of m, `power` that of a polynomial of ln m, a power
law where it is of first order. Mass and sqrt(s) have one unit, whichever it is.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebvander

from jaxad.errors import UserError
from jaxad.metrics import Array
from jaxad.metrics.regression import NODES

ORDERS = {"dijet": (3, 6), "exponential": (2, 7), "power": (2, 7)}
"""Fewest and most parameters of a family, the normalisation among them."""


class Family(NamedTuple):
    """A smooth function of the mass: `dijet`, `exponential` or `power`.

    n_parameters: the normalisation among them; a polynomial of order n has n + 1. sqrt_s: of the
    dijet function, in the unit of the mass.
    """

    name: str = "dijet"
    n_parameters: int = 4
    sqrt_s: float = 13_000.0


def orders(name: str) -> tuple[int, int]:
    """Fewest and most parameters of a family; refuses a name that there is not."""
    if name not in ORDERS:
        raise UserError(f"spectrum: expected one of {', '.join(ORDERS)}, found {name!r}")
    return ORDERS[name]


def basis(edges: Array, family: Family) -> Array:
    """ln f / p of the family at three points of every bin: (3, K, P), columns orthonormal.

    edges: (K + 1,) of the bins. The points are Gauss and Legendre's.

    Raises:
        UserError: no such family or order; masses that it is not defined at.
    """
    name, n_parameters, sqrt_s = family
    fewest, most = orders(name)
    if not fewest <= n_parameters <= most:
        raise UserError(
            f"spectrum: {name}: expected {fewest} to {most} parameters, found {n_parameters}"
        )
    m = edges[:-1] + np.diff(edges) * (1 + NODES[:, None]) / 2
    between = f"found bins from {edges[0]:.4g} to {edges[-1]:.4g}"
    if name == "dijet":
        x = m / sqrt_s
        if not ((x > 0) & (x < 1)).all():
            raise UserError(
                f"mass: expected values between 0 and sqrt(s) = {sqrt_s:g}, {between}: are "
                "mass and sqrt(s) in the same unit?"
            )
        powers = [np.log(x) ** i for i in range(1, n_parameters - 1)]
        columns = np.stack([np.ones_like(x), np.log1p(-x), *powers], -1)
    else:
        if name == "power":
            if edges[0] <= 0:
                raise UserError(f"mass: expected values above 0 of a power law, {between}")
            m = np.log(m)
        middle, half = (m.max() + m.min()) / 2, np.ptp(m) / 2
        columns = chebvander((m - middle) / half, n_parameters - 1)
    flat = columns.reshape(-1, n_parameters)
    return (np.linalg.qr(flat)[0] * np.sqrt(len(flat))).reshape(columns.shape)
