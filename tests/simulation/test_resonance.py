"""The analytic window search: the law that it promises."""

import numpy as np
import pytest

from jaxad.simulation import resonance


def test_background_has_the_promised_law():
    rows = resonance.background(200_000, np.random.default_rng(0))
    assert rows["m"].min() >= 2600
    assert rows["m"].mean() == pytest.approx(3050, abs=4)
    m, x = rows["m"], rows["x"]
    residual = x - resonance.DRIFT * (m[:, None] - resonance.SIGNAL_MASS) / 1000
    correlation = 0.7 * np.eye(4) + 0.3
    np.testing.assert_allclose(np.cov(residual.T), correlation, atol=0.012)
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=0.012)


def test_a_window_is_cut_out_of_it():
    rng = np.random.default_rng(0)
    inside = resonance.in_window(50_000, 3300, 3700, rng)["m"]
    m = resonance.masses(1_000_000, rng)
    m = m[(m > 3300) & (m < 3700)]
    assert inside.min() > 3300
    assert inside.max() < 3700
    np.testing.assert_allclose(
        np.quantile(inside, [0.1, 0.5, 0.9]), np.quantile(m, [0.1, 0.5, 0.9]), rtol=1e-3
    )


def test_flaws_are_what_they_say():
    m = np.full(1000, 4500.0)
    x = {f: resonance.features(m, np.random.default_rng(0), (f,)) for f in resonance.FLAWS}
    exact = resonance.features(m, np.random.default_rng(0))
    assert x["narrow"][:, 0].std() == pytest.approx(0.95 * exact[:, 0].std(), abs=0.01)
    shift, drift = x["shifted"] - exact, exact - x["massless"]
    np.testing.assert_allclose(shift, [[0, 0.025, 0, 0]] * len(m), atol=1e-6)
    np.testing.assert_allclose(drift, [resonance.DRIFT] * len(m), atol=1e-6)


def test_the_signal_lies_where_it_should():
    rows = resonance.signal(50_000, np.random.default_rng(0))
    assert rows["m"].mean() == pytest.approx(3500, abs=1)
    assert rows["m"].std() == pytest.approx(50, rel=0.02)
    np.testing.assert_allclose(rows["x"].mean(axis=0), resonance.SIGNAL_POINT, atol=5e-3)
    np.testing.assert_allclose(rows["x"].std(axis=0), 0.25, rtol=0.02)
