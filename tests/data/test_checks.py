"""Files that cannot be opened, and names of files: the true cause, and the file that was meant."""

import fcntl
from pathlib import Path

import h5py
import numpy as np
import pytest

from jaxad import data
from jaxad.data import checks
from jaxad.data.rows import file_of
from jaxad.errors import UserError


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones((40, 3))
    return path


def refused(path, match):
    with pytest.raises(UserError, match=match) as error:
        checks.open_hdf5(path)
    assert "\n" not in str(error.value) and "download" not in str(error.value)


# Files that somebody writes -------------------------------------------------------------------


def test_a_file_that_a_writer_has_open(stored):
    with stored.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        refused(stored, "a.h5: a program that writes it has it open: wait until it is closed")
        with pytest.raises(UserError, match="has it open"):
            data.load(data.get_config("events", source=str(stored), format="features"))
    checks.open_hdf5(stored).close()


def test_a_file_that_a_writer_left_open(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.create_dataset("x", (10,), "f4", chunks=(5,), maxshape=(None,))[:] = 1
        file.swmr_mode = True
        file.flush()
        (tmp_path / "left.h5").write_bytes((tmp_path / "a.h5").read_bytes())
    refused(tmp_path / "left.h5", "ended without closing it: close it, or .* h5clear -s")


def test_a_damaged_file_is_still_an_hdf5_file(tmp_path):
    (tmp_path / "a.h5").write_bytes(checks.HDF5_MAGIC + bytes(900))
    with pytest.raises(UserError, match=r"a.h5: damaged \(.*\): download or copy it again"):
        checks.open_hdf5(tmp_path / "a.h5")


# Names ----------------------------------------------------------------------------------------


def test_a_file_that_exists_is_that_file(tmp_path):
    folder = tmp_path / "runs[1]"
    folder.mkdir()
    for name in ("a[0].npy", "a0.npy", "b.npy"):
        np.save(folder / name, np.ones(3))
    found = {
        "a[0].npy": ["a[0].npy"],
        "a[01].npy": ["a0.npy"],
        "*.npy": ["a0.npy", "a[0].npy", "b.npy"],
        ".": [],
    }
    for name, names in found.items():
        if names:
            assert [path.name for path in checks.resolve(folder / name)] == names
    assert len(checks.resolve(folder, "*.npy")) == 3
    with pytest.raises(UserError, match=r"a\[2\].npy: no such file"):
        checks.resolve(folder / "a[2].npy")


def test_relative_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    np.save("in/a.npy", np.ones(3))
    for name in ("in/a.npy", "in/*.npy", "i*/a.npy", "**/a.npy", "in"):
        assert checks.resolve(name, "*.npy") == [Path("in/a.npy")]


def test_root_files_are_told_by_content_then_by_name(tmp_path):
    def made(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return str(path)

    root, hdf5 = b"root\x00\x00\xf7\x45", checks.HDF5_MAGIC
    for name in ("a.root", "a.pool.root.1", "my.root.d/a.root", "DAOD.1", "a:b.root"):
        path = made(name, root)
        assert file_of(path) == (Path(path), "")
        assert file_of(f"{path}:Events/jets") == (Path(path), "Events/jets")
    for name in ("x.root.h5", "my.root:d/a.h5", "named.root", "a.h5"):
        path = made(name, hdf5)
        assert file_of(path) == (Path(path), None)
    assert file_of(made("damaged.root", b"oops"))[1] == ""
    missing = {"no.root": "", "no.root:t": "t", "my.root.d/no.h5": None, "x.root.npz": None}
    assert {name: file_of(name)[1] for name in missing} == missing


def test_an_hdf5_file_in_a_folder_with_root_in_its_name(stored, tmp_path):
    folder = tmp_path / "my.root:d"
    folder.mkdir()
    path = stored.rename(folder / "x.root.h5")
    config = data.get_config("events", source=str(path), format="features")
    with data.open_events(config, str(path)) as events:
        assert len(events) == 40
