"""From counts to significances where the sidebands say how many events a window has."""

import numpy as np
import pytest

from jaxad.search import analysis
from jaxad.search.analysis import Normalisation, Sizes

SIZE = Sizes(1000, np.full(5, 3200))
B, EFFICIENCY = 400, 0.1


def row(normalised, false=()):
    rng = np.random.default_rng(0)
    counts = rng.binomial(SIZE.data, EFFICIENCY, B + 1)
    normal = None
    if normalised:
        refitted = rng.normal(1000, 30, B)
        normal = Normalisation(1000.0, 30.0, rng.poisson(1000, B), refitted)
    tested = [(SIZE, n) for n in false]
    return analysis.cut(counts, SIZE, EFFICIENCY, tested, normal, 0), normal


def test_false_windows_are_tested_alike_whatever_the_normalisation():
    """Theirs are their own events, of which a cut passes a binomial share."""
    own, fitted = (row(normalised, (103, 121, 99, 110))[0] for normalised in (False, True))
    assert own.closure == fitted.closure


@pytest.mark.parametrize(("signal", "expected"), [(0, 0.0), (200, 1.8)])
def test_a_fitted_normalisation_does_not_expect_the_signal(signal, expected):
    """A cut that keeps signal as background sees it where the sidebands are the measure."""
    one, normal = row(True)
    counts = np.random.default_rng(1).binomial(SIZE.data, EFFICIENCY, (B, 1))
    found = analysis.power(counts, SIZE, [one], normal, signal, 0)["0.1"]
    assert found["median"] == pytest.approx(expected, abs=0.3)
    assert (found["power_2"] < 0.06) == (signal == 0)
    own, _ = row(False)
    blind = analysis.power(counts, SIZE, [own], None, signal, 0)["0.1"]
    assert blind["median"] == pytest.approx(0, abs=0.3)


def test_a_flaw_moves_nested_cuts_together_whatever_the_normalisation():
    """The flaw of a toy, here far larger than its count's fluctuation, is one number."""
    size, rng = Sizes(40_000, SIZE.template), np.random.default_rng(3)
    normal = Normalisation(4e4, 1e3, rng.normal(4e4, 1e3, B).astype(int), rng.normal(4e4, 1e3, B))
    for normalisation in (None, normal):
        cuts = []
        for efficiency in (0.2, 0.1):
            b = round(size.data * efficiency)
            counts = np.random.default_rng(2).binomial(size.data, efficiency, B + 1)
            false = [(size, round(b * flaw)) for flaw in (1.0, 1.5, 2.0, 2.5)]
            one = analysis.cut(counts, size, efficiency, false, normalisation, 0)
            cuts.append(one.z_toys)
        assert np.corrcoef(cuts)[0, 1] > 0.8
