"""From counts of data and pseudo-experiments to p-values: what `search.json` says of a window.

Nothing here looks at an event. The counts of toy 0 are those of the data: blinded, they are not
read, and every other number is the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from jaxad.metrics import closure, counting, pseudo
from jaxad.search.pool import Pool
from jaxad.search.windows import Window

CLAIM = 3.0  # sigma; what pseudo-experiments must reach before a cut is called calibrated


class Sizes(NamedTuple):
    """Rows that are scored, fold by fold: data (K,) and template to count with (K,)."""

    data: np.ndarray
    template: np.ndarray

    def expected(self, efficiency: float) -> tuple[float, float]:
        """Events of background above a cut, b, and the template rows r that say so."""
        r = np.floor(efficiency * (self.template + 1) + 1e-9)
        return float((self.data * r / (self.template + 1)).sum()), float(r.sum())


class Normalisation(NamedTuple):
    """The sideband fit's expectation of the window, and that of every pseudo-experiment.

    Attributes:
        expected, error: events, B and sigma.
        toys: (B,) events that toy spectra have in the window, and (B,) what their fits expect.
    """

    expected: float
    error: float
    toys: tuple[np.ndarray, np.ndarray]


class Errors(NamedTuple):
    """Relative errors of the expectation of one cut, and its correction."""

    delta: float  # mean of n / b - 1 in the false windows
    closure: float
    fit: float


def sizes(pool: Pool, folds: Sequence[int]) -> Sizes:
    """Of the folds that are scored."""
    data, template = (
        np.array([int(((pool.role == role) & (pool.fold == k)).sum()) for k in folds])
        for role in (0, 2)
    )
    return Sizes(data, template)


def cut(
    counts: np.ndarray,
    size: Sizes,
    efficiency: float,
    false: Sequence[tuple[Window, Sizes, int]],
    normalisation: Normalisation | None,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """All numbers of one cut, and "z_toys" (B,), the significances of pseudo-experiments.

    Args:
        counts: (1 + B,) events above the cut, the data first.
        false: window, sizes and events above the cut of every false window.
        rng: of the disturbances of pseudo-experiments.
    """
    b, r = size.expected(efficiency)
    n_data, n_template = int(size.data.sum()), int(size.template.sum())
    toys = counts[1:].astype(float)
    plain = counting.nominal_z(toys, n_data, n_template, efficiency)
    width = float(np.std(plain)) if len(toys) > 1 else 1.0
    found = closure.summary(
        [n for *_, n in false],
        [each.expected(efficiency)[0] for _, each, _ in false],
        [each.expected(efficiency)[1] for _, each, _ in false],
        width=max(width, 1.0),
    ) if false else None
    errors = Errors(
        found["mean"] if found else 0.0,
        found["sigma"] if found else 0.0,
        normalisation.error / normalisation.expected if normalisation else 0.0,
    )
    shares = np.ones(len(toys))
    if normalisation:
        toys, shares = _renormalised(toys, n_data, normalisation, rng)
    if found:
        toys = closure.disturb(toys, b, found, rng)
    corrected = b * (1 + errors.delta)
    if errors == Errors(0.0, 0.0, 0.0) and normalisation is None:
        z_toys, z = plain, float(counting.nominal_z(counts[0], n_data, n_template, efficiency))
    else:
        scale = normalisation.expected / n_data if normalisation else 1.0
        z_toys = counting.profile_z(toys, corrected * shares, r, errors.fit, errors.closure)
        z = float(
            counting.profile_z(counts[0], corrected * scale, r, errors.fit, errors.closure)
        )
    return {
        "n": int(counts[0]),
        "b": corrected * (normalisation.expected / n_data if normalisation else 1.0),
        "r": r,
        "errors": {"template": r**-0.5, "fit": errors.fit, "closure": errors.closure},
        "delta": errors.delta,
        "folds_width": width,
        "z_nominal": z,
        "z_toys": z_toys,
        "closure": found,
    }


def _renormalised(
    n: np.ndarray, n_data: int, normalisation: Normalisation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Toys' counts where the events in the window are as many as a toy spectrum has, and what the
    toy's fit expects over the events of the data."""
    events, expected = normalisation.toys
    share = n / n_data
    fewer = np.minimum(events, n_data).astype(int)
    kept = rng.binomial(np.round(n).astype(int), np.minimum(fewer / n_data, 1.0))
    added = rng.binomial(np.maximum(events.astype(int) - n_data, 0), share)
    return (kept + added).astype(float), expected / n_data


def observed(found: Mapping[str, Any]) -> dict[str, Any]:
    """p of the data at one cut, by rank among pseudo-experiments and beyond them, and a limit."""
    z, toys = found["z_nominal"], found["z_toys"]
    errors = found["errors"]
    limit = counting.upper_limit(
        found["n"], found["b"], found["r"], errors["fit"], errors["closure"]
    )
    if not len(toys):
        return {"p_local": None, "extrapolated": None, "limit": limit}
    p = pseudo.local_p(z, toys)
    beyond = pseudo.extrapolate(z, toys) if p["is_bound"] else None
    return {"p_local": p, "extrapolated": beyond, "limit": limit}


def windows_together(
    z: np.ndarray, toys: np.ndarray, overlapping: bool
) -> dict[str, Any]:
    """Global p of all windows and cuts.

    Args:
        z: (W, E) significances of the data; toys: (B, W, E).
        overlapping: whether windows share events: their pseudo-experiments, which are drawn window
            by window, then say nothing of their correlation, and Bonferroni's sum holds always.
    """
    if not overlapping or len(z) == 1:
        return pseudo.global_p(z, toys) | {"method": "smallest p of all cuts and windows, by rank"}
    each = [pseudo.global_p(z[i : i + 1], toys[:, i : i + 1]) for i in range(len(z))]
    best = min(each, key=lambda found: found["p"])
    spread = {key: min(1.0, len(z) * best[key]) for key in ("p", "low", "high")}
    return best | spread | {
        "z": float(-ndtri(spread["p"])) if spread["p"] < 1 else None,
        "method": f"Bonferroni over {len(z)} overlapping windows",
    }
