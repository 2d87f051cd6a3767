"""Rows in files of a folder: the same values, beside what they were made of, and nothing left."""

import errno

import jax.numpy as jnp
import numpy as np
import pytest

from jaxad import data
from jaxad.data.dataset import content_digest
from jaxad.devices.arrays import numbers
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.storage import on_disk


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(on_disk, "BLOCK_BYTES", 100)


@pytest.fixture
def values():
    return np.random.default_rng(0).random((50, 7), np.float32)


def assert_on_disk(array, folder):
    assert isinstance(array, np.memmap)
    assert on_disk.folder_of(array) == folder
    assert not list(folder.iterdir())


def test_copies_are_equal_and_beside(values, tmp_path):
    stored = on_disk.concatenate([values], tmp_path)
    assert_on_disk(stored, tmp_path)
    np.testing.assert_array_equal(stored, values)
    joined = on_disk.concatenate([values[:30], stored])
    assert_on_disk(joined, tmp_path)
    np.testing.assert_array_equal(joined, np.concatenate([values[:30], values]))
    assert on_disk.concatenate([stored]) is stored
    for index in (np.array([3, 1, 1, 49]), values[:, 0] > 0.5, slice(3, 9)):
        taken = on_disk.take(stored, index)
        assert_on_disk(taken, tmp_path)
        np.testing.assert_array_equal(taken, values[index])


def test_what_is_in_memory_stays_there(values):
    assert on_disk.folder_of(values) is None
    for made in (on_disk.concatenate([values]), on_disk.take(values, np.arange(3))):
        assert not isinstance(made, np.memmap)


def test_results_lie_where_their_input_does(values, tmp_path):
    stored = on_disk.concatenate([values], tmp_path)
    doubled = in_batches(lambda x: (2 * x).astype(jnp.uint8), stored, "doubling", 6)
    assert_on_disk(doubled, tmp_path)
    np.testing.assert_array_equal(doubled, (2 * values).astype(np.uint8))


def test_what_is_scored_gives_back_its_pages(values, tmp_path):
    stored = on_disk.concatenate([values], tmp_path)
    assert on_disk.folder_of(numbers(stored, "input", "(n, 7)")) == tmp_path


def test_a_full_disk_is_an_error_and_no_crash(tmp_path):
    with pytest.raises(UserError, match=r"no room for 1\d*.0 GB of rows \(.*\); set data.cache"):
        on_disk.empty((10**9, 10**9), np.uint8, tmp_path)


@pytest.mark.parametrize("format", ["image", "ptetaphi", "epxpypz"])
def test_users_files_on_disk_are_the_same_events(format, tmp_path):
    rng = np.random.default_rng(0)
    pt, eta, phi = rng.random((3, 90, 20), np.float32)
    momenta = (pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta))
    x = {"ptetaphi": (pt, eta, phi), "epxpypz": momenta, "image": (pt, eta)}[format]
    for part in range(2):
        np.savez(tmp_path / f"{part}.npz", x=np.stack(x, -1), label=rng.integers(0, 2, 90))
    settings = {
        "source": str(tmp_path / "*.npz"),
        "format": format,
        "label_key": "label",
        "signals": "one=1",
        "cache": str(tmp_path / "cache"),
    }
    in_memory, stored = (
        data.load(data.get_config("events", **settings, on_disk=disk)) for disk in (False, True)
    )
    assert content_digest(in_memory) == content_digest(stored)
    for _, rows in stored.parts():
        assert_on_disk(rows["x"], tmp_path / "cache")


def test_rows_that_still_grow_have_no_name_either(tmp_path, values):
    growing = on_disk.Growing(tmp_path)
    growing.append(values)
    assert not list(tmp_path.iterdir())
    growing.append(values)
    np.testing.assert_array_equal(growing.array(), np.concatenate([values, values]))


def test_what_numpy_computes_of_a_map_is_in_memory(tmp_path, values):
    computed = on_disk.joined([values], tmp_path).astype(np.float64)
    assert on_disk.folder_of(computed) is None
    np.testing.assert_array_equal(on_disk.mapped(np.negative, computed), -values)


def test_too_many_open_files_is_said_to_be_that(tmp_path):
    with pytest.raises(UserError, match=r"too many open files.*ulimit"), on_disk._room(tmp_path, 9):
        raise OSError(errno.EMFILE, "Too many open files")
