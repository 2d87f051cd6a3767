"""The table of a search: folds, what is refused, whole numbers and spikes."""

import jax.numpy as jnp
import numpy as np
import pytest
from named_tables import ASKED, flat, sample, spoilt

from jaxad.data import folds, from_mapping, table_summary
from jaxad.data.dequantisation import atoms_in, atoms_of, centred, dequantised, floored
from jaxad.data.folds import fold_sizes
from jaxad.data.table import Origin, make_table, sentinel
from jaxad.errors import UserError


def test_folds_follow_the_ids_whatever_the_order():
    """Ids above 2^24, which float32 takes for their neighbours."""
    rng = np.random.default_rng(0)
    ids = 2**40 + np.arange(20_000)
    columns = {"m": 1 + rng.random(len(ids)), "a": rng.normal(size=len(ids)), "event": ids}
    asked = {"mass": "m", "features": "a", "id": "event"}
    table = from_mapping(columns, **asked)
    fold = folds(table.fold_key, 5, salt=3)
    order = rng.permutation(len(ids))
    shuffled = from_mapping({name: values[order] for name, values in columns.items()}, **asked)
    np.testing.assert_array_equal(folds(shuffled.fold_key, 5, salt=3), fold[order])
    agree = (fold[1:] == fold[:-1]).mean()
    assert abs(agree - 0.2) < 0.02, "neighbouring ids fall independently"
    assert abs((fold == folds(table.fold_key, 5, salt=4)).mean() - 0.2) < 0.02
    both = from_mapping({**columns, "run": ids % 7}, **{**asked, "id": "run,event"})
    assert len(np.unique(both.fold_key)) == len(ids)
    assert np.ptp(fold_sizes(folds(both.fold_key, 5), 5)) < 5 * np.sqrt(2 * 20_000 * 0.16)


def test_rows_of_one_id_share_a_fold_and_one_id_is_no_id():
    keys = np.repeat(np.arange(500, dtype=np.uint64), 4)
    fold = folds(keys, 5)
    assert (fold.reshape(500, 4) == fold[::4, None]).all()
    with pytest.raises(UserError, match=r"classifier.folds: folds of .* of 3 ids: one is empty"):
        folds(np.repeat(np.arange(3, dtype=np.uint64), 700), 5)
    uneven = np.arange(100_000, dtype=np.uint64)
    uneven = uneven[(folds(uneven, 5) != 2) | (uneven % 10 > 0)]
    with pytest.raises(UserError, match="fold 2 is more than 5 sigma off: take fewer folds"):
        folds(uneven, 5)
    with pytest.raises(UserError, match=r"classifier.folds: expected 2 or more, found 1"):
        folds(uneven, 1)


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        (spoilt(tau10=(5, np.nan)), {}, "tau10: NaN or infinity at row 5: .*missing=tau10:nan"),
        (spoilt(tau10=(5, np.inf)), {}, "tau10: NaN or infinity at row 5: remove"),
        (spoilt(tau10=(5, 1e39)), {}, "tau10: NaN or infinity at row 5: remove"),
        (spoilt(tau10=(slice(None), 2.5)), {}, "tau10: every row has 2.5"),
        ({}, {"missing": ""}, r"tau2: -999, \d+ spreads .* at row 7 and 39 more: .*=tau2:-999"),
        (spoilt(w=(9, -1)), {}, "weight: a weight that is not above 0 at row 9"),
        (spoilt(w=(9, 0)), {}, "weight: a weight that is not above 0 at row 9"),
        (spoilt(mjj=(3, 0)), {}, "mjj: a mass that is not above 0 at row 3"),
        (spoilt(mjj=(3, np.nan)), {}, "mjj: NaN or infinity at row 3"),
        (spoilt(mjj=(3, 2e5)), {}, "mjj: a mass beyond 1e8 GeV at row 3: is it in TeV"),
        ({}, {"mass_unit": "eV"}, "data.mass_unit: expected one of GeV, TeV, MeV, found 'eV'"),
        ({}, {"features": "n,mjj"}, "data.features: mjj is data.mass, which may not be a feature"),
        ({}, {"features": "n,w"}, "data.features: w is data.weight"),
        ({}, {"features": "label"}, "data.features: label is data.label"),
        ({}, {"features": "event"}, "data.features: event is data.id"),
        ({}, {"features": "n,n"}, "data.features: n comes twice"),
        ({}, {"features": "*", "label": ""}, r"data.features: \* would take label as a feature"),
        ({}, {"features": "n,tua*"}, r"no column 'tua\*'; found .*; set data.features"),
        ({}, {"mass": "m"}, "no column 'm'; found .*; set data.mass to some of these"),
        ({}, {"id": "run,evt"}, "no column 'evt'; .*data.id"),
        ({}, {"id": "tau10"}, "tau10: expected whole numbers, found .* at row 0"),
        ({}, {"missing": "tau2=-999"}, "data.missing: expected NAME:VALUE"),
        ({}, {"missing": "tau2:-999,n:-5"}, "data.missing: n: -5 stands in no row"),
        ({}, {"missing": "w:1"}, "data.missing: w is no feature; they are n, tau2"),
        (spoilt(event=(0, 2**53)), {}, "event: 9007199254740992 at row 0, stored as float64"),
    ],
)
def test_what_is_refused(columns, asked, message):
    with pytest.raises(UserError, match=message):
        from_mapping(columns or flat(sample()), **{**ASKED, **asked})


