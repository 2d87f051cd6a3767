"""Rates of a trigger at integer thresholds: one detector, or two beside an existing menu.

A score of firmware is an integer m, and an event is accepted where m >= threshold. Integers tie, so
that a wanted rate is seldom met: each threshold has its own achieved rate, R = f R_in, with f the
accepted fraction of the input and R_in its rate. Zero-bias events of N_bunches colliding bunches
come at N_bunches x 11,245.5 Hz (2,340: 26.3 MHz). Events that were preselected, as those of
ADC2021, have no such rate: fractions alone are then given. Under ten events nothing is claimed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.errors import UserError
from jaxad.metrics.given import Array, checked_scores
from jaxad.metrics.ranked import binomial_error
from jaxad.metrics.roc import MIN_BACKGROUND, allowed, level_key

ORBIT = 11_245.5
"""Revolutions of the LHC's beams [Hz]."""

MAX_BUNCHES = 3564
MOST = 1 << 20  # thresholds that are listed
EXACT = 1 << 24  # integers that single precision holds
EXACT_DOUBLE = 1 << 53
MAX_GRID = 512  # thresholds along an axis of two detectors


def zero_bias_rate(n_bunches: int) -> float:
    """Rate [Hz] of zero-bias events with so many colliding bunches.

    Examples:
        >>> round(zero_bias_rate(2340) / 1e6, 1)
        26.3
    """
    if not 1 <= n_bunches <= MAX_BUNCHES:
        raise UserError(f"bunches: expected 1 to {MAX_BUNCHES}, found {n_bunches}")
    return n_bunches * ORBIT


def integers(scores: ArrayLike, name: str = "scores", scale: float = 1.0) -> Array:
    """int64 (N,): floor(scale x score); without a scale the scores have to be integers.

    A power of two as scale is exact: 2^F of counts with F fractional bits, or the menu's 16.

    Raises:
        UserError: other numbers, or larger ones than are exact.

    Examples:
        >>> print(integers([0.3, 18.07], scale=16))
        [  4 289]
    """
    values = checked_scores(scores, name)
    if not scale > 0 or not np.isfinite(scale):
        raise UserError(f"scale: expected a number above 0, found {scale}")
    if not np.isfinite(values).all():
        raise UserError(f"{name}: expected finite scores, found infinities")
    scaled = values.astype(np.float64) * scale
    if scale == 1 and (scaled != np.floor(scaled)).any():
        other = scaled[scaled != np.floor(scaled)][0]
        raise UserError(
            f"{name}: expected integer scores, found {other:.6g}: give the factor that makes them "
            "integers, such as 16"
        )
    if values.dtype == np.float32 and scale == 1 and np.abs(scaled).max() > EXACT:
        raise UserError(
            f"{name}: found {np.abs(scaled).max():.0f} in single precision, which holds every "
            f"integer to {EXACT:,} alone: store them as int64 or float64"
        )
    if np.abs(scaled).max() >= EXACT_DOUBLE:
        raise UserError(
            f"{name}: expected integers below 2^53, found {np.abs(scaled).max():.4g}: give a "
            "smaller factor"
        )
    return np.floor(scaled).astype(np.int64)


def accepted(scores: Array, thresholds: Array) -> Array:
    """How many (K,) of the integer scores (N,) are at or above each threshold (K,)."""
    ordered = np.sort(scores)
    return len(ordered) - np.searchsorted(ordered, thresholds, side="left")


def rates_of(n: ArrayLike, n_total: int, input_rate: float | None) -> dict[str, Any]:
    """Fractions of accepted events with binomial errors, and rates [Hz] where the input has one."""
    fraction, error = np.asarray(n) / n_total, binomial_error(n, n_total)
    found = {"n": np.asarray(n), "fraction": fraction, "error": np.asarray(error)}
    if input_rate is not None:
        found |= {"rate": fraction * input_rate, "rate_error": error * input_rate}
    return {name: values.tolist() for name, values in found.items()}


