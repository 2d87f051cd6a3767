"""Weights of events: what one event of the likelihood is, and how much each of the data counts.

Sums of weights over sum(w^2) / sum(w) have the mean and the variance of a Poisson count (G. Bohm
and G. Zech, NIM A 748 (2014) 1): a search counts in this unit, and multiplies by it what it
reports. Events of equal weights are counted one by one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxad.metrics.counting import weight_scale


def event_weight(weight: np.ndarray | None) -> float:
    """One event of the likelihood: sum(w^2) / sum(w) of weights (N,) > 0; 1 where there are none.

    Examples:
        >>> print(event_weight(np.array([0.5, 1.5])))
        1.25
    """
    if weight is None:
        return 1.0
    if not differ(weight):
        return float(weight[0])
    w = weight.astype(np.float64)
    return float(weight_scale(w.sum(), (w**2).sum()))


def said(found: Mapping[str, Any]) -> str:
    """That the numbers of `search.json` are sums of weights; "" where events count once."""
    units = [next(iter(window["cuts"].values()))["event_weight"] for window in found["windows"]]
    if all(unit == 1 for unit in units):
        return ""
    return "weighted, all numbers are sums of weights: one event of the likelihood is " + ", ".join(
        f"{unit:.4g}" for unit in units
    )


def differ(weight: np.ndarray | None) -> bool:
    """Whether some events count more than others."""
    return weight is not None and bool((weight != weight[0]).any())


def relative(weight: np.ndarray) -> np.ndarray:
    """Weights (N,) float64 over their mean."""
    return weight / weight.mean(dtype=np.float64)
