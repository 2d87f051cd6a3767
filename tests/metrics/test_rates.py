"""Rates at integer thresholds against brute force; thresholds that last, and that follow."""

import numpy as np
import pytest

from jaxad import report
from jaxad.errors import UserError
from jaxad.metrics import decorrelated, rates, stability
from jaxad.metrics.binned import edges_of, fractions

TIES = np.repeat([-3, 0, 1, 2, 5], [30, 40, 14, 12, 4])


def test_every_threshold_has_its_own_rate_and_none_under_ten_events():
    found = rates.every_threshold(TIES, input_rate=1e6)
    assert found["threshold"] == [-3, 0, 1, 2]  # those between accept what the next one does
    expected = [int(np.sum(t <= TIES)) for t in found["threshold"]]
    assert found["n"] == expected == [100, 70, 30, 16]
    assert found["rate"] == pytest.approx([n * 1e4 for n in expected])
    p, n = np.array(expected) / 100, 100
    wilson = np.sqrt(p * (1 - p) / n + 0.25 / n**2) / (1 + 1 / n)
    assert found["rate_error"] == pytest.approx(wilson * 1e6)
    assert "rate" not in rates.every_threshold(TIES)
    with pytest.raises(UserError, match="expected 10 events or more, found 9"):
        rates.every_threshold(TIES[:9])


@pytest.mark.parametrize("wanted", [0.1, 0.16, 0.2, 0.3, 0.31, 0.699, 0.7, 0.99])
def test_a_wanted_rate_gets_the_loosest_threshold_within_it(wanted):
    found = rates.at_fraction(TIES, wanted)
    within = [t for t in range(-4, 8) if np.mean(t <= TIES) <= wanted + 1e-12]
    assert found["threshold"] == min(within)
    assert found["fraction"] == np.mean(found["threshold"] <= TIES)
    assert found["looser"]["fraction"] == np.mean(found["threshold"] - 1 <= TIES) > wanted
    assert (found["reason"] is None) == (found["n"] >= 10)


def test_points_under_ten_events_are_refused():
    assert "leaves 9, fewer than 10" in rates.at_fraction(TIES, 0.09)["reason"]
    assert (
        "tied scores: fraction 1.5e-1 allows 15 events, the loosest threshold within it leaves 4"
        in rates.at_fraction(TIES, 0.15)["reason"]
    )
    assert rates.at_fraction(np.arange(1000), 0.01)["reason"] is None


def test_scores_of_31_bits_have_thresholds_where_they_are(monkeypatch):
    scores = np.random.default_rng(0).integers(0, 1 << 31, 5000)
    every = rates.every_threshold(scores)
    assert every["threshold"] == np.sort(scores)[:-9].tolist()
    assert every["n"] == list(range(5000, 9, -1))
    found = rates.at_fraction(scores, 0.01)
    assert found["n"] == 50 and found["looser"]["n"] == 51
    counts = rates.grid(scores, scores[::-1])
    assert max(counts["total"].shape) <= rates.MAX_GRID + 1
    monkeypatch.setattr(rates, "MOST", 100)
    fewer = rates.every_threshold(scores)
    assert len(fewer["n"]) <= 100 and fewer["n"][0] == 5000 and fewer["n"][-1] == 10
    assert set(fewer["threshold"]) <= set(every["threshold"])


def test_zero_bias_comes_with_the_bunches():
    assert rates.zero_bias_rate(2340) == 2340 * 11_245.5
    with pytest.raises(UserError, match="bunches: expected 1 to 3564, found 0"):
        rates.zero_bias_rate(0)