def every_threshold(scores: Array, input_rate: float | None = None) -> dict[str, list]:
    """What each integer threshold accepts, from the lowest score on while ten events pass.

    Thresholds are the scores that there are: one between two of them accepts what the higher does.
    Of more than `MOST` those whose accepted numbers are evenly spaced in the logarithm.

    Args:
        scores: integers (N,) of background.
        input_rate: [Hz] of the events, None: relative statements alone.

    Returns:
        "threshold", "n", "fraction", "error", and with an input rate "rate" and "rate_error" [Hz],
        lists of one length.

    Raises:
        UserError: fewer than ten events.
    """
    if len(scores) < MIN_BACKGROUND:
        raise UserError(f"scores: expected {MIN_BACKGROUND} events or more, found {len(scores)}")
    ordered = np.sort(scores)
    thresholds = np.unique(ordered[: 1 - MIN_BACKGROUND])
    if len(thresholds) > MOST:
        thresholds = _spaced(ordered[: 1 - MIN_BACKGROUND], MOST)
    n = accepted(scores, thresholds)
    return {"threshold": thresholds.tolist()} | rates_of(n, len(scores), input_rate)


def at_fraction(scores: Array, fraction: float, input_rate: float | None = None) -> dict[str, Any]:
    """The loosest integer threshold that accepts at most `fraction`, and what it achieves.

    Ties leave the achieved fraction below the wanted one; "looser" is what the next looser distinct
    threshold accepts, which is above it. "reason" says why the point is refused, else None: fewer
    than ten events are wanted, or left by ties.

    Examples:
        >>> found = at_fraction(np.repeat([1, 2, 3], [60, 28, 12]), 0.3)
        >>> found["threshold"], found["fraction"], found["looser"]["fraction"]
        (3, 0.12, 0.4)
    """
    n_total = len(scores)
    k = min(int(allowed(fraction, n_total)), n_total - 1)
    ordered = np.sort(scores)
    threshold = int(ordered[n_total - 1 - k]) + 1  # above the (k + 1)-th largest
    n = int(accepted(scores, np.array([threshold]))[0])
    reason = None
    if k < MIN_BACKGROUND:
        reason = (
            f"fraction {level_key(fraction)} of {n_total} events leaves {k}, fewer than "
            f"{MIN_BACKGROUND}"
        )
    elif n < MIN_BACKGROUND:
        reason = (
            f"tied scores: fraction {level_key(fraction)} allows {k} events, the loosest threshold "
            f"within it leaves {n}, fewer than {MIN_BACKGROUND}"
        )
    looser = threshold - 1
    below = rates_of(accepted(scores, np.array([looser]))[0], n_total, input_rate)
    return {
        "wanted": fraction,
        "threshold": threshold,
        **rates_of(n, n_total, input_rate),
        "looser": {"threshold": looser, **below},
        "reason": reason,
    }


def grid_thresholds(scores: Array, most: int = MAX_GRID) -> Array:
    """Integer thresholds of an axis: all from the lowest score to one above the highest.

    Of more than `most` those whose accepted numbers are evenly spaced in the logarithm.
    """
    if scores.max() + 2 - scores.min() <= most:
        return np.arange(scores.min(), scores.max() + 2)
    return np.append(_spaced(np.sort(scores), most), scores.max() + 1)


def _spaced(ordered: Array, most: int) -> Array:
    """At most so many of the rising scores (N,), evenly in the logarithm of how many pass."""
    ranks = np.unique(np.geomspace(1, len(ordered), most).astype(np.int64))
    return np.unique(ordered[len(ordered) - ranks])


