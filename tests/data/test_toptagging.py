"""The top tagging reader and pandas' HDF5 layouts, and every way such a file can be bad."""

import json
import os
import pickle

import h5py
import numpy as np
import pytest
import tables

import jaxad.data as data
from jaxad.data import toptagging
from jaxad.data.dataset import counts
from jaxad.data.pandas_table import PandasTable
from jaxad.errors import UserError
from jaxad.observables.momenta import four_momenta

N_JETS = 300


# Files in the published layouts ---------------------------------------------------------------


def _momenta(n, seed):
    """(n, 200, 4) float32: jets of 20 to 60 particles, pT 600 GeV, pT ordered, zero padded."""
    rng = np.random.default_rng(seed)
    there = np.arange(200) < rng.integers(20, 60, n)[:, None]
    pt = -np.sort(-rng.exponential(1, (n, 200)) * there, axis=1)
    pt *= 600 / pt.sum(axis=1, keepdims=True)
    angles = rng.normal(0, 0.2, (n, 200, 2))
    return four_momenta(np.concatenate([pt[..., None], angles], axis=-1)).astype(np.float32)


COLUMNS = [*toptagging.MOMENTA, "truthE", "truthPX", "truthPY", "truthPZ"]


def _write_tops(path, momenta, labels, complib="blosc", columns=COLUMNS):
    fields = [
        ("index", "i8"),
        ("values_block_0", "f4", (len(columns),)),
        ("values_block_1", "i8", (2,)),
    ]
    rows = np.zeros(len(momenta), fields)
    rows["values_block_0"][:, :800] = momenta.reshape(len(momenta), 800)
    rows["values_block_1"][:, 1] = labels
    with tables.open_file(str(path), "w") as file:
        group = file.create_group("/", "table")
        filters = tables.Filters(complevel=4, complib=complib)
        table = file.create_table(group, "table", rows.dtype, filters=filters, expectedrows=1000)
        table.attrs.values_block_0_kind = columns
        table.attrs.values_block_1_kind = ["ttv", "is_signal_new"]
        table.append(rows)
    return path


@pytest.fixture(scope="module")
def tops(tmp_path_factory):
    """Folder with train.h5, val.h5, test.h5; the second momentum component marks each jet."""
    folder = tmp_path_factory.mktemp("tops")
    for seed, name in enumerate(toptagging.FILES):
        labels = np.arange(N_JETS) % 2
        _write_tops(folder / name, _momenta(N_JETS, seed), labels)
    return folder


def _load_tops(folder, **changes):
    return data.load(data.get_config("toptagging", source=str(folder), **changes))


def _marks(rows):
    return {row.tobytes() for row in rows["x"][:, 0]}


def test_toptagging_random_split_is_the_exercise(tops):
    dataset = _load_tops(tops)
    assert counts(dataset) == {"train": 108, "val": 12, "test": 30, "signals.top": 30}
    marks = [_marks(rows) for _, rows in dataset.parts()]
    assert len(set.union(*marks)) == sum(map(len, marks)) == 180
    stored = {bytes(row) for row in _momenta(N_JETS, 1)[:, 0]}
    assert set.union(*marks) <= stored
    assert (dataset.train["label"] == 0).all() and (dataset.signals["top"]["label"] == 1).all()
    np.testing.assert_allclose(dataset.train["pt"], 590, atol=20)
    assert all(values.dtype == np.float32 for values in dataset.train.values())
    json.dumps(dataset.info)


def test_toptagging_observables_see_all_constituents(tops):
    short, full = _load_tops(tops, n_constituents=10), _load_tops(tops)
    assert short.train["x"].shape[1:] == (10, 4)
    np.testing.assert_array_equal(short.train["x"], full.train["x"][:, :10])
    np.testing.assert_array_equal(short.train["mass"], full.train["mass"])
    momenta = full.test["x"].astype(np.float64)
    np.testing.assert_array_equal(full.test["multiplicity"], (momenta[..., 0] > 0).sum(axis=1))
    total = momenta.sum(axis=1)
    mass = np.sqrt(total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(axis=1))
    np.testing.assert_allclose(full.test["mass"], mass, rtol=1e-5)


def test_toptagging_reverse_swaps_the_classes(tops):
    dataset = _load_tops(tops, reverse=True)
    assert set(dataset.signals) == {"QCD"}
    assert (dataset.train["label"] == 1).all() and (dataset.signals["QCD"]["label"] == 0).all()


def test_toptagging_published_split_keeps_the_files_apart(tops):
    dataset = _load_tops(tops, split="published", n_jets=0)
    assert counts(dataset) == {"train": 150, "val": 150, "test": 150, "signals.top": 150}
    for seed, part in enumerate((dataset.train, dataset.val, dataset.test)):
        np.testing.assert_array_equal(part["x"], _momenta(N_JETS, seed)[::2])