def test_scores_become_integers_exactly_or_are_refused():
    counts = np.array([-5, 0, 289, 415], np.int64)
    values = (counts / 16).astype(np.float32)
    np.testing.assert_array_equal(rates.integers(values, scale=16), counts)
    np.testing.assert_array_equal(rates.integers(values + 0.01, scale=16), counts)
    for bad, message in (
        (values, "expected integer scores, found -0.3125: give the factor"),
        ([1.0, np.inf], "found infinities"),
        ([1.0, np.nan], "found 1 NaN"),
        ([0.0, 2.0**53], r"integers below 2\^53, found 9\.007e\+15: give a smaller factor"),
        (np.float32([1e8, 1e8 + 8]), "single precision, which holds every integer to 16,777,216"),
    ):
        with pytest.raises(UserError, match=message):
            rates.integers(bad)


@pytest.fixture(scope="module")
def detectors():
    rng = np.random.default_rng(0)
    common = rng.integers(0, 6, 400)
    a, c = (common + rng.integers(0, n, 400) for n in (9, 14))
    return a, c - 4, rng.random(400) < 0.3


def test_grid_counts_as_brute_force_does(detectors):
    a, c, l1 = detectors
    found = rates.grid(a, c, l1)
    assert found["thresholds_a"].tolist() == list(range(a.min(), a.max() + 2))
    for i, t in enumerate(found["thresholds_a"]):
        for j, u in enumerate(found["thresholds_c"]):
            by_a, by_c = a >= t, c >= u
            masks = {
                **{"total": by_a | by_c, "overlap": by_a & by_c, "pure": (by_a | by_c) & ~l1},
                **{"unique_a": by_a & ~by_c & ~l1, "unique_c": by_c & ~by_a & ~l1},
            }
            assert {k: found[k][i, j] for k in masks} == {k: m.sum() for k, m in masks.items()}
            assert (found["n_a"][i], found["n_c"][j]) == (by_a.sum(), by_c.sum())
    np.testing.assert_array_equal(rates.grid(a, c)["pure"], found["total"])
    with pytest.raises(UserError, match="second detector: expected the events of the first"):
        rates.grid(a, c[1:])


def test_long_axes_keep_thresholds_evenly_spaced_in_the_rate():
    scores = np.floor(np.random.default_rng(0).exponential(300, 5000)).astype(np.int64)
    thresholds = rates.grid_thresholds(scores, most=40)
    assert len(thresholds) <= 41 and (np.diff(thresholds) > 0).all()
    n = rates.accepted(scores, thresholds)
    assert n[-1] == 0 and n[0] == 5000
    assert np.diff(np.log(n[n >= 10])).min() > -0.5


@pytest.mark.parametrize("split", [0.5, 0.8])
def test_the_pair_shares_the_unique_rate_as_stated(detectors, split):
    a, c, l1 = detectors
    counts = rates.grid(a, c, l1)
    found = rates.balanced(counts, 400, 0.2, split, input_rate=1e6)
    best = None
    for t in range(a.min(), a.max() + 2):
        for u in range(c.min(), c.max() + 2):
            total = lambda t, u: np.sum((a >= t) | (c >= u))  # noqa: E731
            if total(t, u) > 80:
                continue
            if (t > a.min() and total(t - 1, u) <= 80) or (u > c.min() and total(t, u - 1) <= 80):
                continue
            unique = [np.sum((a >= t) & (c < u) & ~l1), np.sum((c >= u) & (a < t) & ~l1)]
            key = abs(unique[0] / max(sum(unique), 1) - split), -total(t, u)
            if best is None or key < best[0]:
                best = key, t, u
    assert (found["threshold_a"], found["threshold_c"]) == best[1:]
    assert found["total"]["n"] == -best[0][1] <= 80
    assert found["total"]["rate"] == found["total"]["n"] * 2500
    with pytest.raises(UserError, match="split: expected a number between 0 and 1, found 1"):
        rates.balanced(counts, 400, 0.2, 1)


def test_pairs_under_ten_events_are_refused(detectors):
    a, c, _ = detectors
    reason = rates.balanced(rates.grid(a, c), 400, 0.02)["reason"]
    assert "events, fewer than 10" in reason
    with pytest.raises(UserError, match="no pair of thresholds accepts at most 1e-3"):
        rates.balanced(
            rates.grid(np.r_[a, 99], np.r_[c, 99]) | {"total": np.ones((2, 2))}, 401, 1e-3
        )


