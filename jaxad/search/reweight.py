"""A second look at the template: where the sidebands say that the density is wrong.

A classifier of sideband data against draws of the density at the same masses, on features and mass,
gives weights w(x, m) = p / (1 - p), which are read off inside the window (`jaxad.search`, after
arXiv:1907.08209). They never see the window's data, which they would absorb a signal of. With them
the p-value of an event is a weighted conformal one (Tibshirani et al., arXiv:1904.06019), and the
template counts for (sum w)^2 / sum w^2 rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtri
from sklearn.ensemble import HistGradientBoostingClassifier

from jaxad.data.dataset import Rows
from jaxad.metrics import counting

MAX_ROWS = 100_000  # of each class
LARGEST = 10.0
"""No weight is more than this, or less than one over it."""

Weights = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(x (n, F), m (n,) [GeV]) -> (n,) weights of mean near 1."""


def fit(data: Rows, draws: Rows, seed: int) -> Weights:
    """Weights from sideband data and draws of a density there, both "x" and "m"."""
    rng = np.random.default_rng([seed, 3])
    parts = []
    for rows in (draws, data):
        chosen = rng.permutation(len(rows["m"]))[:MAX_ROWS]
        parts.append(np.column_stack([rows["x"][chosen], rows["m"][chosen]]))
    y = np.repeat([0, 1], [len(part) for part in parts])
    balance = np.repeat([1 / len(part) for part in parts], [len(part) for part in parts])
    model = HistGradientBoostingClassifier(
        learning_rate=0.05, early_stopping=True, validation_fraction=0.3, random_state=seed
    )
    model.fit(np.concatenate(parts), y, sample_weight=balance * len(y) / 2)

    def weights(x: np.ndarray, m: np.ndarray) -> np.ndarray:
        p = model.predict_proba(np.column_stack([x, m]))[:, 1]
        return np.clip(p / (1 - p), 1 / LARGEST, LARGEST)

    return weights


def conformal(
    scores: np.ndarray, template: np.ndarray, w: np.ndarray, w_template: np.ndarray
) -> np.ndarray:
    """Weighted u (N,) of one fold's data, given its template."""
    return counting.conformal_u(scores, template, w, w_template)


def count(u: np.ndarray, n_effective: np.ndarray, efficiency: float) -> dict[str, Any]:
    """The count by weighted u, and its nominal significance.

    Args:
        u: (N,) of all data that are scored; n_effective: (K,) of the folds' templates.
    """
    n = int((u <= efficiency).sum())
    rows = np.floor(n_effective).astype(int)
    p = float(counting.beta_binomial_p(n, len(u), rows, efficiency))
    return {"n": n, "b": efficiency * len(u), "p_nominal": p, "z": float(-ndtri(p))}
