"""Toys to p-values: ranks, look-elsewhere, coverage, tails beyond the toys, merging."""

import json

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import binom, kstest

from jaxad.errors import UserError
from jaxad.metrics import pseudo

# Local p-values


def test_the_rank_is_the_p_value():
    toys = np.r_[np.zeros(970), np.full(20, 2.0), np.full(9, 3.0)]
    found = pseudo.local_p(2.0, toys)
    assert found["p"] == 0.03 and found["exceedances"] == 29 and not found["is_bound"]
    assert found["low"] < found["p"] < found["high"]
    assert found["z_low"] < found["z"] < found["z_high"]
    assert ndtr(-found["z"]) == pytest.approx(0.03)
    assert pseudo.local_p(2.5, toys)["is_bound"] and not pseudo.local_p(2.0, toys)["is_bound"]


def test_beyond_all_toys_there_is_a_bound_and_no_end_of_the_interval():
    found = pseudo.local_p(9.0, np.zeros(999))
    assert found["p"] == 1e-3 and found["low"] == 0 and found["z_high"] is None
    assert found["high"] == pytest.approx(1 - 0.16 ** (1 / 999)) and found["is_bound"]
    below = pseudo.local_p(-9.0, np.zeros(999))
    assert below["p"] == below["high"] == 1 and below["z"] is None
    json.dumps([found, below], allow_nan=False)


def test_clopper_and_pearson_cover():
    for rate, most in ((0.003, 0.95), (0.05, 0.78), (0.5, 0.73)):
        counts = np.arange(501)
        low, high = pseudo.clopper_pearson(counts, 500)
        covered = binom(500, rate).pmf(counts)[(low <= rate) & (rate <= high)].sum()
        assert 0.68 <= covered < most
        assert binom(500, low[20]).sf(19) == pytest.approx(0.16)
        assert binom(500, high[20]).cdf(20) == pytest.approx(0.16)


def test_p_is_uniform_for_any_statistic_and_never_too_small_with_ties():
    rng = np.random.default_rng(0)
    continuous, random_ties, against = [], [], []
    for _ in range(1000):
        z = rng.standard_t(2, 200)
        continuous.append(pseudo.local_p(z[0], z[1:])["p"])
        n = rng.poisson(1.5, 200)
        random_ties.append(pseudo.local_p(n[0], n[1:], rng)["p"])
        against.append(pseudo.local_p(n[0], n[1:])["p"])
    for p in (continuous, random_ties):
        assert kstest(np.array(p) - rng.uniform(0, 1 / 200, 1000), "uniform").pvalue > 1e-3
    for level in (0.01, 0.05, 0.2):
        assert np.mean(np.array(against) <= level) < level + 3.3 * np.sqrt(level / 1000)


def test_p_falls_with_the_observed_and_ignores_the_order_and_scale_of_toys():
    rng = np.random.default_rng(0)
    toys = rng.normal(size=500)
    p = [pseudo.local_p(z, toys)["p"] for z in np.linspace(-3, 4, 50)]
    assert (np.diff(p) <= 0).all()
    assert pseudo.local_p(1.0, toys) == pseudo.local_p(np.exp(1.0), np.exp(rng.permutation(toys)))


# Look-elsewhere


def windows_and_cuts(rng, n):
    """(n, 5, 3) statistics: cuts and windows correlated, a heavy tail, steps of a count."""
    z = np.sqrt(0.6) * rng.normal(size=(n, 5, 1)) + np.sqrt(0.4) * rng.normal(size=(n, 5, 3))
    z[:, 1:] = np.sqrt(0.7) * z[:, 1:] + np.sqrt(0.3) * z[:, :-1]
    z[..., 1] += 0.2 * (z[..., 1] ** 2 - 1)
    z[..., 2] = np.round(4 * z[..., 2]) / 4
    return z


def test_min_p_is_uniform_over_windows_and_cuts():
    """1,000 experiments, each with 700 toys of its own."""
    rng = np.random.default_rng(3)
    p = np.empty(1000)
    for i in range(1000):
        z = windows_and_cuts(rng, 701)
        p[i] = pseudo.global_p(z[0], z[1:])["p"]
    assert kstest(p, "uniform").pvalue > 1e-3
    assert 0.027 < (p < 0.05).mean() < 0.073


def test_min_p_knows_what_is_correlated():
    rng = np.random.default_rng(0)
    same = np.repeat(np.repeat(rng.normal(size=(4999, 1, 1)), 5, 1), 3, 2)
    observed = np.full((5, 3), 2.5)
    one = pseudo.global_p(observed, same)
    assert one["p"] == one["p_local"] == pseudo.local_p(2.5, same[:, 0, 0])["p"]
    observed = np.where(np.arange(15).reshape(5, 3) == 7, 2.5, 0)
    independent = pseudo.global_p(observed, rng.normal(size=(4999, 5, 3)))
    assert independent["best"] == (2, 1)
    expected = 1 - (1 - independent["p_local"]) ** 15
    assert independent["p"] == pytest.approx(expected, rel=0.15)
    single = pseudo.global_p(observed[2:3, 1:2], same[:, :1, :1])
    assert single["p"] == single["p_local"]


