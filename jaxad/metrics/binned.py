"""The flagged fraction in bins of an observable: deciles, or the values of a discrete one."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from jaxad.metrics.given import Array, checked_values
from jaxad.metrics.ranked import binomial_error
from jaxad.metrics.sculpting import chi2_after_cut

N_BINS = 10


def edges_of(observable: ArrayLike, n_bins: int = N_BINS) -> Array:
    """Inner edges (K,) of at most K + 1 = `n_bins` bins of equal content; bins are [low, high).

    A discrete observable, whose quantiles coincide, gets fewer.

    Examples:
        >>> print(edges_of([1, 1, 1, 1, 2, 2, 3, 3], n_bins=4))
        [2. 3.]
    """
    x = checked_values(observable, "observable")
    levels = np.arange(1, n_bins) / n_bins
    # Of the values themselves: what is interpolated between two lies in neither.
    edges = np.unique(np.quantile(x, levels, method="higher"))
    return edges[edges > x.min()]


def fractions(flagged: ArrayLike, observable: ArrayLike, edges: ArrayLike) -> dict[str, Any]:
    """Flagged fraction in bins of an observable, and whether it is flat.

    Args:
        flagged: (N,) bool; observable: (N,).
        edges: inner edges (K,), as of `edges_of`, so that the first and the last bin are open.

    Returns:
        "low", "high" (the smallest and largest value in the bin), "mean", "n", "n_flagged",
        "fraction", "error" (binomial), each of the bins that hold events; "chi2", "ndof" and
        "p_value" of flagged against others (Pearson's test of homogeneity, sparse bins merged; the
        p is None where a single bin is left).
    """
    x = checked_values(observable, "observable")
    passed = np.asarray(flagged, bool)
    place = np.searchsorted(np.asarray(edges, np.float64), x, side="right")
    filled = np.unique(place)
    n = np.array([np.sum(place == b) for b in filled])
    k = np.array([np.sum(passed[place == b]) for b in filled])
    chi2, ndof = chi2_after_cut(k, n) if 0 < k.sum() < n.sum() else (0.0, 0)
    return {
        "low": [float(x[place == b].min()) for b in filled],
        "high": [float(x[place == b].max()) for b in filled],
        "mean": [float(x[place == b].mean()) for b in filled],
        "n": n.tolist(),
        "n_flagged": k.tolist(),
        "fraction": (k / n).tolist(),
        "error": np.atleast_1d(binomial_error(k, n)).tolist(),
        "chi2": chi2,
        "ndof": ndof,
        "p_value": float(chdtrc(ndof, chi2)) if ndof else None,
    }