def test_toptagging_seed_and_limit(tops):
    assert sum(counts(_load_tops(tops, n_jets=100)).values()) < 100
    first, same, other = (_load_tops(tops, seed=seed, n_jets=100) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.train["x"], same.train["x"])
    assert _marks(first.train) != _marks(other.train)


def test_toptagging_files_are_pooled_by_a_glob(tops):
    dataset = _load_tops(tops / "t*.h5", n_jets=0)
    assert sum(counts(dataset).values()) == 2 * 180
    assert len(dataset.info["files"]) == 2


def test_jets_on_disk_are_the_same(tops, tmp_path):
    settings = {"n_jets": 0, "cache": str(tmp_path)}
    in_memory, stored = (_load_tops(tops, on_disk=disk, **settings) for disk in (False, True))
    assert in_memory.info["digest"] == stored.info["digest"]
    assert all(isinstance(rows["x"], np.memmap) for _, rows in stored.parts())


def test_blocks_do_not_change_what_is_read(tops, monkeypatch):
    whole = _load_tops(tops, n_jets=0)
    monkeypatch.setattr("jaxad.data.pandas_table.BLOCK_BYTES", 4 * 801 * 37)
    for (_, a), (_, b) in zip(whole.parts(), _load_tops(tops, n_jets=0).parts(), strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.slow
def test_toptagging_from_simulation(tmp_path):
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    config = data.get_config("toptagging", n_simulated=100, cache=str(tmp_path), workers=1)
    dataset = data.load(config)
    assert sum(counts(dataset).values()) == 120
    assert 550 < np.median(dataset.train["pt"]) < 650


# pandas tables --------------------------------------------------------------------------------


@pytest.mark.parametrize("complib", ["blosc", "blosc:lz4", "blosc:zstd", "zlib"])
def test_compressions_read_alike(tmp_path, complib):
    momenta = _momenta(100, 3)
    path = _write_tops(tmp_path / "t.h5", momenta, np.arange(100) % 2, complib)
    with PandasTable(path) as table:
        assert (table.n_rows, table.columns) == (100, [*COLUMNS, "ttv", "is_signal_new"])
        order = ["PZ_3", "is_signal_new", "E_0", "PX_0"]
        found = table.read(order, 41, 83)
    expected = np.stack(
        [
            momenta[41:83, 3, 3],
            np.arange(41, 83) % 2,
            momenta[41:83, 0, 0],
            momenta[41:83, 0, 1],
        ],
        axis=1,
    )
    np.testing.assert_array_equal(found, expected)


def test_other_compressions_are_named(tmp_path):
    path = _write_tops(tmp_path / "t.h5", _momenta(10, 3), 0, "bzip2")
    with pytest.raises(
        UserError, match=r"compressed by bzip2 \(HDF5 filter 307\), which is not .* repack it"
    ):
        PandasTable(path).read(["E_0"])


def test_names_pickled_by_python_2(tmp_path):
    path = _write_tops(tmp_path / "t.h5", _momenta(10, 3), 0)
    names = "".join(f"S'{name}'\np{i}\na" for i, name in enumerate(COLUMNS, 1))
    with h5py.File(path, "r+") as file:
        file["table/table"].attrs["values_block_0_kind"] = np.bytes_(f"(lp0\n{names}.".encode())
    assert PandasTable(path).columns[:804] == COLUMNS


def test_code_in_a_pickled_attribute_is_not_run(tmp_path):
    path = _write_tops(tmp_path / "t.h5", _momenta(10, 3), 0)
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(marker),))

    with h5py.File(path, "r+") as file:
        for holder in (file["table"], file["table/table"]):
            holder.attrs["non_index_axes"] = np.bytes_(pickle.dumps(Evil(), 0))
        file["table/table"].attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(Evil(), 0))
    with pytest.raises(UserError, match="has 804 columns but"):
        PandasTable(path)
    assert not marker.exists()


def test_fixed_layout_of_real_files(shared_data):
    with (
        PandasTable(shared_data / "lhco_raw_1k.h5") as raw,
        tables.open_file(str(shared_data / "lhco_raw_1k.h5")) as reference,
    ):
        assert raw.columns == [str(i) for i in range(2101)]
        np.testing.assert_array_equal(
            raw.read(raw.columns, 5, 300), reference.root.df.block0_values[5:300]
        )
    with PandasTable(shared_data / "lhco_features_60k.h5", "df") as features:
        assert features.n_rows == 60_000
        assert features.read(["label"])[:, 0].sum() == 5354


def test_which_frame(tops):
    with pytest.raises(UserError, match="expected a pandas frame 'df', found 'table'"):
        PandasTable(tops / "val.h5", "df")


def test_a_file_of_ones_own_is_told_its_reader(tmp_path):
    with h5py.File(tmp_path / "jets.h5", "w") as file:
        file["constituents"] = np.zeros((9, 5, 3))
    message = "expected a pandas frame as published, found 'constituents': .* data.name=events"
    with pytest.raises(UserError, match=message):
        data.load(data.get_config("toptagging", source=str(tmp_path / "jets.h5")))


