"""Is a sample like the data? Pulls of the moments and quantiles of one feature."""

import numpy as np
from numpy.typing import ArrayLike

from jaxad.errors import UserError
from jaxad.metrics import Array, checked_values

QUANTILES = (0.1, 0.5, 0.9)
NAMES = ("mean", "spread", *(f"q{100 * q:.0f}" for q in QUANTILES))
RESAMPLED = 200


def moments(x: ArrayLike) -> Array:
    """Mean, standard deviation, and 10, 50 and 90 % quantile of values (..., N): (5, ...)."""
    x = np.asarray(x, np.float64)
    return np.stack([x.mean(-1), x.std(-1), *np.quantile(x, QUANTILES, axis=-1)])


def moment_errors(x: ArrayLike, rng: np.random.Generator) -> Array:
    """Standard errors (5,) of `moments` of values (N,), by resampling them."""
    x = np.asarray(x, np.float64)
    return np.std([moments(x[rng.integers(0, len(x), len(x))]) for _ in range(RESAMPLED)], axis=0)


def moment_pulls(
    sample: ArrayLike, data: ArrayLike, rng: np.random.Generator
) -> dict[str, float | None]:
    """(sample - data) / error of `NAMES`, the error being that of both samples' sizes.

    sample: (M,) of a template; data: (N,) that it should be like. None where the data do not
    scatter, a quantile at a spike, say. The error of what the template learned from is not in it:
    over windows the pulls of a good one are wider than 1 by that.

    Raises:
        UserError: fewer than two values, or values that are not finite.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> found = moment_pulls(rng.normal(0.1, 1, 100_000), rng.normal(0, 1, 10_000), rng)
        >>> print(round(found["mean"]), abs(found["spread"]) < 3)
        10 True
    """
    sample, data = checked_values(sample, "sample"), checked_values(data, "data")
    if min(len(sample), len(data)) < 2:
        raise UserError(
            f"moments: expected two or more values, found {len(sample)} and {len(data)}"
        )
    error = moment_errors(data, rng) * np.sqrt(1 + len(data) / len(sample))
    found = zip(NAMES, moments(sample) - moments(data), error, strict=True)
    return {name: float(apart / e) if e > 0 else None for name, apart, e in found}
