"""How far a score is from the one that it stands for: drift and overlap.

AUC and TPR do not tell a network that was rounded from the one that was trained; these do.
"""

import numpy as np
from numpy.typing import ArrayLike

from jaxad.errors import UserError
from jaxad.metrics.given import checked_scores


def drift(scores: ArrayLike, reference: ArrayLike) -> float:
    """Median of |ln score - ln reference|, (n,) positive scores of the same events.

    A score of 0 is infinitely far from any other.

    Raises:
        UserError: not as many, or negative scores.

    Examples:
        >>> round(drift([1.1, 2.2, 4.0], [1.0, 2.0, 4.0]), 3)
        0.095
    """
    a, b = _checked(scores, reference)
    if min(a.min(), b.min()) < 0:
        raise UserError("drift: expected scores of 0 and above, which have a logarithm")
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(np.log(a) - np.log(b))
    return float(np.median(np.where(a == b, 0.0, distance)))


def overlap(scores: ArrayLike, reference: ArrayLike, share: float = 0.01) -> float:
    """Share of the highest events (n,) by `reference` that are among as many by `scores`.

    Where scores tie at the edge, each of those events is in with the same probability.

    Args:
        share: of all events; one event at the least.

    Raises:
        UserError: not as many scores.

    Examples:
        >>> overlap([1, 2, 3, 3], [1, 2, 3, 4], share=0.25)
        0.5
    """
    a, b = _checked(scores, reference)
    k = max(round(share * len(a)), 1)
    highest = np.argsort(b, kind="stable")[-k:]
    edge = np.sort(a)[-k]
    free = k - np.sum(a > edge)
    inside = np.sum(a[highest] > edge) + np.sum(a[highest] == edge) * free / np.sum(a == edge)
    return float(inside / k)


def _checked(scores: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a = checked_scores(scores, "scores").astype(np.float64)
    b = checked_scores(reference, "reference").astype(np.float64)
    if a.shape != b.shape:
        raise UserError(f"reference: expected scores of the same {a.shape} events, found {b.shape}")
    return a, b