def test_a_glob_of_missing_values_means_the_features_that_have_them():
    rng = np.random.default_rng(0)
    columns = {"m": 1 + rng.random(99), "tau1": rng.random(99), "tau2": rng.random(99)}
    columns["tau2"][:9] = -999
    asked = {"mass": "m", "features": "tau*"}
    table = from_mapping(columns, **asked, missing="tau*:-999")
    assert table.names == ("tau1", "tau2", "tau2_missing") and table.info["missing"] == {"tau2": 9}
    for name in ("tau*:-1", "tau1:-999"):
        with pytest.raises(UserError, match=r"data.missing: tau1: .* stands in no row"):
            from_mapping(columns, **asked, missing=name)


def test_events_twice_without_ids_are_said():
    rng = np.random.default_rng(0)
    once = {"m": 1 + rng.random(50), "x": rng.random(50)}
    asked = {"mass": "m", "features": "x"}
    twice = {name: np.append(values, values[:20]) for name, values in once.items()}
    assert "equal to another" not in table_summary(from_mapping(once, **asked))
    assert "20 events are equal to another" in table_summary(from_mapping(twice, **asked))


def test_sentinels_are_told_from_tails():
    rng = np.random.default_rng(0)
    for values in (rng.exponential(1, 5000), rng.standard_cauchy(5000), rng.poisson(3, 5000)):
        assert sentinel(values) is None
    flags = (rng.random(5000) < 0.005).astype(int)
    assert sentinel(flags) is None and sentinel(flags + 2 * (rng.random(5000) < 0.002)) is None
    for n_bad in (6, 2500, 4500):
        for values in (rng.normal(size=5000), rng.poisson(30, 5000).astype(float)):
            values[:n_bad] = -999
            assert sentinel(values)[0] == -999
    values = rng.normal(size=5000)
    values[:1500], values[1500:3000] = -999, -998
    assert sentinel(values)[0] == -999


def test_whole_numbers_and_spikes_are_spread_and_put_back():
    rng = np.random.default_rng(0)
    n = 5000
    tau = np.where(rng.random(n) < 0.1, 0, 0.2 + rng.random(n))
    features = {"n": rng.poisson(3, n), "tau": tau, "x": rng.normal(size=n)}
    big = {"huge": 2**23 + rng.integers(0, 1000, n)}
    table = make_table(features | big, 1 + rng.random(n), Origin(("memory",)))
    assert table.integer.tolist() == [True, False, False, True]
    assert table.spikes[1] == 0 and np.isnan(table.spikes[[0, 2, 3]]).all()
    atoms = atoms_of(table)
    assert atoms.any and not atoms_in(table.x[:, 2:3]).any
    spread, again = (dequantised(table.x, atoms, seed=1) for _ in range(2))
    np.testing.assert_array_equal(spread, again)
    np.testing.assert_array_equal(spread[:, 2], table.x[:, 2])
    np.testing.assert_array_equal(floored(spread, atoms), table.x)
    uniform = spread[:, 0] - table.x[:, 0]
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.02
    at = tau == 0
    assert len(np.unique(spread[at, 1])) > 0.9 * at.sum() and spread[at, 1].max() < 0.2001
    drawn = floored(np.array([[-1.5, 0.1, 0.3, 0], [99, 0.5, 0.3, 2**23]], np.float32), atoms)
    assert drawn[0].tolist() == [0, 0, np.float32(0.3), table.x[:, 3].min()]
    middle = centred(spread, atoms, jnp)
    np.testing.assert_array_equal(middle[:, 0], table.x[:, 0] + 0.5)
    np.testing.assert_array_equal(floored(middle, atoms, jnp)[:, :3], table.x[:, :3])
    assert drawn[1, 0] == table.x[:, 0].max() and drawn[1, 1] == 0.5
