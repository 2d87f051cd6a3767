"""Weighted data: the same numbers where all count alike, and calibrated ones where they do not."""

import numpy as np
import pytest
from scipy import stats
from searches import made_up

from benchmarks import calibration
from benchmarks.calibration import pool_of
from jaxad.metrics import closure, counting
from jaxad.report import products, reuse
from jaxad.search import analysis, toys, weights
from jaxad.search.analysis import Normalisation, Sizes
from jaxad.search.pool import DATA

SIZES = (150, 300, 600)
CUTS = (0.3, 0.1)


def recipe(name, **changes):
    small = {"hidden": (8, 8), "epochs": 2, "average_last": 1, "batch_size": 64, "n_cosines": 20}
    return toys.get_config(name=name, max_iter=5, **(small | changes))


def weighted(rows, weight):
    """The pool with weights of its data, in the order of their places."""
    every = rows.weight.copy()
    every[rows.observed] = weight
    return rows._replace(weight=every)


def random_weights(n, seed=0):
    """Of n_eff = n / 1.6, say."""
    return 0.2 + np.random.default_rng(seed).exponential(size=n)


def means(x, y, weight):
    """A classifier as a user may give one: the direction between the means."""
    direction = [np.average(x[y == c], axis=0, weights=weight[y == c]) for c in (0, 1)]
    return lambda rows: rows @ (direction[1] - direction[0])


def classifier(name):
    return means if name == "means" else recipe(name)


@pytest.fixture(scope="module")
def rows():
    return pool_of(3, folds=3, n_signal=30, sizes=SIZES)


def test_one_event_of_the_likelihood():
    assert weights.event_weight(None) == 1
    assert weights.event_weight(np.full(7, 0.1)) == 0.1
    assert weights.event_weight(np.array([1.0, 3.0])) == 2.5
    np.testing.assert_allclose(weights.relative(np.array([1.0, 3.0])), [0.5, 1.5])


@pytest.mark.parametrize("name", ["discriminant", "means"])
def test_equal_weights_are_none(rows, name):
    plain = toys.counts(rows, classifier(name), CUTS, 7, [0, 1], chunk=2)
    for value in (1.0, 2.0, 0.1):
        equal = weighted(rows, value)
        same = toys.counts(equal, classifier(name), CUTS, 7, [0, 1], chunk=2)
        assert same.dtype == np.int32
        np.testing.assert_array_equal(same, plain)
        assert analysis.sizes(equal, (0, 1, 2)).event_weight == np.float32(value)


def test_a_file_of_toys_does_not_know_weights_of_one(rows, tmp_path):
    first = toys.run_toys(rows, recipe("discriminant"), CUTS, 7, 4, tmp_path / "toys.h5")
    one = weighted(rows, 1.0)
    again = toys.run_toys(one, recipe("discriminant"), CUTS, 7, 4, tmp_path / "toys.h5")
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", ["discriminant", "network", "means"])
def test_counts_are_sums_of_weights_of_places(rows, name):
    unequal = weighted(rows, random_weights(150))
    counts = toys.counts(unequal, classifier(name), CUTS, 7, [0, 2], chunk=2)
    assert counts.dtype == np.float64
    scored, data = toys.observed(unequal, classifier(name), CUTS, 7, 2, chunk=1), rows.role == DATA
    for i, efficiency in enumerate(CUTS):
        passing = (scored.u <= efficiency) * unequal.weight[data] / unequal.event_weight
        expected = np.bincount(rows.fold[data], passing)
        np.testing.assert_allclose(counts[1, :, i], expected, rtol=1e-6)
    if name != "network":  # which is compiled anew
        single = toys.counts(unequal, classifier(name), CUTS, 7, [2], chunk=1)
        np.testing.assert_array_equal(single[0], counts[1])
        thrice = weighted(rows, 3 * random_weights(150))
        more = toys.counts(thrice, classifier(name), CUTS, 7, [0, 2], chunk=2)
        np.testing.assert_allclose(more, counts, rtol=1e-6)


@pytest.mark.parametrize("name", ["discriminant", "network", "means"])
def test_classifiers_look_for_what_weighs_most(name):
    rows = pool_of(3, folds=3, n_signal=10, sizes=SIZES)
    heavy = np.where(rows.row[rows.observed] >= 140, 20.0, 1.0)  # signal stands behind background
    how = recipe("network", epochs=10) if name == "network" else classifier(name)
    light, found = (
        toys.observed(one, how, CUTS, 7, chunk=1) for one in (rows, weighted(rows, heavy))
    )
    signal = heavy > 1
    assert np.median(found.u[signal]) < 0.7 * np.median(light.u[signal])


def test_any_function_that_fits_is_told_the_weights(rows):
    seen = []

    def fit(x, y, weight):
        seen.append((y, weight))
        return means(x, y, weight)

    w = random_weights(150)
    toys.counts(weighted(rows, w), fit, CUTS, 7, [0])
    fold = rows.fold[rows.observed]
    for k, (y, weight) in enumerate(seen):
        assert weight.mean() == pytest.approx(1)
        assert weight[y == 1].sum() == pytest.approx(weight[y == 0].sum())
        assert np.corrcoef(weight[y == 1], w[fold != k])[0, 1] > 1 - 1e-6


