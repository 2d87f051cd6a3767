"""Does the score select a mass? Spectra before and after cuts, and correlations.

A cut that carves a bump into the background's mass spectrum ruins a resonance search; a score that
merely counts particles is no anomaly detector. The Jensen-Shannon divergence (J. Lin, IEEE Trans.
Inf. Theory 37 (1991) 145) is quoted in bits beside what random cuts of the same size give.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from jaxad.metrics import Array, checked_scores, checked_values, threshold_at_fpr, weighted
from jaxad.metrics.ranked import ranked, shares_below
from jaxad.storage import blockwise, on_disk


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> Array:
    """Jensen-Shannon divergence in bits (base 2) of two histograms (..., K): from 0 to 1.

    Examples:
        >>> print(jensen_shannon([1, 1], [2, 2]), jensen_shannon([1, 0], [0, 1]))
        0.0 1.0
    """
    p, q = (np.asarray(v, np.float64) / np.sum(v, -1, keepdims=True) for v in (p, q))
    mean = (p + q) / 2

    def divergence(v: Array) -> Array:
        ratio = np.divide(v, mean, out=np.ones(np.broadcast(v, mean).shape), where=v > 0)
        return (v * np.log2(ratio)).sum(-1)

    return (divergence(p) + divergence(q)) / 2


def chi2_after_cut(passed: Array, total: Array, min_expected: float = 5) -> tuple[float, int]:
    """Pearson chi2 and ndof of passed against failed, bins merged to `min_expected` each."""
    fraction = passed.sum() / total.sum()
    smallest = np.minimum(total * fraction, total * (1 - fraction))
    starts, filled = [0], 0.0
    for i, content in enumerate(smallest):
        if filled >= min_expected and smallest[i:].sum() >= min_expected:
            starts, filled = [*starts, i], 0.0
        filled += content
    passed, total = np.add.reduceat(passed, starts), np.add.reduceat(total, starts)
    expected = total * fraction
    return float(((passed - expected) ** 2 / (expected * (1 - fraction))).sum()), len(starts) - 1


def mass_sculpting(
    mass: ArrayLike,
    score: ArrayLike,
    *,
    efficiencies: Sequence[float] = (0.5, 0.1, 0.01),
    edges: ArrayLike | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """How cuts on the score shape the background's mass spectrum.

    mass: (N,) of background, score: (N,). edges: bin edges (K+1,), by default 40 equal bins over
    the central 99 % of the mass; events outside are left out. For every background efficiency:
    `counts` after the cut; `jsd`, the Jensen-Shannon divergence in bits between the spectra before
    and after; `jsd_noise` and `jsd_noise_95`, its mean and 95 % quantile for random subsets of the
    same size (about (K-1)(1/n - 1/N)/(8 ln 2)): only a jsd above them is sculpting; `chi2`, `ndof`
    and `p_value` of passed against failed events (Pearson's homogeneity test, sparse bins merged).
    """
    one = ranked(score, None, "background")
    mass = checked_values(mass, "mass", one.scores.shape)
    if edges is None:
        edges = np.linspace(*ranked(mass, None, "mass").quantiles((0.005, 0.995)), 41)
    edges = np.asarray(edges, np.float64)
    total = blockwise.histogram(edges, mass)
    rng = np.random.default_rng(seed)
    cuts = {}
    for efficiency in efficiencies:
        threshold = threshold_at_fpr(one, efficiency)["threshold"]
        cut = np.nan if threshold is None else threshold  # nothing passes where there is none
        passed = blockwise.histogram(edges, mass, one.rows, of=lambda m, s, c=cut: m[s >= c])
        if not 0 < passed.sum() < total.sum():
            reason = f"no cut leaves a part of the {len(mass)} background events"
            cuts[f"{efficiency:g}"] = {"counts": passed.tolist(), "jsd": None, "reason": reason}
            continue
        noise = rng.multivariate_hypergeometric(total, passed.sum(), 500, method="marginals")
        noise_jsd = jensen_shannon(noise, total)
        chi2, ndof = chi2_after_cut(passed, total)
        cuts[f"{efficiency:g}"] = {
            "counts": passed.tolist(),
            "threshold": threshold,
            "jsd": float(jensen_shannon(passed, total)),
            "jsd_noise": float(noise_jsd.mean()),
            "jsd_noise_95": float(np.quantile(noise_jsd, 0.95)),
            "chi2": chi2,
            "ndof": ndof,
            "p_value": float(chdtrc(ndof, chi2)) if ndof else None,
            "reason": None,
        }
    return {"edges": edges.tolist(), "counts": total.tolist(), "cuts": cuts}


def correlation(
    score: ArrayLike, observable: ArrayLike, weight: ArrayLike | None = None
) -> dict[str, Any]:
    """Pearson's and Spearman's correlation of two (N,) arrays; None where one is constant.

    weight: (N,) of the events; with some below 0 it may lie beyond -1 and 1.

    Examples:
        >>> correlation([1, 2, 3, 4], [1, 4, 9, 16])["spearman"]
        1.0
    """
    x = checked_scores(score, "score")
    y = checked_values(observable, "observable", x.shape)
    w = weighted.checked(weight, len(x), "background")
    return {
        "pearson": _coefficient(x, y, w),
        "spearman": _coefficient(shares_below(x, w), shares_below(y, w), w),
        "n": len(x),
    }


def _coefficient(x: Array, y: Array, weight: Array | None) -> float | None:
    """Pearson's correlation of (N,) arrays; None where one is constant."""
    if len(x) < 2 or any(blockwise.are_constant([values]) for values in (x, y)):
        return None
    columns = [x, y] if weight is None else [x, y, weight]

    def blocks() -> Iterator[Array]:
        """Weights and the two numbers, (3, n)."""
        for a, b, *w in on_disk.blocks(*columns):
            yield np.stack([w[0] if w else np.ones(len(a)), a, b], dtype=np.float64)

    sums = sum(np.array([w.sum(), (w * a).sum(), (w * b).sum()]) for w, a, b in blocks())
    means, products = sums[1:] / sums[0], np.zeros((2, 2))
    for w, *pair in blocks():
        d = np.stack(pair) - means[:, None]
        products += [[(w * a * b).sum() for a in d] for b in d]
    spread = products[0, 0] * products[1, 1]
    if not spread > 0:
        return None
    value = float(products[0, 1] / np.sqrt(spread))
    return float(np.clip(value, -1, 1)) if weight is None else value
