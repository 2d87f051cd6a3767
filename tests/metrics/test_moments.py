"""Pulls of moments and quantiles."""

import numpy as np
import pytest

from jaxad.errors import UserError
from jaxad.metrics.moments import NAMES, moment_pulls


def test_pulls_of_an_exact_sample_are_standard_normal():
    rng = np.random.default_rng(0)
    pulls = [
        list(moment_pulls(rng.gamma(2, 1, 800), rng.gamma(2, 1, 400), rng).values())
        for _ in range(150)
    ]
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.3
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=0.2)


def test_a_displacement_is_seen_in_units_of_the_error():
    rng = np.random.default_rng(1)
    data = rng.normal(0, 1, 10_000)
    found = moment_pulls(data + 0.05, data, rng)
    assert list(found) == list(NAMES)
    assert found["mean"] == pytest.approx(5 / np.sqrt(2), rel=0.2)
    assert found["spread"] == pytest.approx(0, abs=1e-6)


def test_what_does_not_scatter_has_no_pull():
    rng = np.random.default_rng(2)
    spiked = np.where(rng.random(500) < 0.3, 0, rng.random(500))
    assert moment_pulls(spiked, spiked, rng)["q10"] is None


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan]])
def test_too_few_or_no_numbers_are_refused(values):
    with pytest.raises(UserError):
        moment_pulls(values, [1.0, 2.0], np.random.default_rng(0))
