"""Figures of merit of weighted events: sums of weights for counts, their errors by sums of w^2.

A fraction is p = sum of passing w / sum w, of variance ((1 - p)^2 sum of passing w^2 + p^2 sum of
failing w^2) / (sum w)^2, and what N events say of it N_eff = (sum w)^2 / sum w^2 of equal weight
do. Weights that are all alike say nothing and are taken for none, so that events count once each.
Weights below 0, of simulations with subtractions, are summed as they are: fractions and AUC may
then lie beyond 0 and 1, and fractions need not rise along the score. `jaxad.metrics.roc` and
what stands beside it check scores and come here where weights differ.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.devices.arrays import numbers
from jaxad.errors import UserError
from jaxad.metrics.given import Array, own
from jaxad.storage import blockwise, on_disk


def checked(weight: ArrayLike | None, n: int, name: str) -> Array | None:
    """Weights of `n` events, float64 but on disk, (n,); None: there are none, or all are alike.

    Raises:
        UserError: another shape, values that are not finite, a sum that is not above 0.
    """
    if weight is None:
        return None
    w = own(numbers(weight, f"{name} weights", "(N,)"))
    if on_disk.folder_of(w) is None:
        w = w.astype(np.float64)
    if w.shape != (n,):
        raise UserError(f"{name} weights: expected shape ({n},) of the scores, found {w.shape}")
    if blockwise.count(lambda block: ~np.isfinite(block), w):
        raise UserError(f"{name} weights: expected finite values, found others")
    total = blockwise.total(w)
    if not total > 0:
        raise UserError(
            f"{name} weights: expected a sum above 0, found {total:.4g} of {n} events: these "
            "weights make no sample of it"
        )
    return None if blockwise.are_constant([w]) else w


def effective(weight: ArrayLike) -> float:
    """(sum w)^2 / sum w^2: as many events of equal weight say as much.

    Examples:
        >>> effective([1.0, 1.0, 2.0])
        2.6666666666666665
    """
    w = np.asanyarray(weight)
    return effective_of(blockwise.total(w), squares_of(w))


def effective_of(total: float, squares: float) -> float:
    """`effective` of weights of this sum, whose squares sum to that."""
    return total**2 / squares if squares else 0.0


def squares_of(weight: Array) -> float:
    """The sum of the squares of weights (N,)."""
    return blockwise.total(weight, lambda w: w.astype(np.float64) ** 2)


def summary(weight: ArrayLike) -> dict[str, Any]:
    """What to say of the weights of a class: {"n", "sum", "effective", "negative", a fraction}."""
    w = np.asanyarray(weight)
    found = {"n": len(w), "sum": blockwise.total(w), "effective": effective(w)}
    return found | {"negative": blockwise.count(lambda block: block < 0, w) / len(w)}


def fraction(passed: tuple[float, float], every: tuple[float, float]) -> tuple[float, float]:
    """Share of the weights that passing events have, and its error.

    The error is that of `jaxad.metrics.binomial_error` with the variance above and N_eff for n.

    Args:
        passed: the sum of their weights, and of the squares; every: of all events.
    """
    total, n = every[0], effective_of(*every)
    p = passed[0] / total
    variance = ((1 - p) ** 2 * passed[1] + p**2 * (every[1] - passed[1])) / total**2
    return float(p), float(np.sqrt(max(variance, 0.0) + 0.25 / n**2) / (1 + 1 / n))
