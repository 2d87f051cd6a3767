"""Data sets, splits, settings, observables and the cache: properties and refusals."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

import jaxad.data as data
from jaxad.data import checks
from jaxad.data.dataset import (
    Dataset,
    as_mapping,
    check,
    concatenate,
    content_digest,
    counts,
    n_rows,
    take,
)
from jaxad.data.layout import Layout
from jaxad.data.particles import jet_observables
from jaxad.data.settings import complete
from jaxad.data.splits import choose, split_indices
from jaxad.errors import UserError
from jaxad.observables.momenta import four_momenta
from jaxad.storage import cache

# Data sets and splits -------------------------------------------------------------------------

LAYOUT = Layout("features", (3,))


def _rows(n, offset=0.0):
    return {
        "x": np.full((n, 2, 3), offset, np.float32),
        "mass": np.arange(n, dtype=np.float32) + np.float32(offset),
    }


def _dataset(**changes):
    parts = {
        "train": _rows(5),
        "val": _rows(3),
        "test": _rows(2),
        "signals": {"a": _rows(4)},
        "layout": LAYOUT,
    }
    return Dataset(**{**parts, "info": {"name": "toy", "source": "toy.h5"}, **changes})


def test_rows_are_taken_and_joined():
    rows = _rows(5)
    joined = concatenate([take(rows, slice(0, 2)), take(rows, np.array([2, 3, 4]))])
    assert n_rows(joined) == 5
    np.testing.assert_array_equal(joined["mass"], rows["mass"])


def test_check_and_summary():
    dataset = check(_dataset(extra={"other": {"x": np.zeros((7, 1))}}))
    assert counts(dataset) == {"train": 5, "val": 3, "test": 2, "signals.a": 4, "extra.other": 7}
    table = data.summary(dataset).splitlines()
    assert table[0] == "toy from toy.h5: x (2, 3) float32 features"
    assert table[2].split() == ["background", "5", "3", "2"]
    assert table[3].split() == ["a", "-", "-", "4"]


def test_digest_is_of_values_types_and_places():
    rows = {"x": np.arange(6, dtype=np.float32).reshape(3, 2)}
    dataset = Dataset(rows, rows, rows, {"s": rows}, LAYOUT)
    assert content_digest(dataset) == content_digest(
        Dataset(rows, rows, {"x": rows["x"].copy()}, {"s": rows}, LAYOUT)
    )
    others = (
        {"x": rows["x"] + 1},
        {"x": rows["x"].T},
        {"x": rows["x"].astype(int)},
        {"y": rows["x"]},
    )
    found = {content_digest(Dataset(rows, other, rows, {"s": rows}, LAYOUT)) for other in others}
    found |= {
        content_digest(Dataset(rows, rows, rows, {"t": rows}, LAYOUT)),
        content_digest(dataset),
    }
    assert len(found) == 6


def test_check_copes_without_signals():
    check(_dataset(signals={}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": _rows(0)}, "toy.h5: val: no events left"),
        ({"train": {"x": np.zeros(3), "m": np.zeros(2)}}, "train: field 'm': expected 3 rows"),
        ({"train": {"m": np.zeros(2)}}, "train: no field 'x'"),
        ({"test": {"x": _rows(2)["x"]}}, r"test and train differ in the fields \['mass'\]"),
        ({"test": {**_rows(2), "x": np.zeros((2, 3, 3), "f4")}}, r"\(2, 3\) float32 as in train"),
        ({"test": {**_rows(2), "x": np.zeros((2, 2, 3))}}, "float32 as in train, found .* float64"),
        ({"signals": {"a": _rows(2, np.nan)}}, "signals.a: field 'x': NaN or infinity first at"),
        ({"signals": {"a/b": _rows(2)}}, "signal name 'a/b'"),
    ],
)
def test_check_refuses(changes, message):
    with pytest.raises(UserError, match=message):
        check(_dataset(**changes))


def test_first_not_finite_row_is_found_beyond_the_first_block():
    values = np.zeros((3000, 2000), np.float32)
    values[2999, 7] = np.inf
    with pytest.raises(UserError, match=r"f.h5: x: NaN or infinity at row 3099"):
        checks.require_finite(values, "f.h5", "x", 100)


@given(
    n=st.integers(20, 500),
    seed=st.integers(0, 2**32 - 1),
    cuts=st.tuples(st.floats(0.1, 0.4), st.floats(0.1, 0.4)),
)
@settings(max_examples=50, deadline=None)
def test_fractions_use_every_event_once(n, seed, cuts):
    parts = {"train": 1 - sum(cuts), "val": cuts[0], "test": cuts[1]}
    split = split_indices(n, parts, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(split.values()))), np.arange(n))
    for name, fraction in parts.items():
        assert abs(len(split[name]) - fraction * n) <= 1
    again = split_indices(n, parts, seed)
    assert all((split[name] == again[name]).all() for name in parts)


def test_counts_fractions_and_the_rest():
    split = split_indices(100, {"train": -1, "val": 10, "test": 0.2}, 0)
    assert {name: len(index) for name, index in split.items()} == {
        "train": 70,
        "val": 10,
        "test": 20,
    }
    assert len(np.unique(np.concatenate(list(split.values())))) == 100
    assert len(split_indices(100, {"a": 10, "b": 20}, 0)["b"]) == 20


@pytest.mark.parametrize(
    "parts",
    [{"a": 80, "b": 30}, {"a": 0, "b": 5}, {"a": -1, "b": -1}, {"a": 100, "b": -1}, {"a": 0.001}],
)
def test_impossible_splits_are_refused(parts):
    with pytest.raises(UserError, match="split"):
        split_indices(100, parts)


def test_choice_is_seeded_sorted_and_distinct():
    chosen = choose(1000, 100, 1)
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, choose(1000, 100, 1))
    assert (chosen != choose(1000, 100, 2)).any()
    np.testing.assert_array_equal(choose(5, 0), np.arange(5))
    with pytest.raises(UserError, match="limit"):
        choose(5, 6)


def test_names_of_the_command_line():
    assert as_mapping("t=4, W = 2,", "s") == {"t": "4", "W": "2"}
    assert as_mapping(ConfigDict({"t": 4}), "s") == {"t": "4"}
    assert as_mapping("", "s") == {}
    for text in ("t", "t=", "=4", "t=1,t=2"):
        with pytest.raises(UserError, match=r"data\.signals"):
            as_mapping(text, "data.signals")


def test_settings_are_completed_and_misspelt_ones_refused():
    filled = complete({"name": "a", "width": 2}, {"width": 1.0, "deep": False})
    assert filled.width == 2.0 and isinstance(filled.width, float)
    assert filled.seed == 0 and filled.deep is False
    with pytest.raises(UserError, match=r"data.widht: not a setting .* did you mean 'width'"):
        complete({"name": "a", "widht": 2}, {"width": 1.0})
    with pytest.raises(UserError, match=r"data.deep: expected bool, found 1"):
        complete({"deep": 1}, {"deep": False})


def test_unknown_reader():
    with pytest.raises(UserError, match=r"data.name: expected one of toptagging.* found 'tops'"):
        data.load(ConfigDict({"name": "tops"}))


# Observables ----------------------------------------------------------------------------------


def test_observables_of_known_jets():
    two = np.array([[[3.0, 0.0, 0.0], [3.0, 0.0, np.pi / 2], [0.0, 0.0, 0.0]]])
    found = jet_observables(two)
    np.testing.assert_allclose(found["mass"], np.sqrt(2 * 9), rtol=1e-6)
    np.testing.assert_allclose(found["pt"], 3 * np.sqrt(2), rtol=1e-6)
    np.testing.assert_array_equal(found["multiplicity"], 2)
    same = jet_observables(four_momenta(two))
    for name, values in found.items():
        np.testing.assert_allclose(same[name], values, rtol=1e-6)


def test_mass_of_a_boosted_light_jet_keeps_its_digits():
    energy, mass = 1000.0, 1.0
    momentum = np.sqrt(energy**2 - mass**2)
    jet = np.array([[[energy, momentum, 0, 0]]])
    np.testing.assert_allclose(jet_observables(jet)["mass"], mass, rtol=1e-5)


# Cache ----------------------------------------------------------------------------------------


def test_key_depends_on_values_not_on_order():
    assert cache.key({"a": 1, "b": 2}) == cache.key({"b": 2, "a": 1})
    assert cache.key({"a": 1}) != cache.key({"a": 2})


def test_products_are_made_once_a_setting(tmp_path):
    made = []

    def make(value):
        made.append(value)
        return {"x": np.full((3, 2), value, np.float32), "n": np.array(value)}

    for value in (1, 1, 2):
        found = cache.cached(tmp_path, "toy", {"value": value}, lambda v=value: make(v))
        np.testing.assert_array_equal(found["x"], np.full((3, 2), value))
        assert set(found) == {"x", "n"} and found["x"].dtype == np.float32
    assert made == [1, 2]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".h5", ".h5"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_damaged_entry_is_reported_and_made_again(tmp_path, capsys, damage):
    def make():
        return {"x": np.arange(1000.0)}

    cache.cached(tmp_path, "toy", {}, make)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    bad = {"truncated": content[:500], "flipped": content, "empty": b"", "foreign": b"hello"}
    path.write_bytes(bad[damage])
    np.testing.assert_array_equal(cache.cached(tmp_path, "toy", {}, make)["x"], np.arange(1000.0))
    assert f"{path}: damaged cache entry" in capsys.readouterr().err
    cache.cached(tmp_path, "toy", {}, lambda: pytest.fail("was not repaired"))


def test_interrupted_product_leaves_no_entry(tmp_path):
    def make():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.cached(tmp_path, "toy", {}, make)
    assert list(tmp_path.iterdir()) == []


def test_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "a"))
    assert cache.root() == tmp_path / "a" and cache.root().is_dir()
    assert cache.root(str(tmp_path / "b")) == tmp_path / "b"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot be written .* set data.cache or"):
        cache.root(str(tmp_path / "file" / "cache"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_cache_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        cache.root(str(tmp_path))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_full_disk_under_the_cache(tmp_path):
    path = tmp_path / f"toy-{cache.key({})}.h5"
    (tmp_path / f".{path.name}.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"No space left on device.*free some space"):
        cache.cached(tmp_path, "toy", {}, lambda: {"x": np.zeros(100_000)})
    assert list(tmp_path.iterdir()) == []
