"""Figures and orders of numbers on disk, block by block: those of NumPy."""

import numpy as np
import pytest

from jaxad.storage import blockwise, on_disk


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(on_disk, "BLOCK_ROWS", 37)
    monkeypatch.setattr(on_disk, "BLOCK_BYTES", 4000)


@pytest.mark.parametrize("n", [1, 2, 999, 1000])
def test_figures(n, tmp_path):
    rng = np.random.default_rng(n)
    x = (rng.normal(size=n) * 10 ** rng.uniform(-30, 30, n)).astype(np.float32)
    x[n // 2 :: 7] = x[0]
    stored = on_disk.joined([x[:3], x[3:]], tmp_path)
    assert blockwise.median(stored) == float(np.median(x))
    assert blockwise.count(lambda block: block > 0, stored) == (x > 0).sum()
    assert blockwise.total(stored) == blockwise.total(x)
    assert blockwise.are_constant([stored]) == (n == 1 or len(np.unique(x)) == 1)
    label = rng.integers(-2, 3, n)
    values, counts = np.unique(label, return_counts=True)
    found = blockwise.counts(on_disk.joined([label], tmp_path))
    assert [*found.items()] == [*zip(values.tolist(), counts.tolist(), strict=True)]


def test_sets_of_numbers(tmp_path):
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(0, 9000, n, np.uint64) for n in (3000, 2000, 10))
    stored = on_disk.joined([a], tmp_path)
    found = blockwise.among(stored, [on_disk.joined([b], tmp_path), c])
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, np.isin(a, np.concatenate([b, c])))
    assert 300 < found.sum() < 2700
    np.testing.assert_array_equal(blockwise.unique(stored), np.unique(a))
    np.testing.assert_array_equal(stored, a)


@pytest.mark.parametrize("on_a_disk", [False, True])
def test_orders_of_rows(on_a_disk, tmp_path):
    folder = tmp_path if on_a_disk else None
    rows = on_disk.shuffle(on_disk.numbered(500, folder), np.random.default_rng(3))
    np.testing.assert_array_equal(rows, np.random.default_rng(3).permutation(500))
    assert rows.dtype == np.uint32
    wanted = on_disk.rows_where(lambda block: block % 3 == 0, rows)
    np.testing.assert_array_equal(wanted, np.flatnonzero(np.asarray(rows) % 3 == 0))
    some = on_disk.shuffle(on_disk.mapped(np.asarray, wanted), np.random.default_rng(4))
    np.testing.assert_array_equal(some, np.random.default_rng(4).permutation(wanted))
    x = {"a": np.random.default_rng(0).random((500, 9)), "b": np.arange(500)}
    stored = {name: on_disk.joined([values], folder) for name, values in x.items()}
    for name, values in on_disk.take_all(stored, some).items():
        assert isinstance(values, np.memmap) == on_a_disk
        np.testing.assert_array_equal(values, x[name][some])