def test_slope_of_the_logarithm_of_the_rate():
    x, n = np.array([20.0, 30.0, 45.0, 60.0]), np.array([4e7, 1e7, 2e7, 3e7])
    bins = {"mean": x, "n": n, "n_flagged": np.round(n * np.exp(-9 + 0.031 * x))}
    found = stability.log_slope(bins)
    assert found["slope"] == pytest.approx(0.031, abs=1e-5) and found["ndof"] == 2
    rng, slopes = np.random.default_rng(0), []
    for _ in range(200):
        drawn = stability.log_slope(bins | {"n_flagged": rng.poisson(n * np.exp(-12 + 0.031 * x))})
        slopes.append((drawn["slope"] - 0.031) / drawn["error"])
    assert abs(np.mean(slopes)) < 0.2 and 0.85 < np.std(slopes) < 1.15
    for ends in ([12, 0, 0, 0], [0, 0, 0, 12]):
        alone = stability.log_slope(bins | {"n_flagged": ends})
        assert alone["slope"] is None and "all flagged events lie in one bin" in alone["reason"]
    few = stability.log_slope(bins | {"n_flagged": [3, 0, 4, 2]})
    assert few["slope"] is None and few["reason"] == "9 events are flagged, fewer than 10"
    one = {"mean": [1.0], "n": [50], "n_flagged": [20]}
    assert "two bins or more, found 1" in stability.log_slope(one)["reason"]


@pytest.fixture(scope="module")
def eras():
    """Scores of two runs, the second seven higher; pile-up, which they do not follow."""
    rng = np.random.default_rng(1)
    first = rng.geometric(0.05, 4000)
    scores = np.r_[first, np.repeat(first, 2) + 7]
    run = np.repeat([396102, 398183], [4000, 8000])
    return scores, run, rng.poisson(40, 12_000)


def test_an_offset_restores_the_rate_of_a_shifted_period(eras):
    scores, run, pile_up = eras
    first, later = stability.periods_of(run, None)
    np.testing.assert_array_equal(first, run == 396102)
    np.testing.assert_array_equal(stability.periods_of(run, 398183)[0], later)
    found = stability.measure(scores, 0.05, first, {"pile-up": pile_up}, input_rate=1e6)
    point = found["point"]
    assert point["rate"] <= 5e4 < point["looser"]["rate"]
    assert found["recalibrated"]["offset"] == 7
    assert found["recalibrated"]["after"]["value"] == 0
    k = [np.sum(scores[m] >= point["threshold"]) for m in (first, later)]
    assert found["drift"]["value"] == pytest.approx(np.log(k[1] / 8000 * 4000 / k[0]))
    assert found["periods"]["second"]["rate"] == k[1] / 8000 * 1e6
    slope = found["columns"]["pile-up"]["slope"]["second"]
    assert abs(slope["slope"]) < 4 * slope["error"]
    assert sum(found["columns"]["pile-up"]["bins"]["second"]["n_flagged"]) == k[1]
    drawn = report.stability_figure(found, "pile-up", input_rate=1e6)
    assert "offset +7" in drawn.axes[0].get_title(loc="left")


def test_periods_and_drifts_without_events_are_refused(eras):
    scores, run, _ = eras
    with pytest.raises(UserError, match=r"events in 7 and others, found 0 .*396102, 398183"):
        stability.periods_of(run, 7)
    with pytest.raises(UserError, match="the lower half of the values and others, found 0 of 5"):
        stability.periods_of(np.ones(5), None)
    with pytest.raises(UserError, match="first period: fraction 1e-3 of 4000 events leaves 4"):
        stability.measure(scores, 1e-3, run == 396102, {})
    assert "9 events are flagged in one period" in stability.drift((9, 50), (100, 100))["reason"]
    with pytest.raises(UserError, match="9 events of the first period pass"):
        stability.recalibrated(np.arange(100), np.arange(100), 91)


