"""Counting, sideband fit and look-elsewhere: closed forms, calibration on toys, power."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from jaxad.errors import UserError
from jaxad.metrics import closure, resonance

WINDOW, SPAN = (3.3, 3.7), (2.4, 7.0)


def dijet_masses(n, seed, signal=0):
    """Poisson(n) masses [TeV] of a steep dijet spectrum and a Gaussian resonance at 3.5 TeV."""
    rng = np.random.default_rng(seed)
    m = np.arange(SPAN[0] + 5e-4, SPAN[1], 1e-3)
    x = m / 13
    density = (1 - x) ** 8 / x ** (5 + 0.3 * np.log(x))
    background = rng.choice(m, rng.poisson(n), p=density / density.sum())
    background = background + rng.uniform(-5e-4, 5e-4, len(background))
    return np.r_[background, rng.normal(3.5, 0.07, signal)]


def test_significance_in_known_limits():
    assert resonance.significance(100, 100) == 0
    assert resonance.significance(10_300, 10_000) == pytest.approx(3, rel=0.01)
    assert resonance.significance(97, 100) < 0
    s, b = 20.0, 50.0
    asimov = np.sqrt(2 * ((s + b) * np.log1p(s / b) - s))
    assert resonance.significance(s + b, b) == pytest.approx(asimov)
    assert resonance.significance(0, 3) == pytest.approx(-np.sqrt(6))


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.05, 5))
def test_significance_is_li_and_ma_for_on_off_counts(n_on, n_off, alpha):
    total = n_on + n_off
    li_ma = 2 * (
        n_on * np.log((1 + alpha) / alpha * n_on / total)
        + n_off * np.log((1 + alpha) * n_off / total)
    )
    found = resonance.significance(n_on, alpha * n_off, alpha * np.sqrt(n_off))
    assert found**2 == pytest.approx(li_ma, abs=1e-6)
    assert found * (n_on - alpha * n_off) >= 0


def test_an_uncertain_background_weakens_the_excess():
    values = [resonance.significance(150, 100, error) for error in (0, 1e-3, 5, 20, 100)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert sorted(values, reverse=True) == values
    simple = 500 / np.hypot(np.sqrt(1e4), 300)
    assert resonance.significance(10_500, 10_000, 300) == pytest.approx(simple, rel=0.03)


def test_counting_is_calibrated_without_a_signal():
    rng = np.random.default_rng(0)
    z = [
        resonance.count_above(rng.normal(size=rng.poisson(4000)), rng.normal(size=8000), 1.5, 4000)
        for _ in range(400)
    ]
    z = np.array([found["significance"] for found in z])
    assert abs(z.mean()) < 0.2 and 0.9 < z.std() < 1.1


def test_a_template_that_is_wrong_by_two_sigma_is_calibrated_by_its_false_windows():
    """10 % too few samples pass, in the window and, give or take 3 %, in six false ones."""
    rng, cut, n, m = np.random.default_rng(0), 1.2816, 4000, 16_000
    z: dict[str, list[float]] = {"alone": [], "tested": []}
    for _ in range(250):
        flaws = 1.1 + 0.03 * rng.normal(size=7)
        data = [rng.random(rng.poisson(n)) < 0.1 * flaw for flaw in flaws]
        drawn = [rng.random(m) < 0.1 for _ in flaws]
        passed = np.array([d.sum() for d in drawn[1:]])
        tested = closure.summary(
            *([d.sum() for d in data[1:]], [len(d) for d in data[1:]] * passed / m, passed),
            efficiency=0.1,
        )
        for name, one in (("alone", None), ("tested", tested)):
            scores = (2.0 * events for events in (data[0], drawn[0]))
            found = resonance.count_above(*scores, cut, n, 40, one)
            z[name].append(found["significance"])
    alone, tested = np.array(z["alone"]), np.array(z["tested"])
    assert 1.4 < alone.mean() < 2.0 and (alone > 2).mean() > 0.3
    assert abs(tested.mean()) < 0.2 and 0.85 < tested.std() < 1.1
    assert (tested > 2).mean() < 0.05


def test_the_errors_of_an_expectation_add_up():
    scores = np.r_[np.zeros(900), np.ones(100)]
    found = resonance.count_above(scores, scores, 0.5, 500, 10, {"mean": 0.2, "sigma": 0.06})
    assert found["expected"] == pytest.approx(60) and found["delta"] == 0.2
    assert found["relative_errors"] == pytest.approx(
        {"template": 0.1, "fit": 0.02, "closure": 0.05}
    )
    assert found["error"] == pytest.approx(60 * np.sqrt(0.1**2 + 0.02**2 + 0.05**2))
    alone = resonance.count_above(scores, scores, 0.5, 500)
    assert alone["significance"] == pytest.approx(resonance.significance(100, 50, 5))


def test_counting_without_samples_above_the_cut_says_why():
    found = resonance.count_above(np.ones(5), np.zeros(5), 0.5, 5)
    assert found["significance"] is None and "passes the cut" in found["reason"]
    with pytest.raises(UserError, match="positive background"):
        resonance.significance(3, 0)


@pytest.mark.parametrize(
    ("n", "n_parameters", "n_toys"), [(300, 3, 150), (3_000, 4, 100), (100_000, 4, 40)]
)
def test_sideband_fit_is_unbiased_and_calibrated(n, n_parameters, n_toys):
    fits = [
        resonance.sideband_fit(dijet_masses(n, s), WINDOW, span=SPAN, n_parameters=n_parameters)
        for s in range(n_toys)
    ]
    z = np.array([fit["significance"] for fit in fits])
    assert abs(z.mean()) < 3.5 / np.sqrt(n_toys) and abs(z.std() - 1) < 2.5 / np.sqrt(n_toys)
    ratio = np.sum([f["expected"] for f in fits]) / np.sum([f["observed"] for f in fits])
    assert ratio == pytest.approx(1, abs=0.06)
    if n > 10_000:
        chi2 = np.mean([fit["chi2"] / fit["ndof"] for fit in fits])
        assert chi2 == pytest.approx(1, abs=0.12)
        spread = np.std([fit["expected"] for fit in fits])
        assert np.mean([fit["error"] for fit in fits]) == pytest.approx(spread, rel=0.35)


def test_four_parameters_fit_what_they_describe_and_cost_precision():
    mass = dijet_masses(100_000, 1)
    four = resonance.sideband_fit(mass, WINDOW, span=SPAN)
    three = resonance.sideband_fit(mass, WINDOW, span=SPAN, n_parameters=3)
    assert four["chi2"] <= three["chi2"] + 1e-6 and four["ndof"] == three["ndof"] - 1
    assert four["error"] > three["error"] and four["fit_p_value"] > 1e-3
    json.dumps(four, allow_nan=False)


def test_a_cut_on_a_useful_score_uncovers_the_resonance():
    mass = dijet_masses(20_000, 3, signal=120)
    rng = np.random.default_rng(0)
    score = rng.normal(size=len(mass))
    score[-120:] += 3
    fits = resonance.sideband_fits(mass, score, WINDOW, (0.05, 0.01, 1e-6))
    assert fits["1"]["significance"] < 4 < fits["0.01"]["significance"]
    assert fits["0.01"]["observed"] > fits["0.01"]["expected"] + 40
    assert fits["0.01"]["edges"] == fits["1"]["edges"]
    assert "filled bins" in fits["1e-06"]["reason"]


def test_masses_outside_the_machine_are_refused():
    with pytest.raises(UserError, match="sqrt"):
        resonance.sideband_fit(dijet_masses(3000, 0) * 1000, (3300, 3700), width=100)


def test_look_elsewhere_bounds_the_chance_of_the_best_window():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(20_000, 140))
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 3) ** 2)
    field = np.apply_along_axis(np.convolve, 1, noise, kernel, "valid") / np.sqrt((kernel**2).sum())
    highest = field.max(1)
    for level in (2.5, 3.0):
        scan = np.full(field.shape[1], -1.0)
        scan[50] = level
        found = resonance.look_elsewhere(scan, field[:2000])
        assert found["p_global"] == pytest.approx((highest > level).mean(), rel=0.25)
        assert found["best"] == 50 and found["p_local"] == pytest.approx(norm.sf(level))
        assert found["trials_factor"] > 3 and found["z_global"] < found["z_local"]


@pytest.fixture(scope="module")
def overlapping():
    """(T, 46) background-only scans of windows of five bins, one bin apart."""
    bins = np.random.default_rng(1).standard_normal((150_000, 50), np.float32)
    total = np.pad(bins.cumsum(1), ((0, 0), (1, 0)))
    return (total[:, 5:] - total[:, :-5]) / np.float32(5**0.5)


def test_look_elsewhere_is_tight_of_overlapping_windows_and_loose_of_adjacent_ones(overlapping):
    adjacent = overlapping[:, ::5]
    for level in (2.5, 3.0, 3.5):
        for scans, low, high in ((overlapping, 1.15, 1.35), (adjacent, 1.6, 2.5)):
            scan = np.full(scans.shape[1], -1.0)
            scan[5] = level
            bound = resonance.look_elsewhere(scan, scans[:5000])["p_global"]
            assert low < bound / (scans.max(1) > level).mean() < high
        bonferroni = adjacent.shape[1] * norm.sf(level)
        assert bonferroni == pytest.approx((adjacent.max(1) > level).mean(), rel=0.2)


def test_look_elsewhere_quotes_the_error_of_the_crossings(overlapping):
    scan = np.append(3.0, np.full(45, -1.0))
    found = resonance.look_elsewhere(scan, overlapping[:400])
    spread = [
        resonance.look_elsewhere(scan, overlapping[i : i + 400]) for i in range(0, 80_000, 400)
    ]
    for key in ("upcrossings", "p_global"):
        expected = np.std([each[key] for each in spread])
        assert found[f"{key}_error"] == pytest.approx(expected, rel=0.15)
    assert found["caveat"] is None
    coarse = resonance.look_elsewhere(scan[::5], overlapping[:400, ::5], finer=overlapping[:400])
    assert coarse["upcrossings_finer"] == found["upcrossings"]
    assert coarse["upcrossings_finer_error"] == found["upcrossings_error"]
    assert coarse["upcrossings"] < 0.7 * coarse["upcrossings_finer"]


def test_crossings_of_few_scans_are_marked(overlapping):
    scan = overlapping[0]
    assert "observed scan itself" in resonance.look_elsewhere(scan)["caveat"]
    few = resonance.look_elsewhere(scan, overlapping[:99])
    assert few["caveat"].startswith("crossings of 99 scans: expected at least 100")
    with pytest.raises(UserError, match=r"expected finite significances \(T, 46\)"):
        resonance.look_elsewhere(scan, overlapping[:200, :40])
    with pytest.raises(UserError, match=r"finer: .* with 1 others"):
        resonance.look_elsewhere(scan, finer=[0.0, np.nan])


def test_look_elsewhere_from_one_scan_is_json_and_bounded():
    found = resonance.look_elsewhere([-0.3, 0.2, -1.0, 4.0, 0.5])
    assert found["upcrossings"] == 2 and 0 < found["p_global"] < 1e-2
    json.dumps(resonance.look_elsewhere([-0.3, -0.2]), allow_nan=False)


def test_a_fit_that_says_nothing_of_the_window_is_refused():
    """A score that is blind outside the window leaves a few events there, all of them far above."""
    mass = np.repeat([6.15, 6.25, 6.35, 6.45, 6.55, 6.75, 3.5], [1, 2, 2, 1, 1, 2, 4000])
    with pytest.raises(UserError, match="9 events outside the window do not fix"):
        resonance.sideband_fit(mass, WINDOW, span=(2.9, 6.9))
    smooth = dijet_masses(30_000, 0)
    score = np.append(np.zeros(len(smooth)), np.ones(len(mass)))
    fits = resonance.sideband_fits(np.append(smooth, mass), score, WINDOW, (1e-4,), span=(2.4, 7.0))
    assert "do not fix" in fits["0.0001"]["reason"]


def test_without_any_fit_the_reason_is_told():
    mass = dijet_masses(3000, 0)
    for window, words in (((8.0, 8.4), "inside the range of the fit"), (WINDOW, "filled bins")):
        span = (2.9, 6.9) if window != WINDOW else (3.2, 3.9)
        fits = resonance.sideband_fits(mass, mass, window, (0.1,), span=span)
        assert words in fits["1"]["reason"]


def test_look_elsewhere_beyond_the_range_of_floats():
    found = resonance.look_elsewhere([0.1, 77.4, 0.2])
    assert found["p_local"] == 0 and found["trials_factor"] is None
