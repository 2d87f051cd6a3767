"""Pools: what belongs to places, what a permutation may move, and what is refused."""

import numpy as np
import pytest

from benchmarks.calibration import pool_of
from jaxad.errors import UserError
from jaxad.search import plan, pool, toys
from jaxad.search.pool import COUNTING, DATA, TRAINING

SIZES = (200, 300, 600)


def test_rows_lie_by_fold_and_role_and_keep_their_numbers():
    rows = pool_of(0, folds=4, sizes=SIZES)
    order = rows.fold.astype(int) * 3 + rows.role
    assert (np.diff(order) >= 0).all()
    data = rows.role == DATA
    assert sorted(rows.row[data]) == list(range(200))
    assert (rows.row[~data] == -1).all()
    for role, n in ((DATA, 50), (TRAINING, 75), (COUNTING, 150)):
        assert (np.bincount(rows.fold[rows.role == role]) == n).all()
    np.testing.assert_allclose(rows.x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(rows.x.std(axis=0), 1, atol=1e-6)


def test_permutations_stay_in_folds_and_mass_bins_and_toy_0_is_observed():
    rows = pool_of(0, sizes=SIZES, mass_bins=3)
    assert set(rows.bin) == {0, 1, 2}
    np.testing.assert_array_equal(pool.permutation(rows, 5, 0), np.arange(len(rows.m)))
    one = pool.permutation(rows, 5, 1)
    np.testing.assert_array_equal(np.sort(one), np.arange(len(rows.m)))
    np.testing.assert_array_equal(rows.fold[one], rows.fold)
    np.testing.assert_array_equal(rows.bin[one], rows.bin)
    np.testing.assert_array_equal(one, pool.permutation(rows, 5, 1))
    assert (one != pool.permutation(rows, 5, 2)).mean() > 0.9
    assert (one != pool.permutation(rows, 6, 1)).mean() > 0.9


def test_labels_do_not_reach_a_pool():
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(40, 2)), "m": rng.uniform(1, 2, 40), "fold": np.arange(40) % 2}
    data["row"] = np.arange(40)
    template = {"x": rng.normal(size=(60, 2)), "m": rng.uniform(1, 2, 60)}
    label = rng.integers(0, 2, 40)
    each = [
        pool.make(data | extra, template, template, 2)
        for extra in ({}, {"label": label}, {"label": rng.permutation(label)})
    ]
    for other in each[1:]:
        for a, b in zip(each[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_numbers_of_data_are_poisson_where_asked():
    rng = np.random.default_rng(0)
    draw = lambda n: {"x": rng.normal(size=(n, 2)), "m": rng.uniform(1, 2, n)}  # noqa: E731
    data = draw(100) | {"fold": np.arange(100) % 2, "row": np.arange(100)}
    rows = pool.make(data, draw(200), draw(400), 2, spare=draw(120))
    assert pool.numbers(rows, 0, 3).tolist() == [50, 50]
    assert pool.numbers(rows, 0, 0, expected=90.0).tolist() == [50, 50]
    drawn = np.array([pool.numbers(rows, 0, t, expected=90.0) for t in range(1, 400)])
    assert abs(drawn.mean() - 45) < 1.5
    assert 35 < drawn.var() < 55
    recipe = toys.get_config(name="discriminant", n_cosines=10)
    counts = toys.counts(rows, recipe, (0.2,), 0, range(1, 400), expected=90.0).sum(axis=(1, 2))
    assert abs(counts.mean() - 0.2 * 90) < 1.5
    own = np.corrcoef(counts, drawn.sum(axis=1))[0, 1]
    assert own > 0.2  # more data, more of them above the cut
    with pytest.raises(UserError, match=r"places for 110: give it more spare rows"):
        pool.numbers(rows, 0, 1, expected=400.0)
    with pytest.raises(UserError, match=r"search\.mass_bins: expected 1"):
        pool.make(data, draw(200), draw(400), 2, mass_bins=2, spare=draw(20))
    weighted = data | {"weight": np.ones(100)}
    with pytest.raises(UserError, match=r"data\.weight: expected none where toys have other"):
        pool.make(weighted, draw(200), draw(400), 2, spare=draw(20))


def test_ranks_are_those_of_the_p_values():
    rows = pool_of(0, sizes=SIZES)
    fixed = plan.make(rows, (0.5, 0.1, 0.02), 0)
    scores = np.where(rows.role == TRAINING, np.nan, np.round(rows.x[:, 0], 1))  # many ties
    u = plan.p_values(fixed, scores)
    counts = plan.count(fixed, scores, fixed.numbers(0))
    for i, efficiency in enumerate((0.5, 0.1, 0.02)):
        passing = np.bincount(rows.fold[u <= efficiency], minlength=5)
        np.testing.assert_array_equal(counts[:, i], passing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"efficiencies": (0.1, 0.001)}, r"0.001: expected 999 or more template rows .* found 120"),
        ({"efficiencies": (10.0,)}, r"search.efficiencies: expected fractions .* found \(10.0,\)"),
        ({"half_split": True}, "classifier.folds: expected 2 in a half-split, found 5"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change, message):
    arguments = {"efficiencies": (0.1,), "seed": 0} | change
    with pytest.raises(UserError, match=message):
        plan.make(pool_of(0, sizes=SIZES), **arguments)


def test_mass_bins_want_rows_each():
    rows = pool_of(0, sizes=SIZES, mass_bins=2)
    with pytest.raises(UserError, match=r"fold 0, mass bin 0, found .*: raise search.count_factor"):
        plan.make(rows, (0.1,), 0)


def test_a_fold_without_data_is_refused():
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(40, 2)), "m": rng.uniform(1, 2, 40), "row": np.arange(40)}
    template = {"x": rng.normal(size=(60, 2)), "m": rng.uniform(1, 2, 60)}
    with pytest.raises(UserError, match=r"fold 1 of 2: expected rows of data in it, found none"):
        pool.make(data | {"fold": np.zeros(40, int)}, template, template, 2)
