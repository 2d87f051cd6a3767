"""Drift and overlap of two scores of the same events."""

import numpy as np
import pytest

from jaxad.errors import UserError
from jaxad.metrics.agreement import drift, overlap


def test_of_equal_scores_and_of_factors():
    scores = np.random.default_rng(0).exponential(size=1000)
    assert drift(scores, scores) == 0 and overlap(scores, scores) == 1
    assert drift(2 * scores, scores) == pytest.approx(np.log(2))
    assert overlap(2 * scores, scores) == 1 and overlap(-scores, scores) == 0


def test_ties_at_the_edge_are_as_good_as_drawn():
    reference = np.arange(1000.0)
    assert overlap(np.zeros(1000), reference, 0.1) == pytest.approx(0.1)
    scores = np.where(reference >= 850, 1.0, 0.0)  # 150 tie for 100 places
    assert overlap(scores, reference, 0.1) == pytest.approx(100 / 150)


def test_zeros_have_no_logarithm_but_their_own():
    assert drift([0.0, 0.0, 1.0], [0.0, 0.0, 9.0]) == 0
    assert drift([0.0, 0.0, 1.0], [1.0, 1.0, 1.0]) == np.inf


def test_other_events_and_negative_scores_are_refused():
    with pytest.raises(UserError, match=r"reference: expected scores of the same \(2,\) events"):
        overlap([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(UserError, match="drift: expected scores of 0 and above"):
        drift([-1.0], [1.0])
