"""Toys: the same counts whatever trains at once and after restarts; any function that fits."""

import h5py
import numpy as np
import pytest

from benchmarks.calibration import pool_of
from jaxad.errors import Preempted, UserError
from jaxad.search import network, plan, pool, toys
from jaxad.search.pool import COUNTING, DATA

SIZES = (150, 300, 600)
CUTS = (0.3, 0.1)


def recipe(name, **changes):
    small = {"hidden": (8, 8), "epochs": 2, "average_last": 1, "batch_size": 64, "n_cosines": 20}
    return toys.get_config(name=name, max_iter=5, **(small | changes))


@pytest.fixture(scope="module")
def rows():
    return pool_of(3, folds=3, n_signal=30, sizes=SIZES)


def means(x, y, weight):
    """A classifier as a user may give one: the direction between the means."""
    direction = [np.average(x[y == c], axis=0, weights=weight[y == c]) for c in (0, 1)]
    return lambda rows: rows @ (direction[1] - direction[0])


@pytest.mark.parametrize("name", ["discriminant", "network"])
def test_neither_chunks_nor_neighbours_change_a_toy(rows, name):
    numbers = [0, 1, 2, 3, 40, 5]
    single, by_four = (
        toys.counts(rows, recipe(name), CUTS, 7, numbers, chunk=chunk) for chunk in (1, 4)
    )
    np.testing.assert_array_equal(single, by_four)
    alone = toys.counts(rows, recipe(name), CUTS, 7, [40], chunk=4)
    np.testing.assert_array_equal(alone[0], single[4])


@pytest.mark.parametrize("name", ["discriminant", "network", "trees"])
def test_what_is_observed_is_what_toy_0_counts(rows, name):
    changes = {"members": 2, "feature_fraction": 0.5} if name == "network" else {}
    numbers = [2] if name == "trees" else [0, 2]  # each in a process of its own
    counts = toys.counts(rows, recipe(name, **changes), CUTS, 7, numbers, chunk=2)
    assert counts.shape == (len(numbers), 3, 2)
    assert counts.dtype == np.int32
    for toy, found in zip(numbers, counts, strict=True):
        scored = toys.observed(rows, recipe(name, **changes), CUTS, 7, toy, chunk=2)
        fold = rows.fold[rows.role == DATA]
        assert np.isfinite(scored.score).all()
        for i, efficiency in enumerate(CUTS):
            passing = np.bincount(fold[scored.u <= efficiency], minlength=3)
            np.testing.assert_array_equal(passing, found[:, i])
        assert len(scored.template) == (rows.role == COUNTING).sum()
    assert (rows.row[scored.rows] == -1).any()  # of toy 2: template rows stand where data stood


def test_any_function_that_fits_serves(rows):
    counts = toys.counts(rows, means, CUTS, 7, [0, 1])
    assert counts.shape == (2, 3, 2)
    scored = toys.observed(rows, means, CUTS, 7)
    assert (scored.u <= CUTS[0]).sum() == counts[0, :, 0].sum()
    nothing = toys.counts(rows, lambda *_: lambda x: np.zeros(len(x)), CUTS, 7, [0, 1])
    assert (nothing == 0).all()  # ties count against the event
    with pytest.raises(UserError, match="pseudo-experiment 1 diverged"):
        toys.counts(rows, lambda *_: lambda x: x[:, 0] * np.nan, CUTS, 7, [1])


def test_no_event_is_scored_by_what_it_trained(rows):
    """A classifier that knows its own rows by heart finds nothing among the others."""

    def by_heart(x, y, weight):
        known = {row.tobytes() for row in x}
        assert len(known) == len(x)
        return lambda new: np.array([float(row.tobytes() in known) for row in new])

    assert (toys.observed(rows, by_heart, CUTS, 7).score == 0).all()
    assert (toys.observed(rows, by_heart, CUTS, 7, toy=3).score == 0).all()


def test_a_half_split_scores_one_half():
    half = pool_of(3, folds=2, sizes=SIZES)
    both = toys.counts(half, recipe("discriminant"), CUTS, 7, [0, 1])
    one = toys.counts(half, recipe("discriminant", half_split=True), CUTS, 7, [0, 1])
    assert (one[:, 0] == -1).all()
    np.testing.assert_array_equal(one[:, 1], both[:, 1])
    counts = toys.counts(half, recipe("network", half_split=True), CUTS, 7, [0, 1])
    assert (counts[:, 0] == -1).all()
    scored = toys.observed(half, recipe("discriminant", half_split=True), CUTS, 7)
    np.testing.assert_array_equal(np.isnan(scored.u), half.fold[half.role == DATA] == 0)