def grid(a: Array, c: Array, l1: ArrayLike | None = None) -> dict[str, Array]:
    """How many events two detectors accept at every pair of thresholds of `grid_thresholds`.

    Args:
        a, c: integer scores (N,) of the same events.
        l1: (N,) bool, what the rest of the menu accepts; None: nothing.

    Returns:
        "thresholds_a" (A,), "thresholds_c" (C,); "n_a" (A,) and "n_c" (C,), accepted by one;
        (A, C): "total", by a or c; "overlap", by both; "pure", by a or c and not by l1;
        "unique_a" and "unique_c", by one, not by the other, and not by l1.

    Raises:
        UserError: arrays of different lengths.
    """
    taken = np.zeros(len(a), bool) if l1 is None else np.asarray(l1).astype(bool)
    for name, x in (("second detector", c), ("L1 bit", taken)):
        if np.shape(x) != np.shape(a):
            raise UserError(
                f"{name}: expected the events of the first detector, {len(a)}, found {len(x)}"
            )
    ta, tc = grid_thresholds(a), grid_thresholds(c)
    place = np.searchsorted(ta, a, side="right"), np.searchsorted(tc, c, side="right")
    everything = _counted(place, (len(ta), len(tc)))
    rest = _counted(tuple(p[~taken] for p in place), (len(ta), len(tc)))
    return {
        "thresholds_a": ta,
        "thresholds_c": tc,
        "n_a": everything["a"],
        "n_c": everything["c"],
        "overlap": everything["both"],
        "total": everything["a"][:, None] + everything["c"] - everything["both"],
        "pure": rest["a"][:, None] + rest["c"] - rest["both"],
        "unique_a": rest["a"][:, None] - rest["both"],
        "unique_c": rest["c"] - rest["both"],
    }


def _counted(place: tuple, shape: tuple[int, int]) -> dict[str, Array]:
    """Accepted by a (A,), c (C,), both (A, C), from how many thresholds each event reaches."""
    size = shape[0] + 1, shape[1] + 1
    flat = np.bincount(place[0] * size[1] + place[1], minlength=size[0] * size[1]).reshape(size)
    above = flat[::-1, ::-1].cumsum(0).cumsum(1)[::-1, ::-1]
    return {"a": above[1:, 0], "c": above[0, 1:], "both": above[1:, 1:]}


def balanced(
    counts: Mapping[str, Array],
    n_total: int,
    budget: float,
    split: float = 0.5,
    input_rate: float | None = None,
) -> dict[str, Any]:
    """The pair of thresholds within a budget whose unique rates share it as stated; no signal.

    Among the pairs whose total is within `budget`, and of which neither threshold could be one step
    looser, that whose a-share of the unique events is nearest to `split`; of equal ones that of the
    largest total.

    Args:
        counts: of `grid`, of n_total events.
        budget: fraction of the events for a or c together.
        split: share of the first detector, 0.5: equal unique rates.

    Returns:
        "threshold_a", "threshold_c", "split" (reached); "a", "c", "total", "overlap", "pure",
        "unique_a", "unique_c", each of `rates_of`; "reason", why the point is refused, else None.

    Raises:
        UserError: a split beyond 0 to 1; no pair within the budget.
    """
    if not 0 < split < 1:
        raise UserError(f"split: expected a number between 0 and 1, found {split}")
    k = int(allowed(budget, n_total))
    fits = counts["total"] <= k
    if not fits.any():
        raise UserError(f"budget: no pair of thresholds accepts at most {level_key(budget)}")
    edge = fits.copy()
    edge[1:] &= ~fits[:-1]
    edge[:, 1:] &= ~fits[:, :-1]
    i, j = np.nonzero(edge)
    unique_a, unique_c = counts["unique_a"][i, j], counts["unique_c"][i, j]
    share = unique_a / np.maximum(unique_a + unique_c, 1)
    best = np.lexsort((-counts["total"][i, j], np.abs(share - split)))[0]
    i, j = i[best], j[best]
    numbers = {"a": counts["n_a"][i], "c": counts["n_c"][j]}
    pairs = ("total", "overlap", "pure", "unique_a", "unique_c")
    numbers |= {name: counts[name][i, j] for name in pairs}
    few = [name for name in ("total", "unique_a", "unique_c") if numbers[name] < MIN_BACKGROUND]
    reason = None
    if few:
        name = few[0]
        reason = f"{name} holds {numbers[name]} events, fewer than {MIN_BACKGROUND}"
    return {
        "budget": budget,
        "threshold_a": int(counts["thresholds_a"][i]),
        "threshold_c": int(counts["thresholds_c"][j]),
        "split": float(share[best]),
        **{name: rates_of(n, n_total, input_rate) for name, n in numbers.items()},
        "reason": reason,
    }
