"""Average decision ordering against the loop over pairs, its symmetries, its error and speed."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from jaxad.errors import UserError
from jaxad.observables import ordering
from jaxad.observables.ordering import ado_with_error, decision_ordering


def naive(teacher, score, current=None):
    total, pairs = 0.0, 0
    for a, b in itertools.combinations(range(len(teacher)), 2):
        d_teacher = teacher[a] - teacher[b]
        if current is not None and d_teacher * (current[a] - current[b]) >= 0:
            continue
        total += 0.5 + 0.5 * np.sign(d_teacher * (score[a] - score[b]))
        pairs += 1
    return total / pairs if pairs else np.nan


@pytest.mark.parametrize("n", [2, 7, 32, 61])
def test_equals_the_loop_over_pairs(monkeypatch, n):
    """With and without ties, one block, several, and a ragged last one."""
    monkeypatch.setattr(ordering, "_BLOCK", 16)
    rng = np.random.default_rng(n)
    teacher = rng.integers(0, 20, n).astype(float)
    current = rng.normal(size=n).round(1)
    scores = np.stack([rng.normal(size=n), teacher + rng.normal(size=n).round(), -teacher], axis=1)
    np.testing.assert_allclose(
        decision_ordering(teacher, scores), [naive(teacher, f) for f in scores.T], rtol=1e-12
    )
    np.testing.assert_allclose(
        decision_ordering(teacher, scores, current),
        [naive(teacher, f, current) for f in scores.T],
        rtol=1e-12,
    )


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_only_the_order_matters_and_reversal_mirrors(seed):
    rng = np.random.default_rng(seed)
    teacher, score = rng.normal(size=(2, 40))
    ado = decision_ordering(teacher, score[:, None])
    both = np.stack([np.exp(3 * score), -score, teacher**3], axis=1)
    np.testing.assert_allclose(
        decision_ordering(np.arctan(teacher), both), [ado[0], 1 - ado[0], 1], rtol=1e-12
    )
    np.testing.assert_allclose(decision_ordering(score, teacher[:, None]), ado, rtol=1e-12)


def test_kendalls_tau_of_many_events():
    rng = np.random.default_rng(1)
    teacher = rng.normal(size=5000)
    scores = teacher[:, None] + rng.normal(size=(5000, 2)) * [0.5, 4]
    expected = [0.5 + 0.5 * kendalltau(teacher, f).statistic for f in scores.T]
    np.testing.assert_allclose(decision_ordering(teacher, scores), expected, rtol=1e-12)


def test_differences_below_float32_count():
    teacher = 1 + 1e-12 * np.arange(10)
    assert decision_ordering(teacher, teacher[:, None])[0] == 1


def test_restriction_to_wrong_pairs():
    """Nothing is wrong: nan. Everything is: the plain ADO. The current model itself: 0."""
    rng = np.random.default_rng(2)
    teacher, score = rng.normal(size=(2, 50))
    assert np.isnan(decision_ordering(teacher, score[:, None], teacher.copy()))
    plain = decision_ordering(teacher, score[:, None])
    np.testing.assert_array_equal(decision_ordering(teacher, score[:, None], -teacher), plain)
    assert decision_ordering(teacher, score[:, None], score)[0] == 0


def test_bootstrap_is_that_of_the_naive_loop():
    rng = np.random.default_rng(3)
    n = 30
    teacher = rng.normal(size=n)
    score = teacher + rng.normal(size=n)
    ado, error = ado_with_error(teacher, score, n_bootstrap=20, seed=5)
    draws = np.random.default_rng(5).multinomial(n, np.full(n, 1 / n), size=20)
    resampled = [np.repeat(np.arange(n), draw) for draw in draws]
    expected = np.std([naive(teacher[i], score[i]) for i in resampled], ddof=1)
    assert ado == pytest.approx(naive(teacher, score), rel=1e-6)
    assert error == pytest.approx(expected, rel=1e-5)


def test_error_is_the_spread_over_samples():
    rng = np.random.default_rng(4)
    teacher = rng.normal(size=(40, 300))
    scores = teacher + rng.normal(size=teacher.shape)
    values = [decision_ordering(t, s[:, None])[0] for t, s in zip(teacher, scores, strict=True)]
    _, error = ado_with_error(teacher[0], scores[0])
    assert 0.6 < error / np.std(values) < 1.6


def test_mistakes_are_named():
    good = np.arange(5.0)
    with pytest.raises(UserError, match="shapes"):
        decision_ordering(good, good)
    with pytest.raises(UserError, match="shapes"):
        decision_ordering(good, np.zeros((4, 2)))
    with pytest.raises(UserError, match="scores holds values"):
        decision_ordering(good, np.full((5, 1), np.nan))
