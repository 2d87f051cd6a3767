"""The two-sample test finds what differs and nothing else; pulls of equal samples are normal."""

import numpy as np
import pytest

from jaxad import search


def test_two_sample_auc():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1500, 2))
    same, different = search.two_sample_auc(a, b), search.two_sample_auc(a, b + 1)
    assert abs(same["auc"] - 0.5) < 0.04 and different["auc"] > 0.7


def test_pulls_are_unit_normal_for_equal_samples():
    rng = np.random.default_rng(1)
    found = search.pulls(rng.exponential(size=40_000), rng.exponential(size=10_000))
    assert np.std(found["pulls"]) == pytest.approx(1, abs=0.45)
    assert sum(found["expected"]) == pytest.approx(sum(found["counts"]))
