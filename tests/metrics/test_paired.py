"""Differences of TPR between scores of the same events, against resampling one by one."""

import numpy as np
import pytest

from jaxad.errors import UserError
from jaxad.metrics import tpr_at_fpr
from jaxad.metrics.paired import paired_tpr


def scores(seed: int = 0, n: int = 1500):
    """Background and signal of two scores that are nearly the same."""
    rng = np.random.default_rng(seed)
    background, signal = rng.normal(0, 1, n), rng.normal(1.5, 1, n)
    return (np.stack([x, x + rng.normal(0, 0.2, n)]) for x in (background, signal))


def test_the_value_is_the_difference_of_both():
    background, signal = scores()
    background = np.round(background, 1)  # ties
    found = paired_tpr(background, {"s": signal}, [1, -1], 0.02, n=2)
    one, other = (tpr_at_fpr(b, s, 0.02)["value"] for b, s in zip(background, signal, strict=True))
    assert found.value["s"] == pytest.approx(one - other, abs=1e-12) and one != other
    assert found.mean()[0] == pytest.approx(found.value["s"])


def test_its_error_is_that_of_resampled_pairs():
    background, signal = scores()
    found = paired_tpr(background, {"s": signal}, [1, -1], 0.02, n=400)
    rng, differences = np.random.default_rng(1), []
    for _ in range(400):
        b, s = (rng.integers(0, background.shape[1], background.shape[1]) for _ in range(2))
        pair = [tpr_at_fpr(background[i, b], signal[i, s], 0.02)["value"] for i in (0, 1)]
        differences.append(pair[0] - pair[1])
    assert found.error("s") == pytest.approx(np.std(differences), rel=0.15)
    alone = paired_tpr(background[:1], {"s": signal[:1]}, [1], 0.02)
    assert found.error("s") < 0.7 * alone.error("s")  # which shared events leave out


def test_scores_that_are_equal_differ_by_nothing():
    background, signal = (np.repeat(x[:1], 2, axis=0) for x in scores())
    found = paired_tpr(background, {"s": signal, "t": signal + 1}, [1, -1], 0.02)
    assert found.mean() == (0.0, 0.0) and found.error("t") == 0.0


def test_too_few_events_and_scores_are_refused():
    background, signal = scores()
    found = paired_tpr(background, {"s": signal}, [1, -1], 5e-3)
    assert found.value == {} and "leaves 7, fewer than 10" in found.reason
    with pytest.raises(UserError, match=r"as many scores of each class as weights, found \[2, 3\]"):
        paired_tpr(background, {"s": signal}, [1, -1, 0], 0.02)


def test_signals_that_are_no_scores_of_the_same_events_are_refused():
    background, signal = scores()
    missing = signal.copy()
    missing[1, 0] = np.nan
    for signals, message in (
        ({}, "expected signals, found none"),
        ({"s": missing}, "s: "),
        ({"s": [signal[0], signal[1, 1:]]}, "s: expected scores of the same events"),
    ):
        with pytest.raises(UserError, match=message):
            paired_tpr(background, signals, [1, -1], 0.02)
