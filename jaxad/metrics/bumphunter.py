"""BumpHunter: the least likely excess over a reference spectrum, in windows of all widths.

Choudalakis, arXiv:1101.0390, as pybumphunter does it: every window of adjacent bins has the Poisson
probability of at least its counts, given the reference scaled to the bins outside the window. The
least of them, T, is compared with that of pseudo-experiments scanned in the same way. The reference
is taken as exact: a cross-check of a search, not its significance.

With the scale taken as exact too, a window with a share f of all events has excesses 1/sqrt(1 - f)
times as wide as its p-value says; those with most of the events then rule T, and the global
p-value, though right, is blind to bumps elsewhere. Otherwise p is binomial, of the counts in the
window given all: p-values of the windows are right, and T is fair to all of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, gammainc, ndtri

from jaxad.errors import UserError
from jaxad.metrics import Array, checked_values

_ROWS = 1024  # spectra that are scanned together: their arrays stay in the cache
_LEAST = 1e-300


class Bump(NamedTuple):
    """The least likely excess of each of T spectra."""

    p_value: Array  # (T,) of its window alone, at least 1e-300; 1 where no window has an excess
    first: Array  # (T,) its first bin
    width: Array  # (T,) its number of bins
    excess: Array  # (T,) events above the scaled reference


def scan(counts: Array, reference: Array, widths: Sequence[int], exact_scale: bool = True) -> Bump:
    """The least likely window of each spectrum.

    counts: (T, K) whole numbers; reference: (K,) or, one of each spectrum, (T, K), in any
    normalisation; widths: numbers of bins below K. Of equal windows the first counts.
    """
    reference = np.broadcast_to(reference, counts.shape)
    parts = [
        _scan(counts[i : i + _ROWS], reference[i : i + _ROWS], widths, exact_scale)
        for i in range(0, len(counts), _ROWS)
    ]
    return Bump(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _windows(values: Array, width: int) -> Array:
    """Sums of `width` adjacent bins (T, K + 1 - width)."""
    total = np.pad(values.cumsum(1), ((0, 0), (1, 0)))
    return total[:, width:] - total[:, :-width]


def _scan(counts: Array, reference: Array, widths: Sequence[int], exact_scale: bool) -> Bump:
    rows = np.arange(len(counts))
    best = Bump(np.full(len(counts), np.inf), *np.zeros((2, len(counts)), int), 0.0 * rows)
    for width in widths:
        n, share = (_windows(values, width) for values in (counts, reference))
        share = share / reference.sum(1, keepdims=True)
        total = np.broadcast_to(counts.sum(1, keepdims=True), n.shape)
        b = (total - n) * share / (1 - share)
        p = np.ones(n.shape)
        excess = n > b
        if exact_scale:
            tail = gammainc(n[excess], b[excess])
        else:
            tail = betainc(n[excess], (total - n + 1)[excess], share[excess])
        p[excess] = np.maximum(tail, _LEAST)
        first = p.argmin(1)
        lowest = p[rows, first]
        here = Bump(lowest, first, np.full(len(rows), width), (n - b)[rows, first])
        better = lowest < best.p_value
        best = Bump(*(np.where(better, new, old) for new, old in zip(here, best, strict=True)))
    return best


def bump_hunter(
    counts: ArrayLike,
    reference: ArrayLike,
    edges: ArrayLike,
    *,
    widths: Sequence[int] | None = None,
    exact_scale: bool = True,
    n_toys: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """The largest bump of a spectrum, and its global p-value by pseudo-experiments.

    counts: (K,) whole numbers; reference: (K,) > 0 background in any normalisation; edges: (K + 1,)
    of the bins; widths: of the windows in bins, by default 1 to K / 2; exact_scale: as pybumphunter
    has it, or binomial p-values, see above. The toys are Poisson counts
    of the reference, scaled to the number of the data. Returns a dict: "low" and "high" of the
    window, "observed", "excess" and "p_local" there, "p_global" = (1 + exceedances) / (1 + n_toys)
    with "z_global", None at p = 1, "exceedances" and "n_toys".

    Examples:
        >>> reference = 1000 * np.exp(-np.arange(20) / 4)
        >>> counts = np.round(reference)
        >>> counts[8:10] += 50
        >>> bump = bump_hunter(counts, reference, range(21), n_toys=500, exact_scale=False)
        >>> print(bump["low"], bump["high"], bump["exceedances"])
        8.0 10.0 0

    Raises:
        UserError: other shapes, counts that are no whole numbers, bins without a reference.
    """
    counts, reference, edges = (
        checked_values(values, name)
        for values, name in ((counts, "counts"), (reference, "reference"), (edges, "edges"))
    )
    n_bins = len(counts)
    widths = list(range(1, n_bins // 2 + 1)) if widths is None else list(widths)
    if len(reference) != n_bins or len(edges) != n_bins + 1:
        raise UserError(
            f"BumpHunter: expected as many bins of the reference as of the counts and one edge "
            f"more, found {len(reference)}, {n_bins} and {len(edges)} edges"
        )
    if not widths or min(widths) < 1 or max(widths) >= n_bins:
        raise UserError(
            f"BumpHunter: expected windows of 1 to {n_bins - 1} bins, found {widths or 'none'}"
        )
    if (counts < 0).any() or (counts != np.round(counts)).any() or not counts.any():
        raise UserError(
            "BumpHunter: expected counts of events, found others: divide sums of weights by "
            "sum(w^2) / sum(w) and round them"
        )
    if not (reference > 0).all():
        bad = int(np.argmin(reference))
        raise UserError(
            f"BumpHunter: expected a reference above 0 in every bin, found {reference[bad]:g} from "
            f"{edges[bad]:g} to {edges[bad + 1]:g}: widen the bins or narrow the range"
        )
    reference = reference * (counts.sum() / reference.sum())
    toys = np.random.default_rng(seed).poisson(reference, (n_toys, n_bins)).astype(np.float64)
    bump = scan(np.concatenate([counts[None], toys]), reference, widths, exact_scale)
    first, width = int(bump.first[0]), int(bump.width[0])
    exceedances = int((bump.p_value[1:] <= bump.p_value[0]).sum())
    p_global = (1 + exceedances) / (1 + n_toys)
    return {
        "low": float(edges[first]),
        "high": float(edges[first + width]),
        "observed": int(counts[first : first + width].sum()),
        "excess": float(bump.excess[0]),
        "p_local": float(bump.p_value[0]),
        "p_global": p_global,
        "z_global": float(-ndtri(p_global)) if p_global < 1 else None,
        "exceedances": exceedances,
        "n_toys": n_toys,
    }
