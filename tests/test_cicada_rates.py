"""Errors of rates at a teacher's threshold: `benchmarks.cicada`."""

import numpy as np
import pytest

from benchmarks.cicada import FPR, Basis, excesses, measured, scale_of, threshold_of

N = 2_000


def events(rng, n=N, copies=1):
    """Scores (n, copies) of a student, and its teacher's (n, 1)."""
    target = 50 + 10 * rng.exponential(size=(n, 1))
    return target + 4 * rng.normal(size=(n, 1)) + rng.normal(size=(n, copies)), target


def quantile(scores):
    return threshold_of(scores)(np.ones(len(scores)))


def test_a_threshold_leaves_its_share_of_all_copies_above_it():
    own, _ = events(np.random.default_rng(1), copies=6)
    cut = quantile(own)
    assert np.mean(own > cut) <= FPR <= np.mean(own >= cut)


def test_weights_are_events_that_are_there_so_often():
    own, _ = events(np.random.default_rng(1), copies=6)
    weight = np.random.default_rng(2).integers(0, 4, N)
    assert threshold_of(own)(weight) == quantile(np.repeat(own, weight, axis=0))


def test_the_error_is_the_scatter_of_students_whose_scale_few_events_set():
    scatter, errors, of_events = [], [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        basis = Basis(*events(rng, copies=6))
        scale = quantile(basis.target) / quantile(basis.own)
        own, target = (scores[:, 0] for scores in events(rng))
        cut = quantile(target[:, None])
        scatter.append(np.mean(scale * own >= cut) - np.mean(target >= cut))
        if seed < 8:
            basis = basis._replace(own=scale * basis.own)
            errors.append(np.std(excesses(scale * own, target, basis)))
            of_events.append(np.std(excesses(scale * own, target)))
    assert np.mean(errors) == pytest.approx(np.std(scatter), rel=0.3)
    assert np.mean(of_events) < 0.85 * np.mean(errors)


def test_a_scale_that_all_events_share_is_not_taken_for_the_student_s():
    """Whatever the scores' own scale is: the error says how it would move."""
    rng = np.random.default_rng(0)
    basis = Basis(*events(rng))
    own, target = (scores[:, 0] for scores in events(rng))
    double = excesses(own, target, basis._replace(own=2 * basis.own))
    assert np.array_equal(double, excesses(own, target, basis))


def test_events_that_a_student_scores_too_high_lower_its_scale():
    rng = np.random.default_rng(0)
    own, target = events(rng)
    scale = scale_of(Basis(own, target))
    assert scale(np.ones(N)) == 1
    too_high = own[:, 0] - target[:, 0] > 0
    assert scale(np.where(too_high, 2, 1)) < 1 < scale(np.where(too_high, 1, 2))


def test_the_basis_is_in_the_error_that_is_printed():
    rng = np.random.default_rng(0)
    basis = Basis(*events(rng))
    own, target = (scores[:, 0] for scores in events(rng))
    found = measured({"background": own}, {"background": target}, basis)
    assert found["excess_error"] == np.std(excesses(own, target, basis))
    assert found["event_error"] == np.std(excesses(own, target)) < found["excess_error"]
