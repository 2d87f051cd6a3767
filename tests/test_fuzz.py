"""Spoilt files: every reader and loader gives a UserError of one line, or a right answer.

Never another exception, a hang, or a silent NaN. JAXAD_FUZZ=N tries N spoilt files of each kind.
"""

import os
import shutil
import tarfile
import warnings
import zipfile
from pathlib import Path

import fuzz_cases
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spoiling import spoil

import jaxad
from jaxad import data
from jaxad.commands import score
from jaxad.data import transfer
from jaxad.errors import UserError

N_EXAMPLES = int(os.environ.get("JAXAD_FUZZ", "8"))
NAMES = ("npz", "h5", "npy", *fuzz_cases.makers())


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Folder and cases of sound files."""
    folder = tmp_path_factory.mktemp("sound")
    return folder, fuzz_cases.make(folder)


@pytest.fixture(scope="module")
def spoilt_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("spoilt") / "here"


def copied(cases, name: str, target: Path) -> fuzz_cases.Case:
    folder, known = cases
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / name, target)
    return known[name]


@pytest.mark.parametrize("name", NAMES)
def test_sound_files_are_read(cases, spoilt_folder, name):
    copied(cases, name, spoilt_folder).read(spoilt_folder)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=N_EXAMPLES, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(seed=st.integers(0, 2**32 - 1))
def test_spoilt_files_are_refused_in_one_line_or_read_rightly(cases, spoilt_folder, name, seed):
    case, rng = copied(cases, name, spoilt_folder), np.random.default_rng(seed)
    spoil(spoilt_folder / case.files[int(rng.integers(len(case.files)))], rng)
    try:
        case.read(spoilt_folder)
    except UserError as error:
        message = str(error)
        assert "\n" not in message
        assert str(spoilt_folder) in message or message.startswith("data.")


# Pickles and paths ----------------------------------------------------------------------------


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_pickle_is_ever_loaded(cases, tmp_path):
    mark, bomb = tmp_path / "mark", np.empty(3, object)
    bomb[:] = [Bomb(tmp_path / "mark")] * 3
    np.save(tmp_path / "a.npy", bomb)
    np.savez(tmp_path / "a.npz", x=bomb, Particles=bomb, images=bomb, labels=bomb, masses=bomb)
    for pickled in ("params.npz", "background.npy"):
        copied(cases, "archive", tmp_path / pickled)
        shutil.copy(tmp_path / f"a{Path(pickled).suffix}", tmp_path / pickled / "scorer" / pickled)
        with pytest.raises(UserError, match="damaged"):
            jaxad.load(tmp_path / pickled)
    for suffix in ("npy", "npz"):
        config = data.get_config("events", source=str(tmp_path / f"a.{suffix}"))
        with pytest.raises(UserError, match=f"a.{suffix}"):
            data.load(config)
    run = str(cases[0] / "archive")
    assert score.main([run, str(tmp_path / "a.npz"), "--out", str(tmp_path / "s.h5")]) == 2
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../out.h5", "/out.h5", "a/../../out.h5", "..", ".", "a\\b", ""])
def test_nothing_is_written_outside_the_folder_of_downloads(tmp_path, name):
    with pytest.raises(UserError, match="not a plain file name"):
        transfer.inside(tmp_path / "folder", name)


def test_names_inside_archives_are_no_paths(tmp_path):
    """npz files are zip archives: their members are read, never unpacked."""
    folder = tmp_path / "folder"
    folder.mkdir()
    np.save(tmp_path / "x.npy", np.ones((40, 4), np.float32))
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.write(tmp_path / "x.npy", "../../out.npy")
        archive.write(tmp_path / "x.npy", "x.npy")
    with tarfile.open(folder / "b.npz", "w") as archive:
        archive.add(tmp_path / "x.npy", "../../out.npy")
    before = sorted(tmp_path.rglob("*"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.load(data.get_config("events", source=str(folder / "a.npz"), format="features"))
    with pytest.raises(UserError, match=r"b\.npz"):
        data.load(data.get_config("events", source=str(folder / "b.npz"), format="features"))
    assert sorted(tmp_path.rglob("*")) == before
