"""A second look at the template: where the sidebands say that the density is wrong.

A classifier of sideband data against draws of the density at the same masses, on features and mass,
gives weights w(x, m) = p / (1 - p), which are read off inside the window (`jaxad.search`, after
arXiv:1907.08209). Draws are already corrected by the same events (`densities.corrected`): what is
seen here is what that left over. The weights never see the window's data, which they would absorb
a signal of. With them the p-value of an event is a weighted conformal one (Tibshirani et al.,
arXiv:1904.06019), and the template counts for (sum w)^2 / sum w^2 rows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from jaxad.data.dataset import Rows
from jaxad.errors import UserError
from jaxad.metrics import counting
from jaxad.search.pool import COUNTING, DATA, Pool
from jaxad.search.toys import Observed
from jaxad.training import streams
from jaxad.training.streams import Purpose

MAX_ROWS = 100_000  # of each class
LARGEST = 10.0
"""No weight is more than this, or less than one over it."""

Weights = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(x (n, F), m (n,) [GeV]) -> (n,) weights of mean near 1."""


def fit(data: Rows, draws: Rows, seed: int) -> Weights:
    """Weights from sideband data and draws of a density there, "x", "m" and perhaps "weight"."""
    rng = streams.generator(seed, Purpose.COMPARED, "weights of the template")
    parts, each = [], []
    for rows in (draws, data):
        chosen = rng.permutation(len(rows["m"]))[:MAX_ROWS]
        parts.append(np.column_stack([rows["x"][chosen], rows["m"][chosen]]))
        each.append(rows["weight"][chosen] if "weight" in rows else np.ones(len(chosen)))
    y = np.repeat([0, 1], [len(part) for part in parts])
    balance = np.concatenate([weight / weight.sum() for weight in each])
    model = HistGradientBoostingClassifier(
        learning_rate=0.05, early_stopping=True, validation_fraction=0.3, random_state=seed
    )
    with threadpool_limits(1, user_api="openmp"):  # threads that share a fit wait by spinning
        model.fit(np.concatenate(parts), y, sample_weight=balance * len(y) / 2)

    def weights(x: np.ndarray, m: np.ndarray) -> np.ndarray:
        p = model.predict_proba(np.column_stack([x, m]))[:, 1]
        return np.clip(p / (1 - p), 1 / LARGEST, LARGEST)

    return weights


def counts(
    pool: Pool, seen: Observed, weights: Weights, efficiencies: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Counts by weighted u, by cut, with their nominal significances.

    Returns:
        cut -> {"n", "b", sums of weights of weighted data, "z_nominal", "effective": template rows
        (sum w)^2 / sum w^2 of all folds}.
    """
    shift, scale = pool.shift, pool.scale
    scored = np.unique(pool.fold[seen.rows][np.isfinite(seen.u)])
    places = np.flatnonzero((pool.role == COUNTING) & np.isin(pool.fold, scored))
    data = np.flatnonzero((pool.role[seen.rows] == DATA) & np.isfinite(seen.u))
    w = weights(pool.x * scale + shift, pool.m)
    u, effective = np.full(len(seen.u), np.nan), []
    for k in scored:
        own = data[pool.fold[seen.rows[data]] == k]
        template = pool.fold[places] == k
        w_template = w[places[template]]
        u[own] = counting.conformal_u(
            seen.score[own], seen.template[template], w[seen.rows[own]], w_template
        )
        effective.append(int(w_template.sum() ** 2 / (w_template**2).sum()))
    found = {}
    unit = pool.event_weight
    count = pool.weight[seen.rows[data]].astype(np.float64) / unit if pool.weighted else None
    whole = len(data) if count is None else count.sum()
    scale = None if count is None else 1.0
    for efficiency in efficiencies:
        passing = u[data] <= efficiency
        n = int(passing.sum()) if count is None else float(count[passing].sum())
        try:
            z = float(counting.nominal_z(n, whole, effective, efficiency, scale=scale))
        except UserError as error:
            found[f"{efficiency:g}"] = {"reason": str(error)}
            continue
        found[f"{efficiency:g}"] = {
            "n": n if unit == 1 else n * unit,
            "b": efficiency * whole * unit,
            "z_nominal": z,
            "effective": int(np.sum(effective)),
        }
    return found