def test_min_p_beyond_the_toys_of_a_window_is_a_bound():
    observed = np.zeros((5, 3))
    observed[0, 0] = 9.0
    found = pseudo.global_p(observed, np.random.default_rng(0).normal(size=(999, 5, 3)))
    assert found["p_local"] == 1e-3 and found["exceedances"] > 10 and found["is_bound"]
    json.dumps(found, allow_nan=False)


def test_windows_of_their_own_toys_are_combined():
    rng = np.random.default_rng(0)
    windows = [pseudo.local_p(z, rng.normal(size=1999)) for z in (0.0, 2.6, 1.0)]
    bonferroni, sidak = pseudo.combine(windows), pseudo.combine(windows, "sidak")
    p = windows[1]["p"]
    assert bonferroni["p"] == pytest.approx(3 * p) and bonferroni["best"] == 1
    assert sidak["p"] == pytest.approx(1 - (1 - p) ** 3) and sidak["p"] < bonferroni["p"]
    assert bonferroni["low"] < bonferroni["p"] < bonferroni["high"]
    assert pseudo.combine([pseudo.local_p(-9, np.zeros(99))] * 4)["p"] == 1
    with pytest.raises(UserError, match="bonferroni or sidak"):
        pseudo.combine(windows, "fisher")


# Coverage


def test_coverage_of_honest_toys():
    rng = np.random.default_rng(0)
    found = pseudo.coverage(rng.normal(size=3000))
    empirical, low, high = (np.array(found[k]) for k in ("empirical", "band_low", "band_high"))
    assert ((low <= empirical) & (empirical <= high)).mean() > 0.8
    law = binom(3000, np.array(found["nominal"]))
    np.testing.assert_allclose(low * 3000, law.ppf(0.025))
    np.testing.assert_allclose(high * 3000, law.ppf(0.975))
    assert abs(found["mean"]) < 3 * found["mean_error"] and found["ks"] > 1e-3
    assert abs(found["width"] - 1) < 3 * found["width_error"]
    assert found["width_error"] == pytest.approx(1 / np.sqrt(6000), rel=0.1)
    assert 0.014 < found["rates"]["2"]["rate"] < 0.032
    assert found["rates"]["2"]["low"] < found["rates"]["2"]["rate"] < found["rates"]["2"]["high"]
    json.dumps(found, allow_nan=False)


def test_coverage_shows_what_is_too_wide():
    rng = np.random.default_rng(0)
    z = 1.2 * rng.normal(size=3000)
    found = pseudo.coverage(z)
    assert found["rates"]["2"]["low"] > found["rates"]["2"]["nominal"] == pytest.approx(ndtr(-2))
    assert found["width"] - 3 * found["width_error"] > 1.05
    assert found["empirical"][10] > found["band_high"][10]
    assert found["ks"] > 1e-3
    assert pseudo.coverage(z, z / 1.2)["width"] == pytest.approx(found["width"] / 1.2)
    z[::2] += 0.3
    assert pseudo.coverage(z)["ks"] < 1e-3


def test_one_half_of_the_toys_calibrates_the_other():
    rng = np.random.default_rng(0)
    ks = [pseudo.coverage(rng.standard_t(3, 400))["ks"] for _ in range(400)]
    assert 0.02 < np.mean(np.array(ks) < 0.05) < 0.09 and min(ks) > 1e-4


# Beyond the toys


def skewed(width, skew):
    """Draws of width g + skew (g^2 - 1), and its exact tail: wider and heavier above."""

    def draw(n, seed):
        g = np.random.default_rng(seed).normal(size=n)
        return width * g + skew * (g**2 - 1)

    def tail(z):
        root = np.sqrt(width**2 + 4 * skew * (z + skew))
        return ndtr((-width - root) / (2 * skew)) + ndtr((width - root) / (2 * skew))

    return draw, tail


@pytest.mark.parametrize(("n_toys", "true"), [(2000, 3.0), (20_000, 3.5), (20_000, 4.5)])
def test_a_heavy_tail_is_extrapolated_within_the_quoted_error(n_toys, true):
    draw, tail = skewed(1.15, 0.06)
    nominal = brentq(lambda z: -ndtri(tail(z)) - true, 0, 30)
    assert nominal > true + 0.5
    found = [pseudo.extrapolate(nominal, draw(n_toys, seed)) for seed in range(40)]
    found = [f for f in found if f["reason"] is None]
    assert len(found) > 25
    miss = np.array([abs(f["z"] - true) for f in found])
    errors = np.array([np.hypot(f["error"], f["fit_error"]) for f in found])
    assert (miss < errors).mean() > 0.9
    assert np.mean([f["exponential"] or true for f in found]) < true + 0.1
    high = [f["gaussian"] for f in found if f["gaussian"] is not None]
    assert not high or min(high) > true
    json.dumps(found, allow_nan=False)


