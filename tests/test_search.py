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


def test_scans_leave_out_what_was_refused():
    results = [
        {"value": value, "sic": [None], "max_sic": [sic], "significance": [sic]}
        for value, sic in (("0.001", None), ("0.01", 2.0), ("0.02", 3.0), ("0.02", 5.0))
    ]
    axes = search.scan_figure(results, "signal_over_background").axes
    line = axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [1, 2])
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 4.0])
    assert not axes[1].lines
    assert [text.get_text() for text in axes[1].texts] == ["too few background events"]
