"""Weighted events: as if rows were written more than once, as scikit-learn has it, with errors."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from jaxad import metrics
from jaxad.errors import UserError
from jaxad.metrics import weighted
from jaxad.metrics.ranked import ranked
from jaxad.metrics.sculpting import correlation

N = 4000


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    # Rounded, so that there are ties.
    return [rng.normal(shift, 1, N).round(2) for shift in (0.0, 1.0)]


@pytest.fixture(scope="module")
def weights():
    """Whole numbers from 1 to 3, so that a weighted event is as many rows."""
    rng = np.random.default_rng(1)
    return tuple(rng.integers(1, 4, N).astype(float) for _ in range(2))


def repeated(scores, weights):
    return [np.repeat(s, w.astype(int)) for s, w in zip(scores, weights, strict=True)]


def test_a_weight_of_two_is_the_row_twice(scores, weights):
    rows = repeated(scores, weights)
    assert metrics.auc(*scores, weights) == pytest.approx(metrics.auc(*rows), abs=1e-12)
    for fpr in (0.3, 0.1, 0.02):
        single = metrics.threshold_at_fpr(scores[0], fpr, weights[0])
        many = metrics.threshold_at_fpr(rows[0], fpr)
        assert single["threshold"] == many["threshold"]
        assert single["fpr"] == pytest.approx(many["fpr"], abs=1e-12)
        one, other = (
            metrics.tpr_at_fpr(*scores, fpr, weights)["value"],
            metrics.tpr_at_fpr(*rows, fpr)["value"],
        )
        assert one == pytest.approx(other, abs=1e-12)
    one, other = metrics.fpr_at_tpr(*scores, 0.4, weights), metrics.fpr_at_tpr(*rows, 0.4)
    for key in ("value", "tpr", "threshold"):
        assert one[key] == pytest.approx(other[key], abs=1e-12)
    for a, b in zip(metrics.roc(*scores, weights), metrics.roc(*rows), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    one, other = metrics.max_sic(*scores, 0.05, weights), metrics.max_sic(*rows, 0.05)
    assert one["max_sic"] == pytest.approx(other["max_sic"], abs=1e-9)
    grid = np.geomspace(0.01, 1, 20)
    one, other = metrics.roc_band(*scores, grid, weights), metrics.roc_band(*rows, grid)
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_weights_that_are_all_alike_are_none(scores):
    plain = metrics.summarise(*scores, n_bootstrap=20)
    for value in (1.0, 1e-6, 3.7):
        same = tuple(np.full(N, value) for _ in range(2))
        assert metrics.summarise(*scores, n_bootstrap=20, weights=same) == plain
        assert metrics.summarise(*scores, n_bootstrap=20, weights=(same[0], None)) == plain
    assert metrics.threshold_at_fpr(scores[0], 0.1, np.full(N, 2.0)) == metrics.threshold_at_fpr(
        scores[0], 0.1
    )


def test_weights_near_one_give_nearly_the_unweighted_errors(scores):
    near = tuple(1 + 1e-9 * np.arange(N) for _ in range(2))
    # Not at a rank: there the last digit decides.
    levels = {"fprs": (0.01009,), "tprs": (0.40011,)}
    plain, close = (metrics.summarise(*scores, weights=w, **levels) for w in (None, near))
    for key in ("auc", "auc_err", "max_sic", "max_sic_err"):
        assert close[key] == pytest.approx(plain[key], rel=1e-5)
    for kind in ("tpr_at_fpr", "fpr_at_tpr"):
        (one,), (other,) = (found[kind].values() for found in (plain, close))
        for key in ("value", "error"):
            assert other[key] == pytest.approx(one[key], rel=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_as_scikit_learn(scores, scale):
    rng = np.random.default_rng(2)
    own = tuple(scale * rng.exponential(size=N).astype(np.float32) for _ in range(2))
    y, s, w = np.repeat([0, 1], N), np.concatenate(scores), np.concatenate(own)
    expected = roc_auc_score(y, s, sample_weight=w.astype(float))
    assert metrics.auc(*scores, own) == pytest.approx(expected, abs=1e-12)
    curve = roc_curve(y, s, sample_weight=w.astype(float), drop_intermediate=False)
    for a, b in zip(metrics.roc(*scores, own), curve, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_errors_are_the_spread_of_samples():
    """Of the AUC and of a TPR at a fixed threshold, over samples with weights of their own."""
    rng = np.random.default_rng(3)
    found, passed = [], []
    for _ in range(300):
        b, s = rng.normal(0, 1, 300), rng.normal(0.8, 1, 200)
        own = 0.2 + rng.exponential(size=300), np.exp(0.5 * rng.normal(size=200))
        found.append(metrics.auc_with_error(b, s, own))
        passed.append(ranked(s, own[1], "signal").share_at_least(1))
    for values in (np.array(found), np.array(passed)):
        assert values[:, 1].mean() == pytest.approx(values[:, 0].std(), rel=0.12)
    replicas = metrics.bootstrap(b, s, n=200, fprs=(0.1,), weights=own)
    assert replicas["auc"].std() == pytest.approx(found[-1][1], rel=0.2)
    tpr = metrics.tpr_at_fpr(b, s, 0.1, own)["value"]
    assert abs(np.median(replicas["tpr_at_fpr"]["1e-1"]) - tpr) < 0.1


def test_thresholds_are_calibrated():
    """Pulls of the true FPR at thresholds of weighted samples are those of a unit Gaussian."""
    rng, pulls = np.random.default_rng(6), []
    for _ in range(200):
        cut = metrics.threshold_at_fpr(rng.random(2000), 0.1, rng.exponential(size=2000))
        pulls.append((1 - cut["threshold"] - 0.1) / cut["error"])
    assert stats.kstest(pulls, "norm").pvalue > 1e-3
    assert np.std(pulls) == pytest.approx(1, rel=0.15)


def test_few_effective_events_are_refused():
    background, weight = np.arange(1000) / 1000, np.ones(1000)
    weight[-20:] = 0.01
    weight[-21] = 30.0  # of what an FPR of 3.5 % flags nearly all is one event
    cut = metrics.threshold_at_fpr(background, 0.035, weight)
    assert cut["n_background"] > 20 and cut["n_effective"] < 3
    assert "effective ones, fewer than 10" in cut["reason"]
    point = metrics.tpr_at_fpr(background, background, 0.035, (weight, None))
    assert point["value"] is None and point["reason"] == cut["reason"]
    assert metrics.lowest_fpr(background, weight) > metrics.lowest_fpr(background)


def test_negative_weights_are_summed(scores):
    rng, n = np.random.default_rng(4), 800
    scores = [values[:n] for values in scores]
    own = tuple(np.where(rng.random(n) < 0.1, -1.0, 1.0) for _ in range(2))
    found = metrics.summarise(*scores, n_bootstrap=10, weights=own)
    assert math.isfinite(json.loads(json.dumps(found))["auc"])
    pairs = (scores[1][:, None] > scores[0]) + 0.5 * (scores[1][:, None] == scores[0])
    direct = own[1] @ pairs @ own[0] / (own[1].sum() * own[0].sum())
    assert found["auc"] == pytest.approx(direct, abs=1e-9)
    cut = metrics.threshold_at_fpr(scores[0], 0.1, own[0])
    tighter = scores[0] >= np.sort(scores[0])[:, None]
    allowed = (tighter * own[0]).sum(axis=1) <= 0.1 * own[0].sum() * (1 + 1e-9)
    assert allowed[np.sort(scores[0]) >= cut["threshold"]].all()
    about = weighted.summary(own[0])
    assert about["negative"] == pytest.approx((own[0] < 0).mean())
    assert about["effective"] == pytest.approx(own[0].sum() ** 2 / n)
    below = metrics.rate_above(np.arange(99.0), 50.0, 1.0, np.where(np.arange(99) < 50, 9.0, -1.0))
    assert (
        below["rate"] is None and "0 of 99 effective background events flagged" in below["reason"]
    )
    # Not bounded by 1: what lies below the signal weighs more than the whole background.
    assert metrics.auc([0.0, 1.0, 2.0], [1.5], ([1.0, 1.0, -0.5], None)) > 1


def test_bounds_of_correlations(scores):
    rng = np.random.default_rng(5)
    w = rng.integers(1, 4, N).astype(float)
    x, y = scores[0], (scores[0] + rng.normal(size=N)).round(1)
    found = correlation(x, y, w)
    rows = correlation(*(np.repeat(v, w.astype(int)) for v in (x, y)))
    for key in ("pearson", "spearman"):
        assert found[key] == pytest.approx(rows[key], abs=1e-9)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(3), r"background weights: expected shape \(4,\) of the scores, found \(3,\)"),
        ([1, 1, np.nan, 1], "background weights: expected finite values"),
        ([1, -1, 1, -2], "background weights: expected a sum above 0, found -1 of 4 events"),
        (np.zeros(4), "expected a sum above 0, found 0"),
    ],
)
def test_weights_that_make_no_sample(weight, message):
    with pytest.raises(UserError, match=message):
        metrics.threshold_at_fpr(np.arange(4.0), 0.5, weight)


def test_no_curve_where_no_fpr_is_good_enough():
    rng = np.random.default_rng(2)
    background, weight = rng.normal(size=8), rng.random(8)
    assert metrics.lowest_fpr(background, weight) >= 1
    assert metrics.lowest_fpr(np.arange(5.0), [0.2, -0.3, 0.7, -0.7, 0.1]) >= 1  # or 0 summed
    for seed in range(20):
        signal = np.random.default_rng(seed).normal(1, 1, 50)
        assert metrics.max_of_median_sic(background, signal, weights=(weight, None)) is None
        assert metrics.max_sic(background, signal, weights=(weight, None))["max_sic"] is None


def test_correlation_of_weights_below_zero_is_not_cut_at_one():
    x, y, w = [0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 1.0, 3.0], [1.0, 2.0, -1.5, 1.0]
    assert correlation(x, y, w)["pearson"] == pytest.approx(1.3148765173028514, rel=1e-9)
