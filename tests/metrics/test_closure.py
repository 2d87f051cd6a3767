"""Fake windows: spread and mean of the template's flaw, and toys that carry it."""

import json

import numpy as np
import pytest
from scipy.stats import kstest

from jaxad.errors import UserError
from jaxad.metrics import closure, counting, pseudo

N_DATA, N_TEMPLATE, N_WINDOWS = 4000, 64_000, 6


def windows(rng, efficiency, shape, flaw=0.0, width=1.0):
    """Counts of windows whose template is low by `flaw` after the cut.

    Beta-binomial, and wider by `width` where folds learn from one another.
    """
    r = int(counting.cut_rank(N_TEMPLATE, efficiency))
    b = float(counting.expected_count(N_DATA, N_TEMPLATE, efficiency))
    rate = rng.beta(r, N_TEMPLATE + 1 - r, shape)
    excess = np.sqrt((width**2 - 1) * (1 / b + 1 / r)) * rng.normal(size=shape)
    return rng.binomial(N_DATA, np.clip(rate * (1 + flaw) * (1 + excess), 0, 1)), b, r


def fake_windows(n, b, r, width, efficiency):
    return closure.summary(n, [b] * N_WINDOWS, [r] * N_WINDOWS, width, efficiency)


def test_the_summary_is_the_formula():
    n, b, r = np.array([90, 130, 115, 100, 140, 101]), np.full(6, 100.0), np.full(6, 400.0)
    found = closure.summary(n, b, r)
    delta = n / 100 - 1
    s2, v = delta.var(ddof=1), 1 / 100 + 1 / 400
    assert s2 > v
    assert found["mean"] == pytest.approx(delta.mean())
    assert found["sigma"] ** 2 == pytest.approx(s2 - v + s2 / 6)
    assert found["relative"] == pytest.approx(found["sigma"] / n.mean() * 100)
    wide = closure.summary(n, b, r, width=2.0)
    assert wide["sigma"] ** 2 == pytest.approx(4 * v / 6)
    assert wide["chi2"] == pytest.approx(found["chi2"] / 4) and wide["ndof"] == 5
    own = closure.summary(n, b, r, width=2.0, efficiency=0.1)
    assert own["sigma"] == pytest.approx(np.sqrt(0.9) * wide["sigma"])
    json.dumps(found, allow_nan=False)


def test_it_does_not_depend_on_the_order_of_the_windows():
    rng = np.random.default_rng(0)
    n, b, r = rng.poisson(50, 8), rng.uniform(40, 60, 8), rng.uniform(700, 900, 8)
    order = rng.permutation(8)
    one, other = closure.summary(n, b, r), closure.summary(n[order], b[order], r[order])
    for key in ("mean", "sigma", "chi2", "p_value"):
        assert one[key] == pytest.approx(other[key], rel=1e-12)


@pytest.mark.parametrize("flaw", [0.0, 0.6])
def test_windows_of_one_flaw_agree(flaw):
    rng = np.random.default_rng(0)
    n, b, r = windows(rng, 0.01, (1000, N_WINDOWS), flaw)
    found = [fake_windows(row, b, r, 1.0, 0.01) for row in n]
    assert kstest([f["p_value"] for f in found], "uniform").pvalue > 1e-3
    assert np.mean([f["mean"] for f in found]) == pytest.approx(flaw, abs=0.01)
    assert np.mean([f["refused"] is not None for f in found]) < 0.005


def test_a_claim_is_refused_where_the_template_fails():
    b, r = [100.0] * 6, [1600.0] * 6
    assert closure.summary([150, 152, 149, 151, 148, 150], b, r)["refused"] is None
    off = closure.summary([210, 212, 209, 211, 208, 210], b, r)
    assert "off by +110%" in off["refused"] and off["p_value"] > 0.5
    apart = closure.summary([100, 100, 180, 100, 100, 100], b, r)
    assert "disagree" in apart["refused"] and apart["p_value"] < 1e-3
    empty = closure.summary([0] * 6, b, r)
    assert empty["relative"] is None and empty["mean"] == -1


