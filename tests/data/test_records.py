"""Lists of records, and lists of any length in HDF5: the events of flat lists."""

import h5py
import numpy as np
import pytest

from jaxad import data
from jaxad.data import lists
from jaxad.data.columns import open_columns
from jaxad.data.hdf5_columns import names_of_item
from jaxad.data.jagged import open_list
from jaxad.errors import UserError

N, NAMES = 90, ("pt", "eta", "phi")
RECORD = [("pt", "f4"), ("eta", "f8"), ("phi", "f4"), ("pid", "i4")]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(lists, "AT_ONCE", 16)


@pytest.fixture(scope="module")
def events():
    """Records of each event, 0 to 5 of them, and a label (N,)."""
    rng = np.random.default_rng(0)
    found = []
    for n in rng.integers(0, 6, N):
        rows = np.zeros(n, RECORD)
        drawn = rng.random(n) + 1, rng.normal(size=n), rng.random(n)
        for name, values in zip(NAMES, drawn, strict=True):
            rows[name] = values
        found.append(rows)
    return found, rng.integers(0, 2, N)


def parquet(path, events, label):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    kind = pa.list_(pa.struct([(name, pa.from_numpy_dtype(dtype)) for name, dtype in RECORD]))
    rows = [
        [dict(zip(one.dtype.names, row.tolist(), strict=True)) for row in one] for one in events
    ]
    met = [{"pt": float(i)} for i in range(N)]
    table = {"jets": pa.array(rows, kind), "met": pa.array(met), "label": pa.array(label)}
    pq.write_table(pa.table(table), path, row_group_size=25)
    return "jets.pt,jets.eta,jets.phi"


def records(path, events, label):
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("all/jets", (N,), h5py.vlen_dtype(np.dtype(RECORD)))
        for i, rows in enumerate(events):
            stored[i] = rows
        file["label"] = label
    return "all/jets.pt,all/jets.eta,all/jets.phi"


def flat(path, events, label):
    with h5py.File(path, "w") as file:
        for name in NAMES:
            stored = file.create_dataset(name, (N,), h5py.vlen_dtype(events[0].dtype[name]))
            for i, rows in enumerate(events):
                stored[i] = rows[name]
        file["label"] = label
    return "pt,eta,phi"


def padded(events):
    x = np.zeros((N, 5, 3), np.float32)
    for i, rows in enumerate(events):
        x[i, : len(rows)] = np.stack([rows[name] for name in NAMES], -1)
    return x


def loaded(path, key, **changes):
    own = {"label_key": "label", "signals": "s=1", "x_key": key, "val_fraction": 0.3}
    return data.load(data.get_config("events", source=str(path), **own | changes))


@pytest.mark.parametrize("write, end", [(parquet, "parquet"), (records, "h5"), (flat, "h5")])
def test_the_events_of_an_array(write, end, events, tmp_path):
    rows, label = events
    key = write(tmp_path / f"a.{end}", rows, label)
    np.savez(tmp_path / "a.npz", x=padded(rows), label=label)
    expected = loaded(tmp_path / "a.npz", "x").info["digest"]
    assert loaded(tmp_path / f"a.{end}", key).info["digest"] == expected
    on_disk = loaded(tmp_path / f"a.{end}", key, on_disk=True, cache=str(tmp_path / "cache"))
    assert on_disk.info["digest"] == expected
    first = key.split(",")[0]
    cut = loaded(tmp_path / f"a.{end}", key, selection=f"count(`{first}`) > 1")
    n = sum(line[-1]["events"] for line in cut.info["cut_flow"].values())
    assert n == sum(len(one) > 1 for one in rows) > 10
    with pytest.raises(UserError, match=r"(no \w+ '.*PT'; found .*|their fields, )(\w|[/.])*pt"):
        loaded(tmp_path / f"a.{end}", key.replace("pt", "PT"))


def test_numbers_of_a_record(events, tmp_path):
    rows, label = events
    key = parquet(tmp_path / "a.parquet", rows, label)
    found = loaded(tmp_path / "a.parquet", key, observables="met=met.pt", signals="", label_key="")
    assert sorted(np.concatenate([part["met"] for _, part in found.parts()])) == list(range(N))
    with pytest.raises(UserError, match=r"jets: holds records: name their fields, jets.pt, "):
        loaded(tmp_path / "a.parquet", "jets")


def test_lists_of_records_in_hdf5_are_named_by_field(events, tmp_path):
    records(tmp_path / "a.h5", *events)
    with pytest.raises(UserError, match=r"all/jets: holds records: name their fields, all/jets.pt"):
        loaded(tmp_path / "a.h5", "all/jets")


def test_texts_beside_lists_are_no_lists(tmp_path):
    path = tmp_path / "events.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["w"] = np.ones((4, 2)), np.arange(4.0)
        file["txt"] = np.array(["a", "b", "c", "d"], h5py.string_dtype())
        assert names_of_item("txt", file["txt"]) == []
    with open_columns(path) as columns:
        assert "w" in columns.names


def test_fields_are_those_of_their_own_column(tmp_path):
    """Beside a column whose name begins alike, and records inside records; of no row at all too."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    gen = pa.struct([("pt", pa.float32()), ("eta", pa.float32())])
    kind = pa.list_(pa.struct([("pt", pa.float32()), ("gen", gen)]))
    rows = [[{"pt": 1.0, "gen": {"pt": 9.0, "eta": 8.0}}]] * 3
    for n, name in ((3, "some"), (0, "none")):
        table = {"jets": pa.array(rows[:n], kind), "jets.more": pa.array([7.0] * n, pa.float64())}
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table(table), path)
        with open_list(path, "jets.pt") as column:
            found = column.read(0, n).values
            np.testing.assert_array_equal(found, np.ones(n))
