"""BumpHunter: pybumphunter's numbers, a uniform global p-value, batches, refusals."""

import json

import numpy as np
import pytest
from scipy.stats import kstest

from jaxad.errors import UserError
from jaxad.metrics import bumphunter

EDGES = np.arange(31.0)
REFERENCE = np.round(4000 * np.exp(-np.arange(30) / 5.5), 2)
FLAT = np.r_[
    [1031, 835, 638, 573, 493, 399, 363, 275, 241, 197, 180, 141, 104, 107, 84],
    [65, 47, 52, 30, 31, 22, 27, 18, 9, 12, 11, 11, 13, 4, 8],
]
BUMP = FLAT.copy()
BUMP[11:14] += [22, 40, 25]


@pytest.mark.parametrize(
    ("counts", "widths", "p_value", "first", "width", "excess"),
    [
        (FLAT, range(1, 16), 0.01828107143546321, 0, 15, 156.17186979375674),
        (FLAT, (2, 4, 6), 0.043456890606714815, 26, 2, 7.705291230724839),
        (BUMP, range(1, 16), 4.37525934287405e-07, 11, 3, 95.42933780519132),
        (BUMP, (2, 4, 6), 5.12516897613453e-07, 10, 4, 114.05049912508952),
    ],
)
def test_windows_are_those_of_pybumphunter(counts, widths, p_value, first, width, excess):
    """Version 0.5.1, with `use_sideband=True`."""
    bump = bumphunter.scan(counts[None], REFERENCE, widths)
    assert bump.p_value[0] == pytest.approx(p_value, rel=1e-9)
    assert (bump.first[0], bump.width[0]) == (first, width)
    assert bump.excess[0] == pytest.approx(excess)


def test_the_global_p_value_is_that_of_pybumphunter():
    """Version 0.5.1 counts 17,936 of 20,000 toys."""
    result = bumphunter.bump_hunter(FLAT, REFERENCE, EDGES, n_toys=3000)
    assert result["p_global"] == pytest.approx(0.8968, abs=0.025)
    assert result["p_global"] == (1 + result["exceedances"]) / 3001


def test_windows_with_most_of_the_events_hide_a_bump_unless_the_scale_has_its_error():
    """pybumphunter 0.5.1 counts 908 of 5,000 toys for a bump of 4.9 sigma."""
    blind = bumphunter.bump_hunter(BUMP, REFERENCE, EDGES, n_toys=1000)
    assert (blind["low"], blind["high"]) == (11.0, 14.0)
    assert blind["p_global"] == pytest.approx(0.18, abs=0.04)
    options = {"n_toys": 1000, "exact_scale": False}
    fair = bumphunter.bump_hunter(BUMP, REFERENCE, EDGES, **options)
    assert (fair["low"], fair["high"], fair["exceedances"]) == (11.0, 14.0, 0)
    assert fair["z_global"] == pytest.approx(3.09, abs=0.01)
    assert fair["p_local"] == pytest.approx(blind["p_local"], rel=2)
    json.dumps(fair, allow_nan=False)


@pytest.mark.parametrize("exact_scale", [True, False])
def test_the_global_p_value_is_uniform_without_a_signal(exact_scale):
    rng = np.random.default_rng(2)
    data, toys = (rng.poisson(REFERENCE / 20, (n, 30)) for n in (300, 1500))
    options = (REFERENCE, range(1, 16), exact_scale)
    least, each = (bumphunter.scan(counts, *options).p_value for counts in (toys, data))
    p_global = (1 + (least <= each[:, None]).sum(1)) / 1501
    assert kstest(p_global, "uniform").pvalue > 1e-3
    for i, row in enumerate(data[:10]):
        whole = bumphunter.bump_hunter(
            row, REFERENCE, EDGES, n_toys=300, seed=i, exact_scale=exact_scale
        )
        assert whole["p_global"] == pytest.approx(p_global[i], abs=0.12)


def test_spectra_scanned_together_are_as_scanned_alone():
    rng = np.random.default_rng(3)
    counts = rng.poisson(REFERENCE, (3, 30))
    counts[2] = 0
    references = REFERENCE * rng.uniform(0.9, 1.1, (3, 30))
    together = bumphunter.scan(counts, references, range(1, 16))
    for i in range(3):
        alone = bumphunter.scan(counts[i : i + 1], references[i], range(1, 16))
        assert [field[0] for field in alone] == [field[i] for field in together]
    assert together.p_value[2] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((FLAT, REFERENCE[1:], EDGES), "found 29, 30 and 31 edges"),
        ((FLAT + 0.5, REFERENCE, EDGES), "expected counts of events"),
        ((0 * FLAT, REFERENCE, EDGES), "expected counts of events"),
        ((FLAT, np.where(EDGES[1:] == 9, 0, REFERENCE), EDGES), "found 0 from 8 to 9"),
        ((FLAT, REFERENCE, EDGES, (1, 30)), "windows of 1 to 29 bins"),
    ],
)
def test_what_cannot_be_scanned_is_refused(arguments, words):
    *arrays, widths = arguments if len(arguments) == 4 else (*arguments, None)
    with pytest.raises(UserError, match=words) as error:
        bumphunter.bump_hunter(*arrays, widths=widths, n_toys=10)
    assert "\n" not in str(error.value)