def corrected_z(n, efficiency, found):
    """Of a count against b (1 + mean delta), with its error of closure."""
    correction = {"sigma_closure": found["relative"], "delta": found["mean"]}
    return counting.nominal_z(n, N_DATA, N_TEMPLATE, efficiency, **correction)


@pytest.mark.parametrize(("efficiency", "flaw"), [(0.1, 0.075), (0.1, 0.0), (0.01, 0.2)])
def test_a_wrong_template_is_corrected_and_widened(efficiency, flaw):
    """1,000 true windows, each with six fake ones of the same flaw."""
    rng = np.random.default_rng(1)
    n, b, r = windows(rng, efficiency, (1000, N_WINDOWS + 1), flaw)
    raw = counting.nominal_z(n[:, 0], N_DATA, N_TEMPLATE, efficiency)
    fakes = [fake_windows(row[1:], b, r, 1.0, efficiency) for row in n]
    z = np.array(
        [corrected_z(row[0], efficiency, fake) for row, fake in zip(n, fakes, strict=True)]
    )
    if flaw and efficiency == 0.1:
        assert (raw >= 3).mean() > 0.03
    assert (z >= 3).mean() < 0.01 and (z >= 2).mean() < 0.045
    assert 0.9 < z.std() < 1.1 and abs(z.mean()) < 0.15


def test_disturbed_counts_have_the_mean_and_spread_of_the_flaw():
    n = np.random.default_rng(1).poisson(400, 40_000)
    for mean, sigma in ((0.2, 0.05), (-0.3, 0.05), (0.0, 0.1), (-2.0, 0.0), (0.0, 0.0)):
        found = closure.disturb(n, 400.0, {"mean": mean, "sigma": sigma}, np.random.default_rng(0))
        expected = 400 * (1 + max(mean, -1))
        assert found.mean() == pytest.approx(expected, abs=1.0) and found.min() >= 0
        assert found.std() == pytest.approx(np.hypot(np.sqrt(expected), 400 * sigma), rel=0.03)
    np.testing.assert_array_equal(found, n)


def test_generators_of_one_seed_move_cuts_together():
    rng = np.random.default_rng(1)
    flaw = {"mean": 0.1, "sigma": 0.3}
    cuts = [
        closure.disturb(rng.poisson(b, 2000), b, flaw, np.random.default_rng(5)) / b
        for b in (4000, 400)
    ]
    assert np.corrcoef(cuts)[0, 1] > 0.8


@pytest.mark.parametrize("flaw", [0.0, 0.075])
def test_closure_and_toys_together_are_calibrated(flaw):
    """1,000 sets of six fake windows, 200 toys each, folds that widen every count by 1.2."""
    rng, width, efficiency = np.random.default_rng(2), 1.2, 0.1
    n, b, r = windows(rng, efficiency, (1000, N_WINDOWS + 1), flaw, width)
    counts = np.concatenate([n[:, :1], windows(rng, efficiency, (1000, 200), 0.0, width)[0]], 1)
    fakes = [fake_windows(row[1:], b, r, width, efficiency) for row in n]
    for row, fake in zip(counts, fakes, strict=True):
        row[1:] = closure.disturb(row[1:], b, fake, rng)
    columns = {key: np.array([[fake[key]] for fake in fakes]) for key in ("mean", "relative")}
    z = corrected_z(counts, efficiency, columns)
    p = np.array([pseudo.local_p(row[0], row[1:])["p"] for row in z])
    assert 0.010 < (p < 0.0228).mean() < 0.039
    assert (p < 0.005).mean() <= 0.013


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: closure.summary([5], [4], [100]), "at least 2"),
        (lambda: closure.summary([5, 6], [4, 0], [100, 100]), "positive b"),
        (lambda: closure.summary([5, 6], [4], [100, 100]), "b_i: expected shape"),
        (lambda: closure.summary([5, 6], [4, 5], [9, 9], width=0), "width 0"),
        (lambda: closure.summary([5, 6], [4, 5], [9, 9], efficiency=1.0), "below 1"),
        (lambda: closure.disturb([5], 0.0, {}, np.random.default_rng(0)), "positive b"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(UserError, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value)
