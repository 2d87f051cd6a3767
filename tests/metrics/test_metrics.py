"""Figures of merit against scikit-learn, closed forms and coverage."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, norm, spearmanr
from sklearn.metrics import roc_auc_score, roc_curve

from jaxad import metrics
from jaxad.errors import UserError
from jaxad.metrics import bands, ensembles, sculpting

tied = st.lists(st.integers(-3, 3), min_size=1, max_size=40).map(lambda v: np.array(v, float))


def gaussian(n_background=20_000, n_signal=5_000, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n_background), rng.normal(shift, size=n_signal)


def labelled(background, signal):
    labels = np.r_[np.zeros(len(background)), np.ones(len(signal))]
    return labels, np.r_[background, signal]


@given(tied, tied)
def test_auc_and_roc_equal_scikit_learn_with_ties(background, signal):
    labels, scores = labelled(background, signal)
    assert metrics.auc(background, signal) == pytest.approx(
        roc_auc_score(labels, scores), abs=1e-12
    )
    expected = roc_curve(labels, scores, drop_intermediate=False)
    for found, reference in zip(metrics.roc(background, signal), expected, strict=True):
        np.testing.assert_allclose(found, reference, atol=1e-12)


@given(tied, tied)
def test_auc_is_antisymmetric_and_blind_to_monotone_maps(background, signal):
    value = metrics.auc(background, signal)
    assert metrics.auc(signal, background) == pytest.approx(1 - value)
    assert metrics.auc(np.exp(background), np.exp(signal)) == pytest.approx(value)


def test_auc_of_gaussians_and_of_infinite_scores():
    value, error = metrics.auc_with_error(*gaussian())
    assert abs(value - norm.cdf(1 / np.sqrt(2))) < 4 * error
    assert metrics.auc([0.0, 1.0], [2.0, np.inf]) == 1
    assert metrics.auc([0.0, np.inf], [np.inf]) == 0.75


def test_delong_error_is_the_spread_of_repeated_experiments():
    results = np.array([metrics.auc_with_error(*gaussian(400, 150, seed=s)) for s in range(600)])
    assert results[:, 1].mean() == pytest.approx(results[:, 0].std(), rel=0.1)


def test_bootstrap_agrees_with_delong_and_resampling_by_hand():
    background, signal = gaussian(500, 200)
    replicas = metrics.bootstrap(background, signal, fprs=(0.1,), tprs=(0.4,), n=1000, seed=1)
    value, error = metrics.auc_with_error(background, signal)
    assert replicas["auc"].std() == pytest.approx(error, rel=0.1)
    assert replicas["auc"].mean() == pytest.approx(value, abs=error / 5)
    rng = np.random.default_rng(2)
    by_hand = []
    for _ in range(1000):
        b, s = rng.choice(background, len(background)), rng.choice(signal, len(signal))
        tpr = metrics.tpr_at_fpr(b, s, 0.1)["value"]
        by_hand.append((tpr, metrics.fpr_at_tpr(b, s, 0.4)["value"]))
    by_hand = np.array(by_hand)
    for column, kind, key in ((0, "tpr_at_fpr", "1e-1"), (1, "fpr_at_tpr", "0.4")):
        found = replicas[kind][key]
        assert found.mean() == pytest.approx(by_hand[:, column].mean(), rel=0.02)
        assert found.std() == pytest.approx(by_hand[:, column].std(), rel=0.12)
    again = metrics.bootstrap(background, signal, fprs=(0.1,), n=1000, seed=1)
    np.testing.assert_array_equal(again["auc"], replicas["auc"])


def test_bootstrap_does_not_depend_on_the_block_size():
    background, signal = np.arange(400_000.0), np.arange(200_000.0) * 2
    assert metrics.bootstrap(background, signal, n=5, seed=3)["auc"].shape == (5,)
    spread = metrics.bootstrap(background, signal, n=8, seed=3)["auc"].std(ddof=1)
    assert spread == pytest.approx(metrics.auc_with_error(background, signal)[1], rel=0.7)


@given(tied, tied, st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_tpr_at_fpr_is_the_last_roc_point_at_or_below_it(background, signal, fpr):
    background = np.repeat(background, 10)
    fprs, tprs, _ = metrics.roc(background, signal)
    point = metrics.tpr_at_fpr(background, signal, fpr)
    last = np.flatnonzero(fprs <= fpr * (1 + 1e-9))[-1]
    if point["value"] is None:
        assert fprs[last] * len(background) < 9.5 and "fewer than 10" in point["reason"]
    else:
        assert point["value"] == pytest.approx(tprs[last])
        assert point["fpr"] == pytest.approx(fprs[last]) and point["fpr"] <= fpr * (1 + 1e-9)
        assert (background >= point["threshold"]).sum() == point["n_background"] >= 10


def test_tpr_at_fpr_on_known_numbers():
    background, signal = np.arange(1000.0), np.array([988.5, 989.0, 989.5, 990.0, 2000.0])
    point = metrics.tpr_at_fpr(background, signal, 1e-2)
    assert (point["n_background"], point["fpr"], point["value"]) == (10, 0.01, 0.6)
    assert 989 < point["threshold"] <= 990
    assert point["error"] == pytest.approx(np.sqrt(0.6 * 0.4 / 5 + 1 / 100) / 1.2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_thresholds_keep_their_count_in_the_dtype_of_the_scores(dtype):
    background = np.random.default_rng(0).integers(0, 500, 5000).astype(dtype)
    cut = metrics.threshold_at_fpr(background, 0.01)
    assert (background >= np.array(cut["threshold"])).sum() == cut["n_background"] <= 50


def test_too_few_background_events_are_refused_with_the_reason():
    point = metrics.tpr_at_fpr(*gaussian(200_000, 100), 1e-5)
    assert point["value"] is None and point["error"] is None
    assert "1e-5 of 200000 background events leaves 2" in point["reason"]
    ties = metrics.tpr_at_fpr(np.r_[np.zeros(950), np.ones(50)], np.ones(5), 1e-2)
    assert ties["value"] is None and "tied" in ties["reason"]
    assert metrics.tpr_at_fpr(np.full(1000, np.inf), np.ones(5), 1e-2)["threshold"] is None


def test_fpr_at_tpr_is_the_inverse_of_the_roc_curve():
    background, signal = gaussian(200_000, 50_000)
    point = metrics.fpr_at_tpr(background, signal, 0.4)
    assert point["tpr"] == 0.4
    expected = norm.sf(norm.isf(0.4) + 1)
    assert abs(point["value"] - expected) < 5 * point["error"] + 2e-3
    assert metrics.fpr_at_tpr([0.0, 1.0], [1.0, 1.0, 3.0], 0.4)["tpr"] == 1.0


def test_threshold_for_a_trigger_rate():
    background = np.arange(1_000_000.0)
    cut = metrics.threshold_at_rate(background, 5e3)
    assert cut["fpr"] == pytest.approx(1.25e-4) and cut["rate"] == pytest.approx(5e3)
    assert cut["rate_error"] == pytest.approx(5e3 / np.sqrt(125), rel=0.01)
    assert cut["low"] < cut["threshold"] < cut["high"]
    assert cut["threshold"] - cut["low"] == pytest.approx(np.sqrt(125), abs=1)


def test_threshold_interval_covers_the_true_quantile():
    truth, rng = norm.isf(0.01), np.random.default_rng(0)
    cuts = [metrics.threshold_at_fpr(rng.normal(size=10_000), 0.01) for _ in range(400)]
    covered = np.mean([c["low"] <= truth <= c["high"] for c in cuts])
    assert 0.6 < covered < 0.76


def test_binomial_error_is_wald_for_large_samples_and_never_vanishes():
    assert metrics.binomial_error(3000, 10_000) == pytest.approx(np.sqrt(0.21 / 1e4), rel=1e-3)
    assert metrics.binomial_error(0, 100) == pytest.approx(0.5 / 101)


def test_bands_over_an_ensemble():
    median, low, high = metrics.band(np.arange(101.0))
    assert (median, low, high) == (50, 16, 84)
    background, signal = gaussian(2000, 1000)
    grid = np.geomspace(1e-2, 1, 20)
    alone = metrics.roc_band(background, signal, grid)
    copies = metrics.roc_band(np.tile(background, (3, 1)), np.tile(signal, (3, 1)), grid)
    for a, b in zip(alone, copies, strict=True):
        np.testing.assert_allclose(a, b)
    np.testing.assert_allclose(alone[0], norm.sf(norm.isf(grid) - 1), atol=0.08)
    ragged = [background, background[:100]], [signal, signal[:50]]
    assert metrics.roc_band(*ragged, grid)[0].shape == (20,)


def test_sic_is_one_sqrt_of_fpr_at_random_and_cut_at_25_events():
    background, signal = gaussian(10_000, 10_000, shift=0)
    fpr, _, sic = metrics.sic_curve(background, signal)
    assert fpr.min() > 25 / 10_000 and fpr.min() <= 27 / 10_000
    np.testing.assert_allclose(sic, np.sqrt(fpr), atol=0.05)
    assert metrics.sic_curve(background, signal, 0.4)[0].min() < 8 / 10_000
    assert len(metrics.sic_curve(background[:20], signal)[0]) == 0


def test_single_lucky_events_do_not_make_the_maximum():
    background, signal = np.arange(10_000.0), np.arange(10_000.0)
    signal[:300] += 20_000  # above all background: TPR 3 % at FPR 0
    summary = metrics.summarise(background, signal)
    fpr, _, sic = metrics.sic_curve(background, signal)
    assert summary["max_sic"] == sic.max() and summary["max_sic_fpr"] == fpr[np.argmax(sic)]
    assert summary["max_sic"] < 1.02  # 1/sqrt(0.97), not 0.03/sqrt(1e-4)
    few = metrics.summarise(background[:20], signal)
    assert few["max_sic"] is None and few["max_sic_err"] is None


def test_sic_at_fpr_and_its_error():
    background, signal = gaussian(100_000, 2_000, shift=2)
    found = [
        metrics.sic_at_fpr(*gaussian(100_000, 2_000, shift=2, seed=s), 1e-3) for s in range(200)
    ]
    truth = norm.sf(norm.isf(1e-3) - 2) / np.sqrt(1e-3)
    values = np.array([f["value"] for f in found])
    assert values.mean() == pytest.approx(truth, rel=0.02)
    # the propagated error takes both classes as independent at a fixed threshold
    assert 0.5 < found[0]["error"] / values.std() < 2
    refused = metrics.sic_at_fpr(background, signal, 2e-4)
    assert refused["value"] is None and "20 background events" in refused["reason"]


def test_median_of_maxima_and_maximum_of_the_median():
    rng = np.random.default_rng(0)
    background, signal = rng.normal(size=(5, 4000)), rng.normal(1.5, size=(5, 500))
    summary = metrics.summarise(background, signal)
    assert summary["max_sic"] == np.median(summary["max_sic_members"])
    assert 0 < summary["max_sic_of_median_curve"] <= summary["max_sic"] * 1.02


def test_summary_has_the_form_of_the_contract_and_is_json():
    background, signal = gaussian(20_000, 1_000)
    single = metrics.summarise(background, signal, n_bootstrap=20)
    ensemble = metrics.summarise(np.stack([background] * 4), np.stack([signal] * 4))
    for summary in (single, ensemble):
        json.dumps(summary, allow_nan=False)
        assert set(summary["tpr_at_fpr"]) == {"1e-2", "1e-3", "1e-4", "1e-5"}
        assert summary["tpr_at_fpr"]["1e-5"]["value"] is None
        assert summary["auc"] == pytest.approx(metrics.auc(background, signal))
        assert 0 < summary["auc_err"] < 0.02
    assert single["tpr_at_fpr"]["1e-2"]["bootstrap_error"] > 0
    assert single["auc_bootstrap_err"] == pytest.approx(single["auc_err"], rel=0.6)
    assert ensemble["auc_band"] == [ensemble["auc"]] * 2 and len(ensemble["auc_members"]) == 4
    assert len(ensemble["tpr_at_fpr"]["1e-2"]["members"]) == 4
    assert ensemble["tpr_at_fpr"]["1e-5"]["reason"].startswith("4 of 4 members")


def test_summary_of_all_signals_scores_and_baselines():
    rng = np.random.default_rng(0)
    tree = metrics.summarise_all(
        {"mse": rng.normal(size=(3, 200))},
        {"top": {"mse": rng.normal(1, size=(3, 100))}, "W": {"mse": rng.normal(size=(3, 50))}},
        {"mass": rng.normal(size=200)},
        {"top": {"mass": rng.normal(3, size=100)}, "W": {"mass": rng.normal(size=50)}},
        fprs=(0.1,),
    )
    json.dumps(tree, allow_nan=False)
    assert tree["n_background"] == 200 and tree["signals"]["W"]["n_events"] == 50
    assert tree["signals"]["top"]["scores"]["mse"]["n_members"] == 3
    assert tree["signals"]["top"]["baselines"]["mass"]["auc"] > 0.95
    with pytest.raises(UserError, match="kl"):
        metrics.summarise_all({"mse": np.ones(3), "kl": np.ones(3)}, {"top": {"mse": np.ones(3)}})
    asked_by_none = metrics.summarise_all({"s": [1.0, 2.0]}, {}, {"b": [np.nan, 1.0]})
    assert asked_by_none == {"n_background": 2, "signals": {}}


def test_only_few_members_are_held_sorted():
    rng = np.random.default_rng(0)
    b, s = rng.normal(size=(ensembles.KEPT + 1, 50)), rng.normal(1, 1, (ensembles.KEPT + 1, 50))
    few, many = ensembles.pairs(b[1:], s[1:]), ensembles.pairs(b, s)
    assert few[-1][0] is few[-1][0] and many[-1][0] is not many[-1][0]
    for i, pair in enumerate(many):
        assert metrics.auc(*pair) == metrics.auc(b[i], s[i])


def test_levels_of_replicas_are_checked_and_a_band_takes_one_level(monkeypatch):
    b, s = gaussian(100, 50)
    weights = np.arange(1.0, 101), None
    assert metrics.roc_band(b, s, 0.1)[0] == metrics.roc_band(b, s, [0.1])[0][0]
    monkeypatch.setattr(bands, "AT_ONCE", 1)
    for own in (weights, None):
        with pytest.raises(UserError, match="fpr: expected a number between 0 and 1"):
            metrics.bootstrap(b, s, fprs=(1.0,), n=2, weights=own)


@pytest.mark.parametrize("bad", [[], [np.nan, 1.0], [[[1.0]]]])
def test_bad_scores_are_a_named_error(bad):
    with pytest.raises(UserError, match="background scores"):
        metrics.auc(bad, [1.0])


def test_members_must_match():
    with pytest.raises(UserError, match="members"):
        metrics.summarise(np.ones((2, 5)), np.ones((3, 5)))


@pytest.mark.parametrize(
    ("fpr", "key"), [(1e-2, "1e-2"), (1e-5, "1e-5"), (1.25e-4, "1.25e-4"), (0.1, "1e-1")]
)
def test_level_keys(fpr, key):
    assert metrics.level_key(fpr) == key


# Sculpting


def test_jensen_shannon_is_a_symmetric_divergence_in_bits():
    p, q = [1, 2, 3, 0], [0, 2, 1, 5]
    assert sculpting.jensen_shannon(p, p) == 0
    assert sculpting.jensen_shannon([1, 0], [0, 3]) == 1
    assert sculpting.jensen_shannon(p, q) == pytest.approx(sculpting.jensen_shannon(q, p))
    assert 0 < sculpting.jensen_shannon(p, q) < 1


def test_random_scores_do_not_sculpt_and_the_noise_follows_its_formula():
    rng = np.random.default_rng(0)
    mass, score = rng.exponential(50, 50_000), rng.normal(size=50_000)
    result = sculpting.mass_sculpting(mass, score, edges=np.linspace(0, 150, 31))
    for key, n in (("0.5", 25_000), ("0.1", 5_000), ("0.01", 500)):
        cut = result["cuts"][key]
        n_kept, n_total = sum(cut["counts"]), sum(result["counts"])
        assert n_kept == pytest.approx(n * n_total / 50_000, rel=0.05)
        expected = 29 * (1 / n_kept - 1 / n_total) / (8 * np.log(2))
        assert cut["jsd_noise"] == pytest.approx(expected, rel=0.15)
        assert cut["jsd"] < 2 * cut["jsd_noise"] and cut["p_value"] > 1e-3
        assert cut["jsd_noise"] < cut["jsd_noise_95"]


def test_a_score_that_is_the_mass_sculpts():
    mass = np.random.default_rng(0).exponential(50, 20_000)
    result = sculpting.mass_sculpting(mass, mass)
    assert result["cuts"]["0.1"]["jsd"] > 20 * result["cuts"]["0.1"]["jsd_noise_95"]
    assert result["cuts"]["0.1"]["p_value"] < 1e-9
    json.dumps(result, allow_nan=False)


def test_chi2_of_a_cut_is_the_homogeneity_test_and_calibrated():
    rng = np.random.default_rng(0)
    total = np.full(20, 500)
    passed = rng.multivariate_hypergeometric(total, 1000)
    chi2, ndof = sculpting.chi2_after_cut(passed, total)
    expected = chi2_contingency([passed, total - passed])
    assert chi2 == pytest.approx(expected.statistic) and ndof == expected.dof
    mass = rng.exponential(50, 20_000)
    p_values = [
        sculpting.mass_sculpting(mass, rng.normal(size=len(mass)), efficiencies=(0.01,))["cuts"][
            "0.01"
        ]["p_value"]
        for _ in range(60)
    ]
    assert 0.35 < np.mean(p_values) < 0.65


def test_sculpting_without_a_cut_says_why():
    result = sculpting.mass_sculpting(np.arange(100.0), np.zeros(100))
    assert result["cuts"]["0.1"]["jsd"] is None and "no cut" in result["cuts"]["0.1"]["reason"]
    infinite = np.r_[np.zeros(70), np.full(30, np.inf)]
    cut = sculpting.mass_sculpting(np.linspace(1, 100, 100), infinite, efficiencies=(0.1,))["cuts"]
    assert cut["0.1"]["jsd"] is None and "no cut leaves a part" in cut["0.1"]["reason"]
    with pytest.raises(UserError, match="mass"):
        sculpting.mass_sculpting([1.0, np.nan], [0.0, 1.0])


def test_correlations():
    x = np.random.default_rng(0).normal(size=200)
    assert sculpting.correlation(x, np.exp(x))["spearman"] == pytest.approx(1)
    y = np.round(x + np.random.default_rng(1).normal(size=200))
    assert sculpting.correlation(x, y)["spearman"] == pytest.approx(spearmanr(x, y).statistic)
    assert sculpting.correlation(x, np.ones(200)) == {"pearson": None, "spearman": None, "n": 200}
