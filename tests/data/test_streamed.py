"""Lists on the way to the disk: the events of memory bit for bit, once, and in little memory."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import streaming
from jaxad import data
from jaxad.data import jagged
from jaxad.data.event_weights import for_training
from jaxad.errors import UserError
from jaxad.storage import on_disk

N = 300
WRITERS = {"parquet": streaming.write_parquet, "root": streaming.write_root}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(on_disk, "BLOCK_BYTES", 5000)
    monkeypatch.setattr(on_disk, "TOGETHER", 7)
    monkeypatch.setattr(jagged, "AT_ONCE", 32)


@pytest.fixture(scope="module", params=["parquet", "root"])
def source(request, tmp_path_factory):
    pytest.importorskip("pyarrow" if request.param == "parquet" else "uproot")
    folder = tmp_path_factory.mktemp("lists")
    return WRITERS[request.param](folder / f"a.{request.param}", N)


def section(source, cache, **changes):
    own = {"x_key": "pt,eta,phi", "label_key": "label", "weight_key": "w", "signals": "s=1"}
    own |= {"selection": "pt[0] > 10", "n_events": 200, "sort_pt": True}
    return data.get_config("events", source=str(source), cache=str(cache), **own | changes)


def entries(folder):
    return sorted((folder / "events").iterdir())


def test_on_disk_as_in_memory(source, tmp_path):
    memory, disk = (
        for_training(data.load(config), config)
        for config in (section(source, tmp_path, on_disk=where) for where in (False, True))
    )
    assert isinstance(disk.train["x"], np.memmap)
    for (name, found), (_, expected) in zip(disk.parts(), memory.parts(), strict=True):
        assert found.keys() == expected.keys()
        for key, values in expected.items():
            np.testing.assert_array_equal(found[key], values, err_msg=f"{name} {key}")
    assert disk.info["digest"] == memory.info["digest"]
    assert disk.info["cut_flow"] == memory.info["cut_flow"]
    assert 0 < len(disk.train["x"]) < N


def test_what_was_read_is_kept(source, tmp_path, monkeypatch):
    config = section(source, tmp_path, on_disk=True)
    first = data.load(config)
    (entry,) = entries(tmp_path)
    assert not entry.name.startswith(".")
    stamp = entry.stat().st_mtime_ns
    assert data.load(config).info["digest"] == first.info["digest"]
    assert entry.stat().st_mtime_ns == stamp
    entry.write_bytes(entry.read_bytes()[:200])  # a disk that was full, say
    assert data.load(config).info["digest"] == first.info["digest"]
    assert entry.stat().st_mtime_ns != stamp
    config.sort_pt = False
    data.load(config)
    assert len(entries(tmp_path)) == 2


def test_a_reading_that_was_stopped_goes_on_by_file(tmp_path):
    pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    for name in "ab":
        streaming.write_parquet(tmp_path / f"{name}.parquet", N)
    table = pq.read_table(tmp_path / "b.parquet").to_pydict()
    spoilt = {**table, "phi": [[100.0] * len(row) for row in table["phi"]]}
    cache, config = tmp_path / "cache", section(f"{tmp_path}/?.parquet", tmp_path / "cache")
    config.on_disk = True
    pa = pytest.importorskip("pyarrow")
    pq.write_table(pa.table(spoilt), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b.parquet: .* a phi beyond 4 pi"):
        data.load(config)
    (kept,) = entries(cache)
    stamp = kept.stat().st_mtime_ns
    pq.write_table(pa.table(table), tmp_path / "b.parquet")
    data.load(config)
    assert len(entries(cache)) == 2 and kept.stat().st_mtime_ns == stamp


def test_no_room(source, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"the events of .* take .* GB, and .* GB are free: set"):
        data.load(section(source, tmp_path, on_disk=True))
    assert not entries(tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["parquet", "root"])
def test_memory_stays_flat(kind, tmp_path):
    """Resident memory at its peak, of processes of their own."""
    pytest.importorskip("pyarrow" if kind == "parquet" else "uproot")
    peaks = []
    for n in (1_000_000, 2_000_000):
        source = WRITERS[kind](tmp_path / f"{n}.{kind}", n)
        found = streaming.reading(source, tmp_path / f"cache{n}")
        assert found["events"] == n
        peaks.append(found["peak"])
    assert peaks[1] < 1.0
    assert peaks[1] - peaks[0] < 0.12  # numbers of the rows, and a few numbers an event