def test_a_stopped_search_goes_on_where_it_was(rows, tmp_path):
    path, how = tmp_path / "toys.h5", recipe("discriminant")
    whole = toys.run_toys(rows, how, CUTS, 7, 20, tmp_path / "whole.h5", chunk=8)
    assert whole.shape == (21, 3, 2)
    with pytest.raises(Preempted):
        toys.run_toys(rows, how, CUTS, 7, 20, path, chunk=3, stop=lambda: True)
    toys.run_toys(rows, how, CUTS, 7, 2, path, stop=lambda: True)  # nothing is left to stop
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["window/counts"], whole[:3])
    np.testing.assert_array_equal(toys.run_toys(rows, how, CUTS, 7, 20, path, chunk=5), whole)
    no_need = lambda: pytest.fail("nothing is left to do")  # noqa: E731
    again = toys.run_toys(rows, how, CUTS, 7, 10, path, stop=no_need)
    np.testing.assert_array_equal(again, whole[:11])


def test_windows_share_a_file_and_others_are_refused(rows, tmp_path):
    path, how = tmp_path / "toys.h5", recipe("discriminant")
    first = toys.run_toys(rows, how, CUTS, 7, 4, path, name="3300-3700")
    toys.run_toys(pool_of(4, folds=3, sizes=SIZES), how, CUTS, 7, 4, path, name="3700-4100")
    again = toys.run_toys(rows, how, CUTS, 7, 4, path, name="3300-3700")
    np.testing.assert_array_equal(first, again)
    for changed in ({"seed": 8}, {"efficiencies": (0.2,)}, {"classifier": recipe("trees")}):
        arguments = {"classifier": how, "efficiencies": CUTS, "seed": 7} | changed
        with pytest.raises(UserError, match=r"3300-3700: holds pseudo-experiments of other data"):
            toys.run_toys(rows, **arguments, n_toys=4, path=path, name="3300-3700")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"toys.h5: damaged .*: remove it"):
        toys.run_toys(rows, how, CUTS, 7, 4, path, name="3300-3700")


def test_an_unknown_classifier_is_refused(rows):
    with pytest.raises(UserError, match=r"classifier.name: expected network, .* found 'forest'"):
        toys.counts(rows, recipe("forest"), CUTS, 7, [0])


def test_networks_cut_in_mass_bins_as_the_host_does():
    rows = pool_of(5, folds=2, n_signal=30, sizes=(150, 300, 900), mass_bins=2)
    how = recipe("network", members=2)
    counts = toys.counts(rows, how, CUTS, 7, [0], chunk=1)[0]
    scored = toys.observed(rows, how, CUTS, 7, chunk=1)
    fold = rows.fold[rows.role == DATA]
    for i, efficiency in enumerate(CUTS):
        passing = np.bincount(fold[scored.u <= efficiency], minlength=2)
        np.testing.assert_array_equal(passing, counts[:, i])


@pytest.mark.parametrize("name", ["discriminant", "network"])
def test_rows_that_are_only_scored_change_nothing(name):
    rng = np.random.default_rng(0)
    draw = lambda n: {"x": rng.normal(size=(n, 2)), "m": rng.uniform(1, 2, n)}  # noqa: E731
    data, others = (draw(n) | {"fold": np.arange(n) % 2, "row": np.arange(n)} for n in (80, 50))
    template = draw(160), draw(160)
    alone, more = (pool.make(data, *template, 2, others=o) for o in (None, others))
    a, b = (toys.observed(rows, recipe(name), CUTS, 7, toy=1, chunk=1) for rows in (alone, more))
    np.testing.assert_array_equal(a.u, b.u[:80])
    np.testing.assert_allclose(a.score, b.score[:80], rtol=1e-4, atol=1e-6)
    assert more.row[b.rows[80:]].tolist() == [*range(0, 50, 2), *range(1, 50, 2)]


def test_pools_of_like_sizes_share_a_program_and_count_as_the_host_does():
    network._program.cache_clear()
    how = recipe("network")
    for n, seed in ((150, 7), (149, 8)):
        rows = pool_of(3, folds=3, n_signal=30, sizes=(n, 300, 600))
        counts = toys.counts(rows, how, CUTS, seed, [1], chunk=1)[0]
        fixed = plan.make(rows, CUTS, seed)
        scores = network.engine(fixed, how, 1).scores(1)
        np.testing.assert_array_equal(plan.count(fixed, scores, fixed.numbers(1)), counts)
    assert network._program.cache_info().currsize == 1


def test_toys_of_another_machine_are_refused_by_the_name_of_both(rows, tmp_path):
    path = tmp_path / "toys.h5"
    toys.run_toys(rows, recipe("discriminant"), CUTS, 7, 1, path)
    moved = rows._replace(x=np.nextafter(rows.x, np.float32(9)))
    with pytest.raises(UserError, match="other data or settings, or of another machine, where"):
        toys.run_toys(moved, recipe("discriminant"), CUTS, 7, 1, path)
    with h5py.File(path, "r+") as file:
        file["window"].attrs["made_by"] = "an abacus"
    with pytest.raises(UserError, match=r"machine \(it was made on an abacus; this is .*jax "):
        toys.run_toys(moved, recipe("discriminant"), CUTS, 7, 1, path)