# Bad top tagging files ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "official"}, "data.split: expected random or published"),
        ({"file": "../val.h5"}, "data.file: expected one of train.h5"),
        ({"n_constituents": 201}, "data.n_constituents: expected 1 to 200, found 201"),
        ({"n_constituents": 0}, "data.n_constituents: expected 1 to 200, found 0"),
        ({"train_fraction": 1.0}, "data.train_fraction: expected a number between 0 and 1"),
        ({"n_jets": -1}, "data.n_jets: expected 0"),
        ({"n_jets": 3}, "cannot be cut so|no .* jets"),
    ],
)
def test_toptagging_settings(tops, changes, message):
    with pytest.raises(UserError, match=message):
        _load_tops(tops, **changes)


def test_toptagging_missing_files(tops, tmp_path):
    with pytest.raises(UserError, match=r"val.h5: no such file"):
        _load_tops(tmp_path)
    with pytest.raises(UserError, match=r"data.split=published needs a folder"):
        _load_tops(tops / "val.h5", split="published")


def test_downloaded_file_put_there_by_hand_is_checked(tops, tmp_path):
    path = tmp_path / "download" / "toptagging" / "val.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes((tops / "val.h5").read_bytes())
    with pytest.raises(UserError, match=r"val.h5: expected 347,378,076 bytes, found"):
        _load_tops("download", cache=str(tmp_path))


def test_truncated_file(tops, tmp_path):
    content = (tops / "val.h5").read_bytes()
    (tmp_path / "val.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"val.h5: truncated: only .* bytes are here; download"):
        _load_tops(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>not found</html>", "expected an HDF5 file, found a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "found a Git LFS pointer"),
        (b"PK\x03\x04 something", "expected an HDF5 file, found a file that starts with b'PK"),
    ],
)
def test_files_that_are_no_hdf5(tmp_path, content, message):
    (tmp_path / "val.h5").write_bytes(content)
    with pytest.raises(UserError, match=message):
        _load_tops(tmp_path)


def test_damaged_inside(tmp_path):
    path = _write_tops(tmp_path / "val.h5", _momenta(100, 0), np.arange(100) % 2, "zlib")
    with h5py.File(path) as file:
        place = file["table/table"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"the data cannot be read .* the file is damaged"):
        _load_tops(tmp_path)


def _nan(momenta):
    momenta[60, 3, 1] = np.nan


def _negative(momenta):
    momenta[60, 3, 0] *= -1


def _mev(momenta):
    momenta *= 1000


def _swapped(momenta):
    momenta[:] = np.abs(momenta[..., ::-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_nan, "val.h5: constituents: NaN or infinity at row 60"),
        (_negative, "val.h5: E_3: expected an energy of 0 or more, found -.* at row 60"),
        (_swapped, "val.h5: constituents: found at row 0 an energy below the momentum"),
        (_mev, "val.h5: .* expected GeV, found a median jet pT of 5.*e.05: this looks like MeV"),
    ],
)
def test_values_that_cannot_be(tmp_path, damage, message):
    momenta = _momenta(100, 0)
    damage(momenta)
    _write_tops(tmp_path / "val.h5", momenta, np.arange(100) % 2)
    with pytest.raises(UserError, match=message) as error:
        _load_tops(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones(100), r"no QCD jets \(is_signal_new = 0\) among 100"),
        (np.zeros(100), r"no top jets \(is_signal_new = 1\) among 100"),
        (np.arange(100) % 3, r"expected 0 or 1, found 2 \(33 events, first at row 2\)"),
        (np.arange(100) % 2 * 2 - 1, r"expected 0 or 1, found -1 \(50 events, first at row 0\)"),
    ],
)
def test_labels_that_cannot_be(tmp_path, labels, message):
    _write_tops(tmp_path / "val.h5", _momenta(100, 0), labels)
    with pytest.raises(UserError, match=message):
        _load_tops(tmp_path)


def test_missing_columns(tmp_path):
    columns = [name.lower() for name in COLUMNS]
    _write_tops(tmp_path / "val.h5", _momenta(10, 0), np.arange(10) % 2, columns=columns)
    with pytest.raises(UserError, match=r"800 of 801 columns missing \(E_0, PX_0.*found e_0"):
        _load_tops(tmp_path)


def test_random_damage_never_ends_in_a_stack_trace(tmp_path):
    path = _write_tops(tmp_path / "val.h5", _momenta(60, 0), np.arange(60) % 2)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, 6000, 3):  # where the description of the table lies
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            _load_tops(tmp_path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(tmp_path) in str(error)
    assert refused > 30


def test_other_jets_are_tested_on_as_a_whole(tops):
    config = data.get_config("toptagging", source=str(tops / "val.h5"), n_jets=20)
    dataset = data.load_all(config)
    labels = toptagging._labels(tops / "val.h5")
    assert len(dataset.test["x"]) == (labels == 0).sum()
    assert len(dataset.signals["top"]["x"]) == (labels == 1).sum()