def test_a_gaussian_is_returned_by_the_line_with_its_width():
    toys = 0.1 + 1.2 * np.random.default_rng(1).normal(size=50_000)
    found = pseudo.extrapolate(0.1 + 1.2 * 4.5, toys)
    assert abs(found["z"] - 4.5) < 3 * found["fit_error"] < 0.2
    assert found["gaussian"] == pytest.approx(4.5, abs=0.05)
    assert 3.6 < found["exponential"] < 4.1
    assert found["slope"] == pytest.approx(1 / 1.2, abs=0.05)
    assert found["p"] == pytest.approx(ndtr(-found["z"]))
    assert found["smallest_p"] == 1 / 50_001
    three = [
        found["gaussian"],
        found["exponential"],
        found["intercept"] + found["slope"] * (0.1 + 1.2 * 4.5),
    ]
    assert found["error"] == pytest.approx(np.ptp(three) / 2)


def test_the_line_reports_its_own_error():
    rng = np.random.default_rng(1)
    found = [pseudo.extrapolate(3.5, rng.normal(size=5000)) for _ in range(200)]
    misses = np.array([f["check"]["miss"] for f in found])
    assert abs(misses.mean()) < 0.4 and 0.8 < misses.std() < 1.2
    assert 0 < np.mean([f["reason"] is not None for f in found]) < 0.12
    z = np.array([f["z"] for f in found if f["reason"] is None])
    assert z.std() == pytest.approx(found[0]["fit_error"], rel=0.35)


def test_what_cannot_be_extrapolated_is_refused():
    rng = np.random.default_rng(0)
    broken = rng.normal(size=20_000) * np.where(rng.random(20_000) < 0.01, 4, 1)
    found = pseudo.extrapolate(5.0, broken)
    assert found["z"] is None and "lowest decade" in found["reason"]
    assert abs(found["check"]["miss"]) > 2
    toys = rng.normal(size=5000)
    few = pseudo.extrapolate(4.5, toys)
    assert few["z"] is few["p"] is few["gaussian"] is None and "10,000 toys" in few["reason"]
    assert pseudo.extrapolate(3.5, toys)["z"] is not None
    assert "distinct values" in pseudo.extrapolate(3.0, rng.normal(size=300))["reason"]
    assert "distinct values" in pseudo.extrapolate(3.0, np.round(toys))["reason"]
    assert "toys alone" in pseudo.extrapolate(0.5, toys)["reason"]
    json.dumps([found, few], allow_nan=False)


def test_counts_in_steps_are_extrapolated_too():
    n = np.random.default_rng(0).poisson(100, 20_000)
    found = pseudo.extrapolate(4.5, (n - 100) / 10)
    assert abs(found["z"] - 4.2) < found["error"]


# Several p-values of one hypothesis


@pytest.mark.parametrize("rho", [0, 0.5, 0.99])
@pytest.mark.parametrize("merge", [pseudo.merge_median, pseudo.merge_e_values])
def test_merged_p_values_are_valid_under_dependence(merge, rho):
    rng = np.random.default_rng(0)
    z = np.sqrt(rho) * rng.normal(size=20_000) + np.sqrt(1 - rho) * rng.normal(size=(6, 20_000))
    p = merge(ndtr(-z))
    for level in (0.1, 0.01):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level / 20_000)
    assert p.max() <= 1


def test_merged_p_values_keep_a_signal():
    p = np.full(5, 1e-6)
    assert pseudo.merge_median(p) == 2e-6
    assert pseudo.merge_e_values(p) == pytest.approx(2e-3)
    one = np.r_[1e-8, np.full(4, 0.5)]
    assert pseudo.merge_e_values(one) < 0.01 < pseudo.merge_median(one)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pseudo.local_p(1.0, []), "z_toys: expected 1 axes with entries"),
        (lambda: pseudo.local_p(np.nan, [1.0]), "z_observed: expected finite"),
        (lambda: pseudo.global_p(np.zeros((2, 3)), np.zeros((9, 3, 2))), "z_toys: expected shape"),
        (lambda: pseudo.combine([]), "at least one"),
        (lambda: pseudo.coverage(np.zeros(5)), "at least 20 toys"),
        (lambda: pseudo.extrapolate(3.0, [np.inf]), "finite"),
        (lambda: pseudo.merge_median([0.0, 0.5]), "above 0"),
        (lambda: pseudo.merge_e_values([0.5], kappa=1.0), "kappa"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(UserError, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value)