def test_bins_hold_every_event_once():
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=999), rng.poisson(2, 999).astype(float), np.ones(50)):
        flagged = rng.random(len(x)) < 0.3
        found = fractions(flagged, x, edges_of(x))
        assert sum(found["n"]) == len(x) and sum(found["n_flagged"]) == flagged.sum()
        assert all(a < b for a, b in zip(found["high"], found["low"][1:], strict=False))
    assert found["p_value"] is None and found["ndof"] == 0


def correlated(n: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A score that grows with HT, in its mean and its spread, and with the multiplicity."""
    rng = np.random.default_rng(seed)
    ht, met = 30 + rng.exponential(80, n), rng.exponential(30, n)
    multiplicity = 1.0 + rng.poisson(4, n)
    scores = 0.02 * ht + 0.1 * multiplicity + rng.exponential(1, n) * (1 + ht / 200)
    leading = ht * rng.uniform(0.3, 0.9, n)
    columns = {"leading_pt": leading, "ht": ht, "met": met, "multiplicity": multiplicity}
    return scores, columns


@pytest.fixture(scope="module")
def followed():
    background, signal = correlated(24_000, 0), correlated(2000, 1)
    return decorrelated.measure(background, {"s": (signal[0] + 1.5, signal[1])}, 0.02)


def test_thresholds_that_follow_observables_flag_alike_everywhere(followed):
    for name in ("leading_pt", "ht"):
        assert followed["single"]["flatness"][name]["p_value"] < 1e-50
    for name in followed["observables"]:
        assert followed["following"]["flatness"][name]["p_value"] > 1e-3, name
    assert abs(followed["following"]["rate"] - 0.02) < 3 * followed["following"]["error"]
    low = {kind: followed[kind]["signals"]["s"]["low"] for kind in ("single", "following")}
    assert low["following"]["value"] > 5 * low["single"]["value"] > 0
    assert low["single"]["n"] == low["following"]["n"]


def test_figures_and_table_of_following_thresholds(followed):
    labels = {"ht": ("HT", "GeV")}
    drawn = report.following_figures(followed, labels)
    assert list(drawn) == ["following_flatness", "following_efficiency"]
    assert [axes.get_xlabel() for axes in drawn["following_flatness"].axes][:2] == [
        "leading_pt",
        "HT [GeV]",
    ]
    table = report.metrics_table({"signals": {}, "following": followed | {"score": "mse"}})
    assert "one threshold, leading_pt <" in table and "flat in ht: chi2" in table


def test_thresholds_are_never_set_on_the_events_that_judge_them():
    scores, columns = correlated(6000, 0)
    signal = {"s": correlated(500, 1)}
    fitted, judged = decorrelated.halves(6000)
    other = scores.copy()
    other[judged] = 99 - other[judged]
    found = [decorrelated.measure((s, columns), signal, 0.05) for s in (scores, other)]
    for kind in ("single", "following"):
        assert found[0][kind]["signals"] == found[1][kind]["signals"]
        assert found[0][kind]["rate"] != found[1][kind]["rate"]
    assert not set(range(6000)[fitted]) & set(range(6000)[judged])


def test_what_cannot_be_followed_is_refused():
    scores, columns = correlated(1000, 0)
    for arguments, message in (
        ((scores, columns, 1e-3), "FPR 1e-3 of 1000 background events leaves 1, fewer than 10"),
        ((scores, {}, 0.1), "observables: expected one or more to follow, found none"),
        ((scores, {"ht": columns["ht"][1:]}, 0.1), r"ht: expected shape \(1000,\)"),
        ((np.r_[scores[1:], np.inf], columns, 0.1), "expected finite ones to regress"),
    ):
        with pytest.raises(UserError, match=message):
            decorrelated.threshold_of(*arguments)
