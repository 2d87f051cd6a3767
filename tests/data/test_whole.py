"""Arrays of which a part is missing: every reader refuses them and says which rows."""

import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tables
from fuzz_cases import MAKERS, array_cases
from lhco_events import fake_events

from jaxad import data
from jaxad.data import codae, jets, lhco
from jaxad.data.rows import open_array, open_tree
from jaxad.errors import UserError

N = 40


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Folder and cases of sound files, of all readers."""
    folder = tmp_path_factory.mktemp("sound")
    cases = array_cases(folder)
    for name in {*READERS, "codae", "lhco_prepared"} - cases.keys():
        (folder / name).mkdir()
        cases[name] = MAKERS[name](folder / name)
    return folder, cases


def refused(match, read):
    with pytest.raises(UserError, match=match) as error:
        read()
    assert "\n" not in str(error.value)


def without(path: Path, name: str, rows: slice, chunk: int = 5) -> int:
    """Write a dataset of a file anew, in chunks of rows, but for those rows; the number of rows."""
    if name == "table/table":  # compressed by what h5py lacks
        with tables.open_file(str(path)) as file:
            values = file.get_node("/table/table")[:]
    with h5py.File(path, "r+") as file:
        old = file[name]
        values = values if name == "table/table" else old[:]
        dtype, attributes = old.dtype, dict(old.attrs)
        del file[name]
        new = file.create_dataset(name, values.shape, dtype, chunks=(chunk, *values.shape[1:]))
        new.attrs.update(attributes)
        keep = np.setdiff1d(np.arange(len(values)), np.arange(len(values))[rows])
        for start in range(0, len(values), chunk):
            if start in keep:
                new[start : start + chunk] = values[start : start + chunk]
        return len(values)


READERS = {
    "adc2021": ("background_for_training.h5", "Particles"),
    "jets": (jets.BACKGROUND, jets.CONSTITUENTS),
    "lhco": ("a.h5", "df/block0_values"),
    "regions": ("zero_bias.h5", "CaloRegions"),
    "toptagging": ("val.h5", "table/table"),
    "h5": ("a.h5", "x"),
}


@pytest.mark.parametrize("name", READERS)
def test_chunks_that_were_never_written(sound, tmp_path, name):
    folder, cases = sound
    file, dataset = READERS[name]
    for path in (folder / name).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    n = without(tmp_path / file, dataset, slice(10, 20))
    cases_read = cases[name].read
    refused(
        rf"{file}: /{dataset}: 10 of {n:,} rows are missing, 10 to 19 \(they were never written\)",
        lambda: cases_read(tmp_path),
    )


@pytest.mark.parametrize("key", ["label", "mass"])
def test_columns_of_own_events(sound, tmp_path, key):
    folder, cases = sound
    path = tmp_path / "a.h5"
    path.write_bytes((folder / "h5" / "a.h5").read_bytes())
    without(path, key, slice(55, None))
    refused(f"a.h5: /{key}: 5 of 60 rows are missing, 55 to 59", lambda: cases["h5"].read(tmp_path))


def test_upstream_cells(tmp_path):
    path = tmp_path / "suep_gensim_h700_c.h5"
    with h5py.File(path, "w") as file:
        for name in codae.CELLS:
            stored = file.create_dataset(name, (4, 286, 360), "f4", chunks=(1, 286, 360))
            stored[:2] = stored[3:] = 1
    refused("/ImageTrk_PUcorr: 1 of 4 rows are missing, 2 ", lambda: codae.read_file(path))


def test_jets_without_particles_that_the_observables_have(sound, tmp_path):
    """Within a chunk a jet that was never written is an empty one."""
    folder, _ = sound
    path = tmp_path / jets.BACKGROUND
    path.write_bytes((folder / "jets" / jets.BACKGROUND).read_bytes())
    with h5py.File(path, "r+") as file:
        file[jets.CONSTITUENTS][7, 0] = np.zeros(0, np.float32)
    config = data.get_config("jets", source=str(tmp_path))
    refused("no particles at row 7, whose pT", lambda: jets.read_jets(path, config, 0))


def opened(path, key="x"):
    with open_array(path, key) as stored:
        return np.asarray(stored[0 : len(stored)])


def test_datasets_that_were_declared_only(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (N, 3), "f4")
        file.create_dataset("two", (N, 4), "f4", chunks=(10, 2))[:, :2] = 1
        file["two"][:10] = file["two"][30:] = 1
        file.create_dataset("some", (N, 2), "f4", chunks=(4, 2))[4:12] = 1
        file["some"][20:24] = file["some"][28:32] = file["some"][36:] = 1
        file.create_dataset("none", (0, 3), "f4", chunks=(4, 3), maxshape=(None, 3))
        file.create_dataset("edge", (7, 3), "f4", chunks=(4, 2))[:] = 1
    refused("a.h5: /x: 40 of 40 rows are missing, 0 to 39", lambda: opened(path))
    refused("/two: 20 of 40 rows are missing, 10 to 29 ", lambda: opened(path, "two"))
    refused(
        "/some: 20 of 40 rows are missing, 0 to 3, 12 to 19, 24 to 27 and 1 more stretches",
        lambda: opened(path, "some"),
    )
    assert opened(path, "none").shape == (0, 3) and opened(path, "edge").sum() == 21


def test_raw_data_in_other_files(tmp_path):
    path, raw = tmp_path / "a.h5", [tmp_path / "1.raw", tmp_path / "2.raw"]
    with h5py.File(path, "w") as file:
        places = [(str(raw[0]), 0, 12 * 8), (str(raw[1]), 4, h5py.h5f.UNLIMITED)]
        file.create_dataset("x", (N, 2), "f4", external=places)[:] = 1
    assert opened(path).sum() == 2 * N
    content = [part.read_bytes() for part in raw]
    raw[1].write_bytes(content[1][:-20])
    refused("/x: 3 of 40 rows are missing, 37 to 39 ", lambda: opened(path))
    raw[1].write_bytes(content[1])
    raw[0].write_bytes(content[0][:20])
    refused("/x: 10 of 40 rows are missing, 2 to 11 ", lambda: opened(path))
    raw[0].unlink()
    refused(r"a.h5: /x: its raw data lie in .*1.raw, which is not in", lambda: opened(path))


def test_virtual_datasets(tmp_path):
    def part(i, n=10):
        with h5py.File(tmp_path / f"{i}.h5", "w") as file:
            file["x"] = np.full((n, 3), 1.0)

    layout = h5py.VirtualLayout((N, 3), "f8")
    columns = h5py.VirtualLayout((10, 3), "f8")
    holes = h5py.VirtualLayout((N, 3), "f8")
    for i in range(4):
        part(i)
        source = h5py.VirtualSource(f"{i}.h5", "x", shape=(10, 3))
        layout[10 * i : 10 * i + 10] = source
        if i < 3:
            columns[:, i] = source[:, i]
        if i != 1:
            holes[i::4] = source
    path = tmp_path / "all.h5"
    with h5py.File(path, "w") as file:
        for name, made in (("x", layout), ("columns", columns), ("holes", holes)):
            file.create_virtual_dataset(name, made)
    assert opened(path).sum() == 3 * N and opened(path, "columns").sum() == 30
    refused(
        r"/holes: 10 of 40 rows are missing, 1, 5, 9 and 7 more stretches \(no file holds them",
        lambda: opened(path, "holes"),
    )
    part(2, 7)
    refused(r"its rows 20 to 29 lie in 2.h5: x, which is too short", lambda: opened(path))
    with h5py.File(tmp_path / "2.h5", "w") as file:
        file.create_dataset("x", (10, 3), chunks=(2, 3), dtype="f8")[:8] = 1
    refused(r"2.h5: /x: 2 of 10 rows are missing, 8 to 9", lambda: opened(path))
    (tmp_path / "2.h5").unlink()
    refused(
        r"all.h5: /x: its rows 20 to 29 lie in 2.h5: x, and that file is not", lambda: opened(path)
    )


def test_growing_virtual_datasets(tmp_path):
    layout = h5py.VirtualLayout((10, 3), "f8", maxshape=(None, 3))
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file.create_dataset("x", data=np.ones((10, 3)), maxshape=(None, 3), chunks=(5, 3))
        source = h5py.VirtualSource(file["x"])
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    assert opened(tmp_path / "all.h5").sum() == 30
    without(tmp_path / "part.h5", "x", slice(5, 10))
    refused("part.h5: /x: 5 of 10 rows are missing, 5 to 9", lambda: opened(tmp_path / "all.h5"))


def test_links_to_what_is_not_there(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["far"] = h5py.ExternalLink("gone.h5", "/jets")
        file["near"] = h5py.SoftLink("/nowhere")
    refused(
        "a.h5: far: a link to /jets of gone.h5, which is not there", lambda: opened(path, "far/x")
    )
    refused("a.h5: near: a link to /nowhere, which is not there", lambda: opened(path, "near"))


def test_numpy_arrays_cut_off_inside(tmp_path):
    path, values = tmp_path / "a.npy", np.ones((N, 2), np.float32)
    for order, rows in (("C", "20 of 40 rows are missing, 20 to 39"), ("F", "40 of 40 rows")):
        np.save(path, np.asarray(values, order=order))
        np.savez(tmp_path / "a.npz", x=np.asarray(values, order=order))
        content = path.read_bytes()[: -20 * 8]
        path.write_bytes(content)
        refused(f"a.npy: array: {rows}", lambda: opened(path))
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", content)
        refused(f"a.npz: x: {rows}", lambda: opened(tmp_path / "a.npz"))
    with path.open("wb") as file:
        np.save(file, values)
        np.save(file, values)
    refused("a.npy: array: expected 320 bytes .* another array follows", lambda: opened(path))


@pytest.mark.parametrize("name", ["adc2021", "lhco", "toptagging", "codae", "lhco_prepared"])
def test_events_of_zeros_that_no_published_set_has(sound, tmp_path, name):
    """A contiguous array that its writer did not finish says nothing of what is missing."""
    folder, cases = sound
    shutil.copytree(folder / name, tmp_path / name)
    if name == "codae":
        with np.load(tmp_path / "codae/train/qcd_1.npz") as stored:
            arrays = dict(stored)
        arrays["images"][9:] = 0
        np.savez(tmp_path / "codae/train/qcd_1.npz", **arrays)
    elif name == "lhco_prepared":
        rows = np.load(tmp_path / name / "innerdata_train.npy")
        rows[37:] = 0
        np.save(tmp_path / name / "innerdata_train.npy", rows)
    elif name == "toptagging":
        with tables.open_file(str(tmp_path / name / "val.h5"), "r+") as file:
            rows = file.root.table.table[-3:]
            rows["values_block_0"] = 0
            file.root.table.table[-3:] = rows
    else:
        with h5py.File(tmp_path / name / READERS[name][0], "r+") as file:
            file[READERS[name][1]][-3:] = 0
    refused(
        r": only zeros in 3 events, first at row \d+: they were never",
        lambda: cases[name].read(tmp_path / name),
    )


def test_own_events_of_zeros_are_told(tmp_path, capsys):
    x = np.ones((N, 4), np.float32)
    x[35:] = 0
    np.save(tmp_path / "a.npy", x)
    data.load(data.get_config("events", source=str(tmp_path / "a.npy"), format="features"))
    message = capsys.readouterr().err
    assert "a.npy: x: only zeros in 5 of 40 events, first at row 35: were they ever" in message


def test_npz_images_cut_off_inside(tmp_path):
    path = tmp_path / "qcd.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key, shape in (("images", (8, 72, 58, 3)), ("labels", (8,)), ("masses", (8,))):
            np.save(tmp_path / "a.npy", np.ones(shape, np.float32))
            content = (tmp_path / "a.npy").read_bytes()
            archive.writestr(f"{key}.npy", content[:-72] if key == "images" else content)
    refused("qcd.npz: images: 1 of 8 rows are missing, 7 ", lambda: codae.read_file(path))


def test_frames_whose_blocks_differ(tmp_path):
    events = fake_events(30, 10)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("df")
        names = np.array([*lhco.JETS, "label"], "S")
        group["axis1"] = np.arange(N)
        group["block0_items"], group["block1_items"] = names[:14], names[14:]
        group["block0_values"], group["block1_values"] = events[:, :14], events[:30, 14:]
    refused(
        "a.h5: /df: expected equally many rows in all blocks, found 40 in /df/axis1, 40 in "
        "/df/block0_values, 30 in /df/block1_values",
        lambda: lhco.read_jets(tmp_path / "a.h5"),
    )


def test_root_branches_of_different_lengths(tmp_path):
    uproot, ak = pytest.importorskip("uproot"), pytest.importorskip("awkward")
    path = str(tmp_path / "a.root")
    with uproot.recreate(path) as file:
        file["t"] = {"pt": ak.Array([[3.0, 2.0], [], [5.0]]), "eta": ak.Array([[3.0, 2.0], [], []])}
    with open_tree(path, {"pt": "pt", "eta": "eta"}) as events:
        assert len(events) == 3
        refused("a.root: eta: expected as many .* pt, 1, found 0 at row 2", lambda: events[1:3])


# A missing compression is no damage -----------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "name"), [(32015, "zstd"), (32001, "blosc"), (32008, "bitshuf")]
)
def test_compressions_that_are_not_installed(tmp_path, number, name):
    if h5py.h5z.filter_avail(number):
        pytest.skip("it is installed")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((10, 2))
        plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((N, 2))
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, plist)
        for start in range(0, N, 10):
            made.write_direct_chunk((start, 0), bytes(80))
    refused(rf"a.h5: /x: compressed by {name}\w* \(HDF5 filter {number}\)", lambda: opened(path))
    config = data.get_config("events", source=str(path), format="features")
    refused("set HDF5_PLUGIN_PATH .* or repack it", lambda: data.load(config))


def test_every_reader_is_tried():
    tried = {"codae", *READERS} - {"h5"} | {"events"}
    tried |= {"cmsl1t"}  # Parquet: test_cmsl1t.py
    assert tried == set(data.READERS), "a new reader needs a test here"
