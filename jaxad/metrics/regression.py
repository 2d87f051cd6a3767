"""Poisson regression of log-linear densities in bins, of thousands of spectra together.

ln f(m) = sum of p_i phi_i(m); the events of a bin are the mean of f at Gauss and Legendre's three
points of it, which `basis` (3, K, P) holds the phi_i of. The Poisson likelihood is maximised by
Fisher scoring with step halving.
"""

import numpy as np
from scipy.special import xlogy

from jaxad.metrics import Array

NODES, WEIGHTS = np.polynomial.legendre.leggauss(3)
WEIGHTS = WEIGHTS / 2
_ROWS = 2048  # spectra that are fitted together: their arrays stay in the cache


def expected(basis: Array, parameters: Array) -> tuple[Array, Array]:
    """Events in each bin (..., K), the density averaged over it, and the gradient (..., K, P).

    basis: (3, K, P), parameters: (..., P).
    """
    density = WEIGHTS[:, None] * np.exp(_log_density(basis, parameters))
    return density.sum(-2), np.einsum("...qk,qkp->...kp", density, basis)


def _log_density(basis: Array, parameters: Array) -> Array:
    flat = parameters @ basis.reshape(-1, basis.shape[-1]).T
    return np.clip(flat, -500.0, 50.0).reshape(*parameters.shape[:-1], *basis.shape[:2])


def deviance(counts: Array, expected: Array) -> Array:
    """-2 ln of the Poisson likelihood ratio to the saturated model (Baker and Cousins, 1984).

    counts, expected: (..., K). Returns the part of every bin, (..., K).
    """
    return 2 * (expected - counts + xlogy(counts, counts) - xlogy(counts, expected))


def _inverse(matrices: Array) -> Array:
    """Inverses of (T, P, P); NaN where there is none."""
    try:
        return np.linalg.inv(matrices)
    except np.linalg.LinAlgError:
        regular = np.linalg.cond(matrices) < 1 / np.finfo(float).eps
        identity = np.eye(matrices.shape[-1])
        regular = regular[:, None, None]
        return np.where(regular, np.linalg.inv(np.where(regular, matrices, identity)), np.nan)


def fit(basis: Array, counts: Array) -> tuple[Array, Array]:
    """Maxima of the Poisson likelihoods of spectra.

    basis: (3, K, P); counts: (T, K) >= 0, whole numbers or not. Returns the parameters (T, P) and
    the inverse of Fisher's information (T, P, P); NaN where the counts do not fix them.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [_fit(basis, counts[i : i + _ROWS]) for i in range(0, len(counts), _ROWS)]
    parameters, inverse = (np.concatenate(part) for part in zip(*parts, strict=True))
    return parameters, inverse


def _fit(basis: Array, counts: Array) -> tuple[Array, Array]:
    parameters = np.log(counts + 0.5) @ np.linalg.pinv(basis.mean(0)).T
    inverse = np.full((*parameters.shape, parameters.shape[1]), np.nan)
    now = deviance(counts, expected(basis, parameters)[0]).sum(-1)
    rows = np.arange(len(counts))  # that have not converged
    for _ in range(100):
        p, c = parameters[rows], counts[rows]
        mean, gradient = expected(basis, p)
        inverse[rows] = _inverse(np.swapaxes(gradient / mean[..., None], 1, 2) @ gradient)
        slope = np.einsum("tkp,tk->tp", gradient, c / mean - 1)
        step = np.einsum("tpr,tr->tp", inverse[rows], slope)
        after, worse = np.empty(len(rows)), np.arange(len(rows))
        for _ in range(60):
            mean = WEIGHTS @ np.exp(_log_density(basis, p[worse] + step[worse]))
            after[worse] = deviance(c[worse], mean).sum(-1)
            worse = worse[after[worse] > now[rows[worse]] + 1e-9]
            if not len(worse):
                break
            step[worse] /= 2
        parameters[rows], now[rows] = p + step, after
        change = np.abs(step @ basis.reshape(-1, basis.shape[-1]).T).max(-1)
        rows = rows[change >= 1e-9]  # and no NaN
        if not len(rows):
            break
    return parameters, inverse
