"""Counts against a template: exact laws, pyhf's numbers, limits, conformal u, weights."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import gammaincc, ndtr
from scipy.stats import betabinom, kstest

from jaxad.errors import UserError
from jaxad.metrics import counting, likelihood, resonance

# (n, b, r, sigma_fit, sigma_closure, sqrt q0): pyhf 0.7.6, one shapesys of b / sqrt(r) and two
# normsys of 1 + sigma and 1 / (1 + sigma), `pyhf.infer.test_statistics.q0`.
PYHF = (
    (16, 11.38, 18.74, 0.0609, 0.261, 0.8166414),
    (1745, 918.3, 8.305, 0.224, 0.32, 1.347231),
    (5, 3.148, 144600, 0.404, 0.0407, 0.7962904),
    (89, 36.6, 10.47, 0.276, 0.0067, 2.277481),
    (65, 36.48, 45.04, 0.459, 0.0417, 1.35507),
    (315, 92.0, 8.305, 0.352, 0.387, 2.226235),
    (23, 9.212, 13.92, 0.111, 0.0406, 2.604428),
    (290, 152.4, 439.5, 0.492, 0.145, 1.499218),
    (5, 2.557, 67.19, 0.164, 0.0288, 1.269231),
    (79, 53.63, 3156, 0.018, 0.0456, 2.997208),
    (13, 11.36, 16690, 0.233, 0.00849, 0.384242),
    (83, 54.33, 26.03, 0.0498, 0.0187, 1.895815),
    (450, 244.9, 2799, 0.0129, 0.229, 2.858992),
    (100, 84.3, 7182, 0.0241, 0.0195, 1.585539),
    (920, 312.9, 3121, 0.0166, 0.46, 2.833277),
    (820, 437.3, 674.7, 0.293, 0.369, 1.536679),
    (66, 51.05, 26180, 0.104, 0.00902, 1.596769),
    (956, 630.3, 6504, 0.283, 0.0316, 1.643129),
    (2372, 921.4, 1104, 0.352, 0.00321, 3.112648),
    (62, 18.59, 71.82, 0.423, 0.0918, 2.988578),
    (8, 2.325, 16740, 0.0249, 0.227, 2.680306),
    (7, 2.421, 11610, 0.278, 0.0215, 2.146705),
    (894, 737.2, 11460, 0.0426, 0.0322, 3.060182),
    (10, 6.208, 48730, 0.00312, 0.0737, 1.371143),
    (22, 7.617, 1993, 0.0325, 0.0434, 4.151116),
)
# (n, b, r, sigma_fit, sigma_closure, S95): `pyhf.infer.hypotest` with qtilde, asymptotic.
PYHF_LIMITS = (
    (1745, 918.3, 8.305, 0.224, 0.32, 1361.724368),
    (89, 36.6, 10.47, 0.276, 0.0067, 77.741204),
    (29, 36.48, 45.04, 0.459, 0.0417, 18.567531),
    (315, 92.0, 8.305, 0.352, 0.387, 290.014635),
    (290, 152.4, 439.5, 0.492, 0.145, 222.671908),
)


# The exact law


def exact_tail(n, n_data, n_template, rank):
    """P(X >= n): of the n + rank - 1 highest of all rows at least n are data, if all mix freely."""
    total, top = n_data + n_template, n + rank - 1
    ways = sum(comb(top, j) * comb(total - top, n_data - j) for j in range(n, min(top, n_data) + 1))
    return Fraction(ways, comb(total, n_data))


@pytest.mark.parametrize(("n_data", "n_template", "efficiency"), [(60, 99, 0.1), (40, 640, 0.05)])
def test_the_beta_binomial_tail_is_exact_to_its_end(n_data, n_template, efficiency):
    rank = int(counting.cut_rank(n_template, efficiency))
    n = np.arange(n_data + 1)
    exact = np.array([float(exact_tail(k, n_data, n_template, rank)) for k in n])
    tail = counting.beta_binomial_p(n, n_data, n_template, efficiency)
    assert exact[-1] < 1e-15
    np.testing.assert_allclose(tail, exact, rtol=1e-10)


def test_the_beta_binomial_tail_is_scipys():
    n = np.array([0, 60, 100, 130, 200])
    for n_data, n_template in ((1000, 2000), (5000, 80_000)):
        rank = counting.cut_rank(n_template, 0.02)
        law = betabinom(n_data, rank, n_template + 1 - rank)
        tail = counting.beta_binomial_p(n, n_data, n_template, 0.02)
        # SciPy sums from below: nothing of a tail under 1e-11 is left.
        np.testing.assert_allclose(tail, law.sf(n - 1), rtol=1e-6, atol=1e-11)


def test_half_split_counts_are_calibrated():
    """3,000 sets of scores that saw neither data nor template: the binomial would be wrong."""
    rng = np.random.default_rng(1)
    n_data = n_template = 1000
    efficiencies = np.array([0.1, 0.01])
    counts = np.empty((3000, 2), int)
    for row in counts:
        u = counting.conformal_u(rng.normal(size=n_data), rng.normal(size=n_template))
        row[:] = (u[:, None] <= efficiencies).sum(0)
    z = counting.nominal_z(counts, n_data, n_template, efficiencies)
    p = counting.beta_binomial_p(counts, n_data, n_template, efficiencies)
    beyond = counting.beta_binomial_p(counts + 1, n_data, n_template, efficiencies)
    for uniform in rng.uniform(beyond, p).T:
        assert kstest(uniform, "uniform").pvalue > 1e-3
    assert ((z >= 3).mean(0) > 0).all() and ((z >= 3).mean(0) <= 0.004).all()
    assert 0.014 < (z[:, 0] >= 2).mean() < 0.032
    pulls = counting.pull(counts, n_data, n_template, efficiencies)
    assert (abs(pulls.mean(0)) < 0.06).all() and (abs(pulls.std(0) - 1) < 0.05).all()
    binomial = (counts[:, 0] - 100) / np.sqrt(90)
    assert (binomial >= 2).mean() > 0.05


def test_no_significance_is_claimed_beyond_the_exact_one():
    """Where counts are few: P(z >= threshold) by the law itself, of an excess and of a deficit."""
    for n_data, n_template, efficiency in ((1000, 16_000, 0.001), (2000, 32_000, 0.01)):
        n = np.arange(200)
        tail = counting.beta_binomial_p(n, n_data, n_template, efficiency)
        z = counting.nominal_z(n, n_data, n_template, efficiency)
        assert np.all(np.diff(z) >= 0) and np.isfinite(z).all()
        for threshold in (0.5, 1, 2, 3):
            assert tail[np.searchsorted(z, threshold)] <= ndtr(-threshold)
            assert 1 - tail[np.searchsorted(z, -threshold, "right")] <= ndtr(-threshold)


def test_folds_keep_the_mean_and_differ_little_from_their_sum():
    folds = [3199, 3200, 3200, 3200, 3201]
    assert counting.cut_rank(folds, 0.01) == sum(int(0.01 * (m + 1)) for m in folds)
    assert counting.expected_count(1000, folds, 0.1) == pytest.approx(100, rel=1e-3)
    one = counting.nominal_z([80, 100, 130], 1000, 16_000, 0.1)
    several = counting.nominal_z([80, 100, 130], 1000, folds, 0.1)
    np.testing.assert_allclose(several, one, atol=0.02)
    cuts = counting.nominal_z([[130, 20], [100, 10]], 1000, folds, [0.1, 0.01])
    assert cuts.shape == (2, 2) and cuts[0, 0] == several[2]
    varied = counting.nominal_z([100, 100], [1000, 900], folds, 0.1)
    assert varied[0] == several[1] < varied[1]


def test_the_rank_is_that_of_a_cut_on_u():
    for n_template, efficiency in ((99, 0.29), (9_999, 0.001), (149, 0.07), (1234, 0.1)):
        u = np.arange(1, n_template + 2) / (n_template + 1)
        assert counting.cut_rank(n_template, efficiency) == (u <= efficiency).sum()


def test_a_fitted_normalisation_and_closure_go_into_the_likelihood():
    z = counting.nominal_z(130, 1000, 15_999, 0.1, 0.03, 0.04, expected=1000.0, delta=0.05)
    assert z == pytest.approx(counting.profile_z(130, 105, 1600, 0.03, 0.04))
    own = counting.nominal_z([1100, 1150], 10_000, 160_000, 0.1, delta=1e-12)
    np.testing.assert_allclose(
        own, counting.nominal_z([1100, 1150], 10_000, 160_000, 0.1), rtol=0.01
    )
    assert counting.nominal_z(1100, 1100, 16_000, 1.0, 0.02, expected=1000.0) > 2


# The likelihood


def test_the_likelihood_is_pyhfs():
    n, b, r, fit, closure, z = np.array(PYHF).T
    np.testing.assert_allclose(counting.profile_z(n, b, r, fit, closure), z, rtol=1e-6)
    n, b, r, fit, closure, limit = np.array(PYHF_LIMITS).T
    np.testing.assert_allclose(counting.upper_limit(n, b, r, fit, closure), limit, rtol=1e-6)


def test_the_likelihood_is_pyhfs_run_now():
    pyhf = pytest.importorskip("pyhf")
    n, b, r, fit, closure, z = PYHF[7]
    normal = [
        {"name": name, "type": "normsys", "data": {"hi": 1 + s, "lo": 1 / (1 + s)}}
        for name, s in (("fit", fit), ("closure", closure))
    ]
    shape = {"name": "template", "type": "shapesys", "data": [b / r**0.5]}
    factor = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": [1.0], "modifiers": [factor]},
        {"name": "background", "data": [b], "modifiers": [shape, *normal]},
    ]
    bounds = {"name": "mu", "bounds": [[0.0, 10.0 * n]], "inits": [1.0]}
    channel = {"name": "window", "samples": samples}
    model = pyhf.Model({"channels": [channel], "parameters": [bounds]}, poi_name="mu")
    data = [float(n), *model.config.auxdata]
    q0 = pyhf.infer.test_statistics.q0(
        0.0,
        data,
        model,
        model.config.suggested_init(),
        model.config.suggested_bounds(),
        model.config.suggested_fixed(),
    )
    assert float(q0) ** 0.5 == pytest.approx(z, rel=1e-4)
    assert counting.profile_z(n, b, r, fit, closure) == pytest.approx(float(q0) ** 0.5, rel=0.01)


@pytest.mark.parametrize(
    ("n", "b", "error", "quadrature", "solved", "shares"),
    [
        (84, 42.0, 4.4, 4.50, 4.47, (1, 1, 1)),
        (28, 4.3, 1.2, 5.78, 5.60, (2, 1, 1)),
        (12, 3.0, 2.2, 2.08, 2.19, (0, 0, 1)),
    ],
)
def test_quadrature_is_for_display(n, b, error, quadrature, solved, shares):
    """One Poisson error of all in quadrature, against its parts solved for."""
    assert resonance.significance(n, b, error) == pytest.approx(quadrature, abs=0.06)
    template, fit, closure = np.sqrt(np.array(shares) / sum(shares)) * error / b
    r = 1 / template**2 if template else np.inf
    z = counting.profile_z(n, b, r, fit, closure)
    assert z == pytest.approx(solved, abs=0.02)
    assert (z - resonance.significance(n, b, error)) * (solved - quadrature) > 0


@given(st.integers(0, 5000), st.floats(0.1, 5000), st.floats(0.5, 1e6))
def test_without_nuisances_it_is_li_and_ma(n, b, r):
    z = counting.profile_z(n, b, r)
    total = n + r
    alpha = b / r
    li_ma = r * np.log((1 + alpha) * r / total)
    if n:
        li_ma += n * np.log((1 + alpha) / alpha * n / total)
    assert z**2 == pytest.approx(2 * li_ma, rel=1e-6, abs=1e-6)
    assert z * (n - b) >= 0
    assert resonance.significance(n, b, b / np.sqrt(r)) == pytest.approx(z, rel=1e-9, abs=1e-9)


def test_significance_falls_with_every_error_and_rises_with_the_count():
    n = np.arange(0, 4000, 7)
    z = counting.profile_z(n, 400, 6400, 0.05, 0.1)
    assert (np.diff(z) > 0).all() and z[0] < -3 and (z[n > 400] > 0).all()
    errors = np.linspace(0, 0.5, 20)
    for values in (
        counting.profile_z(600, 400, 1 / (errors + 1e-9) ** 2),
        counting.profile_z(600, 400, 6400, errors),
        counting.profile_z(600, 400, 6400, 0.02, errors),
    ):
        assert (np.diff(values) < 0).all()
    swapped = counting.profile_z(600, 400, 6400, 0.1, 0.02)
    assert swapped == pytest.approx(counting.profile_z(600, 400, 6400, 0.02, 0.1))


def test_extreme_counts_are_solved():
    rng = np.random.default_rng(0)
    size = 20_000
    b, n = 10 ** rng.uniform(-2, 6, size), rng.poisson(10 ** rng.uniform(-1, 6, size))
    r, fit, closure = 10 ** rng.uniform(0, 7, size), *rng.uniform(0, 2, (2, size))
    z = counting.profile_z(n, b, r, fit, closure)
    assert np.isfinite(z).all() and (np.sign(z) == np.sign(n - b)).all()
    zero = np.zeros(size)
    k2 = np.log1p(fit) ** 2 + np.log1p(closure) ** 2
    d = likelihood._fitted(zero, n, b, r, k2)
    left = np.log(b) + np.log1p(d / r) + k2 * d
    seen = n > 0
    np.testing.assert_allclose(left[seen], np.log((n - d)[seen]), atol=1e-6)


# Limits


def test_limits_without_errors_are_those_of_cls():
    assert counting.upper_limit(0, [0.01, 3, 20], np.inf) == pytest.approx(-np.log(0.05))
    for n, b in ((3, 3.0), (10, 4.0), (6, 20.0)):
        none = gammaincc(n + 1, b)
        exact = brentq(lambda s, n=n, b=b, c=none: gammaincc(n + 1, s + b) / c - 0.05, 0, 100)
        assert counting.upper_limit(n, b, np.inf) == pytest.approx(exact, rel=1e-6)
        assert counting.upper_limit(n, b, 1e9, 1e-6) == pytest.approx(exact, rel=1e-3)


def test_exact_limits_are_those_of_toys():
    rng = np.random.default_rng(2)
    n, b, r, fit = 6, 5.0, 30.0, 0.2
    limit = counting.upper_limit(n, b, r, fit)
    background = b * rng.gamma(r, size=400_000) / r * 1.2 ** rng.normal(size=400_000)
    both, none = ((rng.poisson(background + s) <= n).mean() for s in (limit, 0.0))
    assert both / none == pytest.approx(0.05, rel=0.05)


def test_the_two_kinds_of_limit_meet():
    n = np.array([15, 25, 40])
    few, many = (counting.upper_limit(n, b, 400, 0.1) for b in (24.999, 25.001))
    np.testing.assert_allclose(few, many, rtol=0.08)
    assert counting.limit_method(24.9) != counting.limit_method(25)


def test_limits_rise_with_the_count():
    for b, r in ((4.0, 400), (60.0, 6000)):
        limits = counting.upper_limit(np.arange(0, int(2 * b)), b, r, 0.05)
        assert (np.diff(limits) > 0).all()
    assert counting.upper_limit(30, 30, 900, 0.3) > counting.upper_limit(30, 30, 900, 0.1)
    assert counting.upper_limit(30, 30, 900, level=0.9) < counting.upper_limit(30, 30, 900)


@pytest.mark.parametrize(("b", "r"), [(4.0, 400), (60.0, 6000)])
def test_the_expected_limit_is_that_of_toys_without_a_signal(b, r):
    rng = np.random.default_rng(0)
    n = rng.poisson(b * rng.gamma(r, size=100_000) / r * 1.05 ** rng.normal(size=100_000))
    counts = np.quantile(n, (0.5, 0.16, 0.84))
    limits = counting.upper_limit(counts, b, r, 0.05)
    expected = counting.expected_limit(b, r, 0.05)
    assert list(expected.values()) == pytest.approx(limits)
    assert expected["low"] < expected["median"] < expected["high"]


# Conformal u and weights


def test_u_counts_ties_against_the_event():
    template = [0.0, 1.0, 1.0, 2.0]
    assert counting.conformal_u([2.0, 1.0, 3.0, -1.0], template).tolist() == [0.4, 0.8, 0.2, 1.0]


def test_u_is_the_same_for_any_rising_function_and_order():
    rng = np.random.default_rng(0)
    data, template = rng.normal(size=200), rng.normal(size=999)
    u = counting.conformal_u(data, template)
    np.testing.assert_array_equal(counting.conformal_u(np.exp(data), np.exp(template[::-1])), u)
    order = rng.permutation(200)
    np.testing.assert_array_equal(counting.conformal_u(data[order], template), u[order])
    equal = counting.conformal_u(data, template, np.full(200, 2.5), np.full(999, 2.5))
    np.testing.assert_allclose(equal, u)


def test_weights_make_u_uniform_where_the_template_is_wrong():
    rng = np.random.default_rng(0)
    data, template = rng.normal(0.3, 1, 3000), rng.normal(size=40_000)
    plain = counting.conformal_u(data, template)
    weighted = counting.conformal_u(
        data, template, np.exp(0.3 * data - 0.045), np.exp(0.3 * template - 0.045)
    )
    assert kstest(plain, "uniform").pvalue < 1e-10
    assert kstest(weighted, "uniform").pvalue > 1e-3


def test_weighted_counts_are_scaled_before_any_formula():
    scale = counting.weight_scale(130 * 0.5, 130 * 0.25)
    weighted = counting.nominal_z(65.0, 500.0, 15_999, 0.1, 0.02, 0, 500.0, scale=scale)
    assert weighted == pytest.approx(counting.profile_z(130, 100, 1600, 0.02))
    rng = np.random.default_rng(0)
    events = rng.poisson(200, 2000)
    w = rng.exponential(size=events.sum())
    sums = np.add.reduceat(w, np.r_[0, np.cumsum(events)[:-1]])
    scale = counting.weight_scale(w.sum(), (w**2).sum())
    z = counting.profile_z(sums / scale, 200 / scale, 1e6)
    assert abs(z.mean()) < 0.1 and abs(z.std() - 1) < 0.06
    assert counting.profile_z(sums, 200, 1e6).std() > 1.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: counting.cut_rank(500, 0.001), "at least 999 template rows.*found 500"),
        (lambda: counting.cut_rank(500, 1.5), r"efficiency: expected values in \(0, 1\]"),
        (lambda: counting.beta_binomial_p(2.5, 100, 999, 0.1), "whole numbers"),
        (lambda: counting.beta_binomial_p(101, 100, 999, 0.1), "found 101"),
        (lambda: counting.nominal_z(5, 100, 999, 0.1, sigma_fit=0.1), "window's own"),
        (lambda: counting.nominal_z(100, 100, 999, 1.0), "below 1"),
        (lambda: counting.profile_z(5, 0, 100), "b: expected positive"),
        (lambda: counting.profile_z(5, 3, 100, -0.1), "sigma_fit: expected finite"),
        (lambda: counting.profile_z(np.nan, 3, 100), "n: expected finite"),
        (lambda: counting.upper_limit(5, 3, 100, level=0.3), "level"),
        (lambda: counting.conformal_u([1.0], [0.0], [1.0]), "one of two"),
        (lambda: counting.conformal_u([1.0], [0.0], [1.0], [0.0]), "positive"),
        (lambda: counting.conformal_u([np.nan], [0.0]), "NaN"),
        (lambda: counting.weight_scale(0, 0), "positive sums"),
    ],
)
def test_what_cannot_be_counted_is_refused(call, message):
    with pytest.raises(UserError, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value)
