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
    """Events in each bin (T, K), the density averaged over it, and the gradient (T, P, K).

    basis: (3, K, P), parameters: (T, P).
    """
    density = _density(basis, parameters)
    return density.sum(1), _gradient(basis, density)


def deviance(counts: Array, expected: Array) -> Array:
    """-2 ln of the Poisson likelihood ratio to the saturated model (Baker and Cousins, 1984).

    counts, expected: (..., K). Returns the part of every bin, (..., K).
    """
    return 2 * (expected - counts + xlogy(counts, counts) - xlogy(counts, expected))


def fit(basis: Array, counts: Array, start: Array | None = None) -> tuple[Array, Array]:
    """Maxima of the Poisson likelihoods of spectra.

    basis: (3, K, P); counts: (T, K) >= 0, whole numbers or not; start: (P,) parameters to start
    from, by default those of a straight fit to ln(counts + 1/2). Returns the parameters (T, P) and
    the inverse of Fisher's information (T, P, P); NaN where the counts do not fix them.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [_fit(basis, counts[i : i + _ROWS], start) for i in range(0, len(counts), _ROWS)]
    parameters, inverse = (np.concatenate(part) for part in zip(*parts, strict=True))
    return parameters, inverse


def _density(basis: Array, parameters: Array) -> Array:
    """Of the three points of every bin with their weights, (T, 3, K)."""
    flat = parameters @ basis.reshape(-1, basis.shape[-1]).T
    np.exp(np.clip(flat, -500.0, 50.0, out=flat), out=flat)
    return flat.reshape(len(parameters), *basis.shape[:2]) * WEIGHTS[:, None]


def _gradient(basis: Array, density: Array) -> Array:
    return sum(density[:, q, None] * np.ascontiguousarray(basis[q].T) for q in range(len(basis)))


def _loss(counts: Array, mean: Array) -> Array:
    """-ln of the likelihood (T,) without its constant."""
    return mean.sum(-1) - np.einsum("tk,tk->t", counts, np.log(mean))


def _inverse(matrices: Array) -> Array:
    """Inverses of (T, P, P); NaN where there is none."""
    try:
        return np.linalg.inv(matrices)
    except np.linalg.LinAlgError:
        regular = np.linalg.cond(matrices) < 1 / np.finfo(float).eps
        regular = regular[:, None, None]
        identity = np.eye(matrices.shape[-1])
        return np.where(regular, np.linalg.inv(np.where(regular, matrices, identity)), np.nan)


def _fit(basis: Array, counts: Array, start: Array | None) -> tuple[Array, Array]:
    if start is None:
        parameters = np.log(counts + 0.5) @ np.linalg.pinv(basis.mean(0)).T
    else:
        parameters = np.tile(start, (len(counts), 1))
    inverse = np.full((*parameters.shape, parameters.shape[1]), np.nan)
    rows, p, c = np.arange(len(counts)), parameters, counts  # that have not converged
    density = _density(basis, p)
    mean = density.sum(1)
    loss = _loss(c, mean)
    flat = basis.reshape(-1, basis.shape[-1]).T
    for _ in range(100):
        gradient = _gradient(basis, density)
        over_mean = gradient / mean[:, None]
        covariance = _inverse(over_mean @ np.swapaxes(gradient, 1, 2))
        inverse[rows] = covariance
        step = (covariance @ (over_mean @ (c - mean)[..., None]))[..., 0]
        density = _density(basis, p + step)
        mean = density.sum(1)
        new = _loss(c, mean)
        limit = loss + 1e-9 + 1e-12 * np.abs(loss)  # above its rounding
        worse = np.flatnonzero(new > limit)
        for _ in range(60):
            if not len(worse):
                break
            step[worse] /= 2
            density[worse] = _density(basis, p[worse] + step[worse])
            mean[worse] = density[worse].sum(1)
            new[worse] = _loss(c[worse], mean[worse])
            worse = worse[new[worse] > limit[worse]]
        p = p + step
        parameters[rows] = p
        going = np.abs(step @ flat).max(-1) >= 1e-9  # NaN does not
        if not going.any():
            break
        rows, p, c = rows[going], p[going], c[going]
        density, mean, loss = density[going], mean[going], new[going]
    return parameters, inverse