def row_of(counts, size, normalised, false):
    n_toys = len(counts) - 1
    normal = None
    if normalised:
        rng = np.random.default_rng(5)
        normal = Normalisation(
            1020.0, 30.0, rng.poisson(1020, n_toys), 1020 + 30 * rng.normal(size=n_toys)
        )
    return analysis.cut(counts, size, 0.1, [(size, n) for n in false], normal, 0)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("false", [(), (103, 121, 99, 110)])
def test_events_of_weight_two_double_the_limit_alone(normalised, false):
    counts = np.append(135, np.random.default_rng(0).poisson(100, 200)).astype(np.int32)
    template = np.full(5, 3200)
    plain, double = (
        row_of(counts, Sizes(1000, template, weight), normalised, false) for weight in (1.0, 2.0)
    )
    assert plain.z == double.z
    np.testing.assert_array_equal(plain.z_toys, double.z_toys)
    one, other = (analysis.summary(cut, True) for cut in (plain, double))
    assert (one["event_weight"], other["event_weight"]) == (1, 2)
    assert (other["n"], other["b"]) == (270, 2 * one["b"])
    assert isinstance(one["n"], int)
    for name in ("median", "low", "high", "observed"):
        assert other["limit"][name] == pytest.approx(2 * one["limit"][name])
    for name in ("p_local", "z_nominal", "z_workspace", "closure", "coverage"):
        assert other[name] == one[name]


@pytest.mark.parametrize("normalised", [False, True])
def test_a_workspace_counts_events_of_the_likelihood(normalised):
    rng = np.random.default_rng(0)
    counts = np.append(131.4, rng.gamma(100, 1.0, 50))
    size = Sizes(1000.3, np.full(5, 3200), 0.25, weighted=True)
    one = analysis.summary(row_of(counts, size, normalised, (103.2, 121.0, 99.7)), True)
    errors = {name: one["relative_errors"][name] for name in ("fit", "closure")}
    space = reuse.workspace(
        *("cut", one["n"], one["b"], one["r"], errors, one["dispersion"], one["event_weight"])
    )
    signal, background = space["channels"][0]["samples"]
    (b,), (error,) = background["data"], background["modifiers"][0]["data"]
    (n,) = space["observations"][0]["data"]
    z = counting.profile_z(n, b, (b / error) ** 2, *errors.values())
    assert z == pytest.approx(one["z_workspace"])
    assert one["z_workspace"] == pytest.approx(one["z_nominal"], rel=1e-6)
    assert n / signal["data"][0] == pytest.approx(0.25 * 131.4)  # mu is a sum of weights


def test_histograms_hold_all_toys_of_weighted_counts():
    found, counts = made_up(shown=False, n_toys=50)
    sums = {name: 1.37 * n for name, n in counts.items()}
    drawn = products.histograms(found, sums)
    assert drawn
    for name, histogram in drawn.items():
        assert name.startswith("toys/")
        assert sum(histogram["storage"]["values"]) == 50


def test_thinned_sums_keep_their_mean():
    rng = np.random.default_rng(0)
    sums = rng.gamma(20, 1.0, 20_000)
    kept = closure.thinned(sums, 0.7, rng)
    assert kept.mean() == pytest.approx(0.7 * sums.mean(), rel=0.01)
    assert kept.var() == pytest.approx(0.49 * 20 + 0.21 * 19.5, rel=0.05)  # the floor is thinned
    whole = closure.thinned(np.array([10, 0, 7]), 1.0, rng)
    assert whole.dtype == np.int64 and whole.tolist() == [10, 0, 7]


def test_toys_calibrate_weighted_counts():
    rows = pool_of(0, 2, sizes=(1000, 2000, 4000))
    rows = weighted(rows, random_weights(1000, 1))
    counts = calibration.half_split(rows, range(1, 501))
    size = analysis.sizes(rows, (1,))
    assert size.weighted and size.data < 400
    n = counts[:, 0]
    pulls = counting.pull(n, size.data, size.template, 0.1)
    assert 0.9 < pulls.std() < 1.1 and abs(pulls.mean()) < 4 / np.sqrt(500)
    z = counting.nominal_z(n, size.data, size.template, 0.1, scale=size.scale)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    unscaled = n * size.event_weight  # what a Poisson formula would take without the scale
    assert counting.pull(unscaled, 500, size.template, 0.1).std() > 1.1 * pulls.std()


@pytest.mark.parametrize(
    ("n_sets", "n_toys"), [(25, 39), pytest.param(250, 200, marks=pytest.mark.long)]
)
def test_p_values_of_weighted_background_are_uniform(n_sets, n_toys):
    p = []
    for i in range(n_sets):
        rows = pool_of(300 + i, sizes=(1000, 1000, 2000))
        rows = weighted(rows, random_weights(1000, i))
        counts = calibration.out_of_fold(rows, range(n_toys + 1))
        size = analysis.sizes(rows, range(5))
        row = [
            analysis.cut(n, size, e, [], None, 0)
            for n, e in zip(counts.T, calibration.EFFICIENCIES, strict=True)
        ]
        p.append([(1 + (one.z_toys >= one.z).sum()) / (1 + n_toys) for one in row])
    p = np.array(p)
    spread = np.random.default_rng(0).random(p.shape) / (n_toys + 1)  # p come in such steps
    for each in (p - spread).T:
        assert stats.kstest(each, "uniform").pvalue > 1e-3
        if n_sets > 100:
            low, high = stats.binom(n_sets, 0.05).interval(0.999)
            assert low <= (each <= 0.05).sum() <= high
