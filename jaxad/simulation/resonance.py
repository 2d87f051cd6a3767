"""A window search with known truth: a falling mass, four features, a signal, wrong templates.

Background has m = 2600 GeV + Exp(450 GeV) and, given m, four Gaussian features of unit width with
correlations of 0.3 and means that are linear in m. The signal has m = 3500 +- 50 GeV and features
that scatter by 0.25 about one point. The exact template is the law of the background itself;
flawed ones are what a density might get wrong. Everything is drawn in milliseconds.
"""

from collections.abc import Sequence

import numpy as np

LOWEST, SLOPE = 2600.0, 450.0
"""Of the background's mass [GeV]."""
CORRELATION = 0.3
DRIFT = np.array([0.2, -0.1, 0.1, 0.0])
"""Change of the means of the features from 3500 GeV to 4500 GeV."""
SIGNAL_MASS, SIGNAL_WIDTH = 3500.0, 50.0
SIGNAL_POINT = np.array([1.5, 1.0, -1.0, 0.5])
SIGNAL_SPREAD = 0.25
FLAWS = ("narrow", "shifted", "massless")


def masses(n: int, rng: np.random.Generator) -> np.ndarray:
    """Masses (n,) [GeV] of background."""
    return LOWEST + rng.exponential(SLOPE, n)


def features(m: np.ndarray, rng: np.random.Generator, flaws: Sequence[str] = ()) -> np.ndarray:
    """Features (n, 4) float32 of background at masses `m` (n,) [GeV].

    Args:
        flaws: of a template: "narrow", the first feature is 5 % too narrow; "shifted", the second
            is displaced by 0.025 sigma; "massless", none depends on the mass.
    """
    covariance = np.full((4, 4), CORRELATION) + (1 - CORRELATION) * np.eye(4)
    x = rng.normal(size=(len(m), 4)) @ np.linalg.cholesky(covariance).T
    if "narrow" in flaws:
        x[:, 0] *= 0.95
    if "shifted" in flaws:
        x[:, 1] += 0.025
    if "massless" not in flaws:
        x += DRIFT * (m[:, None] - SIGNAL_MASS) / 1000
    return x.astype(np.float32)


def background(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows "x" (n, 4) float32 and "m" (n,) [GeV]."""
    m = masses(n, rng)
    return {"x": features(m, rng), "m": m}


def signal(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows "x" (n, 4) float32 and "m" (n,) [GeV] of the resonance."""
    x = SIGNAL_POINT + SIGNAL_SPREAD * rng.normal(size=(n, 4))
    return {"x": x.astype(np.float32), "m": rng.normal(SIGNAL_MASS, SIGNAL_WIDTH, n)}


def in_window(
    n: int, low: float, high: float, rng: np.random.Generator, flaws: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """`n` rows of background with masses between `low` and `high` [GeV], perhaps flawed."""
    share = rng.uniform(*np.exp((LOWEST - np.array([high, low])) / SLOPE), n)
    m = LOWEST - SLOPE * np.log(share)
    return {"x": features(m, rng, flaws), "m": m}
