"""Toys are calibrated: what BetaBinomial says of one fold, what it misses of five, what toys mend.

Linear discriminants on random cosines stand for the classifiers. The `long` versions have the sizes
of the benchmark; bands are 99.9 % for the number of toys.
"""

import numpy as np
import pytest
from scipy import stats

from benchmarks import calibration
from benchmarks.calibration import EFFICIENCIES, LEVELS, pool_of, randomised
from jaxad.search import toys

ALL = (0, 1, 2, 3, 4)
DEFAULT = (1000, 4000, 16_000)
"""Data, template to train, to count: those of a search by default."""
FLAWS = ("narrow", "shifted")


def sized(few, many):
    return pytest.mark.parametrize("n_toys", [few, pytest.param(many, marks=pytest.mark.long)])


def require_rates(p, n_toys=0):
    """Fractions beyond 2 and 3 sigma in their 99.9 % interval, of ranks among `n_toys` toys."""
    for level in LEVELS:
        r = int(level * (n_toys + 1))
        if n_toys and not r:
            continue  # so small a rank there is not
        law = stats.betabinom(len(p), r, n_toys + 1 - r) if n_toys else stats.binom(len(p), level)
        low, high = law.interval(0.999)
        assert low <= (p <= level).sum() <= high


def ranked(n, n_toys, seed=0):
    """Ranks (N,) in (0, 1] of counts among those of toys, ties broken at random."""
    rng = np.random.default_rng(seed)
    n, n_toys = (values + rng.random(len(values)) for values in (n, n_toys))
    return calibration.permutation_p(n, n_toys)


@sized(600, 3000)
def test_a_half_split_follows_beta_binomial(n_toys):
    rows = pool_of(0, 2, sizes=(1000, 2000, 4000))
    counts = calibration.half_split(rows, range(1, n_toys + 1))
    for n, efficiency in zip(counts.T, EFFICIENCIES, strict=True):
        p = randomised(calibration.nominal_p(n, rows, efficiency, (1,)))
        assert stats.kstest(p, "uniform").pvalue > 1e-3
        require_rates(p)


@sized(1000, 3000)
def test_five_folds_are_unbiased_and_wider_and_toys_calibrate_them(n_toys):
    rows = pool_of(0, sizes=DEFAULT)
    counts = calibration.out_of_fold(rows, range(1, n_toys + 1))
    for n, efficiency in zip(counts.T, EFFICIENCIES, strict=True):
        assert abs(n.mean() - 1000 * efficiency) < 3 * n.std() / np.sqrt(n_toys)
        p = randomised(calibration.nominal_p(n, rows, efficiency, ALL))
        if efficiency == EFFICIENCIES[0]:  # the fault is seen
            assert 1.05 < stats.norm.isf(p).std() < 1.35
            assert (p <= LEVELS[0]).mean() > 0.029
        half = n_toys // 2
        p = ranked(n[half:], n[:half])
        assert stats.kstest(p, "uniform").pvalue > 1e-3
        require_rates(p, half)


@pytest.mark.parametrize(
    ("n_sets", "n_toys"), [(30, 39), pytest.param(250, 200, marks=pytest.mark.long)]
)
def test_permutation_p_values_of_background_are_uniform(n_sets, n_toys):
    p = []
    for i in range(n_sets):
        rows = pool_of(100 + i, sizes=(1000, 1000, 2000))
        counts = calibration.out_of_fold(rows, range(n_toys + 1))
        p.append([ranked(n[:1], n[1:], seed=i)[0] for n in counts.T])
    p = np.array(p)
    spread = np.random.default_rng(0).random(p.shape) / (n_toys + 1)  # p come in such steps
    for each in (p - spread).T:
        assert stats.kstest(each, "uniform").pvalue > 1e-3
        require_rates(each)


def test_in_sample_counts_alarm_without_a_signal():
    rows = pool_of(0, 5)
    n = calibration.in_sample(rows, range(1, 101))[:, 0]
    p = calibration.nominal_p(n, rows, EFFICIENCIES[0], ALL)
    assert (p[0] <= LEVELS[0]).mean() > 0.5


@pytest.mark.parametrize("n_sets", [20, pytest.param(100, marks=pytest.mark.long)])
def test_five_folds_find_more_than_a_half_split(n_sets):
    ways = ["half-split", "5 folds"] + ["in-sample"] * (n_sets == 100)
    power = {}
    for name in ways:
        count, _ = calibration.WAYS[name]
        folds = calibration.folds_of(name)
        null = count(pool_of(0, folds), range(1, 501))[:, 1]
        pools = (pool_of(1000 + i, folds, n_signal=30) for i in range(n_sets))
        n = np.array([count(rows, [0])[0, 1] for rows in pools])
        power[name] = (calibration.permutation_p(n, null) <= LEVELS[0]).mean()
    print(power)
    assert power["5 folds"] >= 1.4 * power["half-split"]
    assert power["5 folds"] > power.get("in-sample", 0)


@pytest.mark.parametrize("n_sets", [12, pytest.param(300, marks=pytest.mark.long)])
def test_a_wrong_template_alarms_as_it_stands(n_sets):
    sizes, p = (4000, 8000, 16_000), []
    for i in range(n_sets):
        rows = pool_of(2000 + i, sizes=sizes, flaws=FLAWS)
        n = calibration.out_of_fold(rows, [0])[:, 0]
        p.append(calibration.nominal_p(n, rows, EFFICIENCIES[0], ALL)[0, 0])
    z = stats.norm.isf(p)
    print(f"mean {z.mean():.2f}, width {z.std():.2f}, beyond 3 sigma {(z > 3).mean():.3f}")
    assert z.mean() > 0.5
    if n_sets >= 300:
        assert (z > 3).mean() > 0.03


@pytest.mark.long
def test_toys_calibrate_networks():
    """200 toys of 3 x 64 networks: minutes."""
    rows = pool_of(0, sizes=(1000, 2000, 4000))
    recipe = toys.get_config(epochs=10)
    counts = toys.counts(rows, recipe, EFFICIENCIES, 1, range(1, 201), chunk=4).sum(axis=1)
    for n, efficiency in zip(counts.T, EFFICIENCIES, strict=True):
        p = randomised(calibration.nominal_p(n, rows, efficiency, ALL))
        print(f"eps {efficiency}: mean {n.mean():.2f}, width {stats.norm.isf(p).std():.3f}")
        assert stats.kstest(ranked(n[100:], n[:100]), "uniform").pvalue > 1e-3
