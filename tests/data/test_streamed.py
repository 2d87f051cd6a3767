"""Lists on the way to the disk: the events of memory bit for bit, once, and in little memory."""

import shutil
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from published_layouts import pfnano

from benchmarks import rows, streaming
from jaxad import data
from jaxad.data import jagged, lists, text_file
from jaxad.data.event_weights import for_training
from jaxad.errors import UserError
from jaxad.storage import on_disk

N = 300
WRITERS = {"parquet": streaming.write_parquet, "root": streaming.write_root}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(on_disk, "BLOCK_BYTES", 5000)
    monkeypatch.setattr(lists, "AT_ONCE", 32)


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
    for part in (disk.train, disk.signals["s"]):
        assert all(isinstance(values, np.memmap) for values in part.values())
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


@pytest.fixture(scope="module")
def jets(tmp_path_factory):
    """Jets with candidates by links, as a tree of one basket and as row groups of 7 events."""
    uproot, awkward = pytest.importorskip("uproot"), pytest.importorskip("awkward")
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("jets")
    tree, *_ = pfnano(folder)
    with uproot.open(tree) as events:
        awkward.to_parquet(events.arrays(), folder / "jets.parquet", row_group_size=7)
    return tree, folder / "jets.parquet"


def of_jets(source, **settings):
    return data.load(data.get_config("events", preset="pfnano", source=str(source), **settings))


def test_links_are_followed_block_by_block(jets, monkeypatch):
    tree, groups = jets
    cuts = {"selection": "FatJet_msoftdrop > 9 & count(PFCands_pt > 50) > 2"}
    expected = [of_jets(tree), of_jets(tree, **cuts)]
    monkeypatch.setattr(lists, "AT_ONCE", 5)
    found = [of_jets(groups), of_jets(groups, **cuts)]
    for one, other in zip(found, expected, strict=True):
        assert one.info["digest"] == other.info["digest"]
    flow = found[1].info["cut_flow"]
    assert flow == expected[1].info["cut_flow"]
    read, first, last = (line["events"] for line in flow["background"])
    assert read - first == 10 and 0 < last < first
    assert last == sum(len(rows["x"]) for _, rows in found[1].parts())


def test_particles_that_were_left_out_are_told_of_what_was_kept(jets, tmp_path, capsys):
    own = {"on_disk": True, "cache": str(tmp_path), "n_particles": 4}
    told = []
    for _ in range(2):
        of_jets(jets[1], max_cut=1.0, **own)
        told.append([line for line in capsys.readouterr().err.splitlines() if "note:" in line])
    assert told[0] == told[1] and "have more than 4 particles" in told[0][0]
    with pytest.raises(UserError, match=r"data.n_particles: .* have more than 4 particles"):
        of_jets(jets[1], **own)
    assert len(entries(tmp_path)) == 2


def test_columns_of_a_glob(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    x = np.random.default_rng(0).random((N, 4, 3), np.float32)
    names = {
        f"{name}_{i}": x[:, i, c] for c, name in enumerate(("pt", "eta", "phi")) for i in range(4)
    }
    pq.write_table(pa.table(names | {"n": np.arange(N)}), tmp_path / "a.parquet", row_group_size=50)
    np.savez(tmp_path / "a.npz", x=x)
    found, expected = (
        data.load(data.get_config("events", source=str(tmp_path / file), x_key=key))
        for file, key in (("a.parquet", "pt_*,eta_*,phi_*"), ("a.npz", "x"))
    )
    assert found.info["digest"] == expected.info["digest"]
    for values, message in (([1, None], "1 rows have no value"), (["a", "b"], "expected numbers")):
        pq.write_table(pa.table({"pt_0": pa.array(values)}), tmp_path / "b.parquet")
        config = data.get_config("events", source=str(tmp_path / "b.parquet"), format="features")
        config.x_key = "pt_*"
        with pytest.raises(UserError, match=rf"pt_0: {message}"):
            data.load(config)


@pytest.mark.parametrize("kind, changes", [
    ("hdf5", {"split": "id", "id_key": "event"}), ("parquet", {}),
    pytest.param("csv", {}, marks=pytest.mark.long),
])  # fmt: skip
def test_no_number_of_an_event_stays_in_memory(kind, changes, tmp_path, monkeypatch):
    """What is allocated at the peak of reading, selecting, splitting and weighing."""
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(on_disk, "BLOCK_BYTES", 1 << 15)
    monkeypatch.setattr(on_disk, "BLOCK_ROWS", 1 << 10)
    monkeypatch.setattr(lists, "AT_ONCE", 1 << 10)
    monkeypatch.setattr(text_file, "BLOCK", 1 << 16)
    suffix, write = rows.KINDS[kind]
    cuts, keys = "pt[0] > 25 & w > 0.6", "pt,eta,phi"
    if kind == "csv":
        cuts, keys = "pt_0 > 25 & w > 0.6", "pt_*,eta_*,phi_*"
    own = changes | {"x_key": keys, "selection": cuts, "n_events": 0, "on_disk": True}
    peaks = []
    for n in (1_000, 6_000, 18_000):  # the first imports what is used
        path = tmp_path / f"{n}.{suffix}"
        write(path, n)
        config = section(path, tmp_path / str(n), **own)
        tracemalloc.start()
        dataset = for_training(data.load(config), config)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert 0.2 * n < len(dataset.train["x"]) < 0.9 * n
    assert peaks[2] - peaks[1] < 10 * 12_000


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
    assert peaks[1] - peaks[0] < 0.12  # blocks that are not yet full


def test_row_groups_of_millions_are_told_once(tmp_path, capsys):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    n = jagged.LARGE + 1
    table = pa.table({"x": np.arange(n, dtype=np.uint8)})
    for size, name in ((n, "one"), (n // 2, "two")):
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=size)
        for _ in range(2):
            with jagged.open_list(tmp_path / f"{name}.parquet", "x") as column:
                assert len(column) == n
    told = capsys.readouterr().err
    assert told.count("a row group of 1,000,001 rows") == 1 and "two.parquet" not in told
