"""Files of calorimeter regions: what is read, what is left out, and what is refused."""

from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest

from jaxad import data
from jaxad.data import regions
from jaxad.errors import UserError


def write(path: Path, n: int, seed: int = 0, flag=None, **changes) -> np.ndarray:
    """A file of n images; `changes` are arrays instead, or None for none."""
    rng = np.random.default_rng(seed)
    images = rng.poisson(2, (n, 18, 14)).astype(np.uint16)
    images[:, 0, 0] = np.arange(n) % 1024
    arrays = {"CaloRegions": images, "AcceptanceFlag": flag} | changes
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file[name] = values
    return images


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "zero_bias.h5", 100, flag=np.zeros(100, np.uint8))
    write(tmp_path / "ttbar.h5", 30, 1, np.arange(30) % 3 > 0)
    write(tmp_path / "h_bb.h5", 20, 2)
    return tmp_path


def loaded(source, **settings):
    return data.load(data.get_config("regions", source=str(source), **settings))


def test_a_folder_of_zero_bias_and_signals(folder, capsys):
    """The flag is for signals alone; every background event is in one part."""
    dataset = loaded(folder)
    parts = [rows["x"] for rows in (dataset.train, dataset.val, dataset.test)]
    assert [len(x) for x in parts] == [64, 16, 20]
    assert sorted(np.concatenate(parts)[:, 0, 0]) == list(range(100))
    assert parts[0].dtype == np.float32 and parts[0].shape[1:] == (18, 14)
    assert {name: len(rows["x"]) for name, rows in dataset.signals.items()} == {
        "h_bb": 20,
        "ttbar": 20,
    }
    kept = [m for m in range(30) if m % 3]
    assert dataset.signals["ttbar"]["x"][:, 0, 0].tolist() == kept
    said = capsys.readouterr().err
    assert said == "note: signal events with AcceptanceFlag 0 are left out: 10 of ttbar\n"
    rows = dataset.test
    np.testing.assert_array_equal(rows["sum"], rows["x"].sum((1, 2)))
    np.testing.assert_array_equal(rows["largest"], rows["x"].max((1, 2)))
    np.testing.assert_array_equal(rows["n_regions"], np.count_nonzero(rows["x"], axis=(1, 2)))
    assert dataset.layout.unit == 0.5 and dataset.layout.periodic


def test_the_same_seed_gives_the_same_events(folder):
    settings = {"n_events": 60, "n_signal": 7, "seed": 3}
    one, other = (loaded(folder, **settings) for _ in range(2))
    assert one.info["digest"] == other.info["digest"]
    assert sum(one.info["counts"][name] for name in ("train", "val", "test")) == 60
    assert one.info["counts"]["signals.ttbar"] == 7
    assert loaded(folder, **settings | {"seed": 4}).info["digest"] != one.info["digest"]


def test_several_files_are_one_sample(folder, monkeypatch):
    """In blocks as in one piece; signals are those that are named."""
    more = write(folder / "more.h5", 50, 5)
    signal = f"tt={folder / 'ttbar.h5'}"
    dataset = loaded(folder / "[mz]*.h5", signals=signal)
    assert set(dataset.signals) == {"tt"}
    monkeypatch.setattr(regions, "BLOCK", 7)
    again = loaded(folder / "[mz]*.h5", signals=signal)
    assert again.info["digest"] == dataset.info["digest"]
    x = np.concatenate([rows["x"] for rows in (again.train, again.val, again.test)])
    assert len(x) == 150
    np.testing.assert_array_equal(np.sort(x.sum((1, 2)))[-1], max(x.sum((1, 2))))
    assert {tuple(image.ravel()) for image in more} <= {tuple(image.ravel()) for image in x}


def test_a_file_is_scored_whole_and_slice_by_slice(folder):
    config = data.get_config("regions", source=str(folder))
    with data.open_events(config, str(folder / "ttbar.h5")) as events:
        assert len(events) == 30 and events[5:9][:, 0, 0].tolist() == [5, 6, 7, 8]
        assert events[30:40].shape == (0, 18, 14)
    np.savez(folder / "own.npz", x=np.ones((4, 18, 14)))
    with data.open_events(config, str(folder / "own.npz"), "x") as events:
        assert len(events) == 4
    with ExitStack() as stack:
        assert regions.rows_of(folder / "own.npz", config, stack) is None
    whole = data.load_all(config)
    assert len(whole.test["x"]) == 100 and len(whole.signals["ttbar"]["x"]) == 20


IMAGES = np.ones((9, 18, 14))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"CaloRegions": IMAGES.transpose(0, 2, 1)},
            r"zero_bias\.h5: CaloRegions: expected shape \(N, 18, 14\), found \(9, 14, 18\)",
        ),
        ({"CaloRegions": None, "x": IMAGES}, r"no .* 'CaloRegions'; found .*x \(9, 18, 14\)"),
        (
            {"CaloRegions": IMAGES * np.r_[np.ones(8), 0.5][:, None, None]},
            r"CaloRegions: expected whole counts from 0 to 1023, found 0\.5 at row 8: write counts",
        ),
        (
            {"CaloRegions": IMAGES * np.r_[-1, np.ones(8)][:, None, None]},
            r"expected whole counts from 0 to 1023, found -1 at row 0",
        ),
        ({"CaloRegions": IMAGES * 1024}, r"found 1024 at row 0: write counts of 0\.5 GeV, at most"),
        ({"CaloRegions": IMAGES * np.nan}, r"zero_bias\.h5: CaloRegions: NaN or infinity at row 0"),
        ({"AcceptanceFlag": np.ones(7)}, r"AcceptanceFlag: expected shape \(9\), found \(7,\)"),
        ({"CaloRegions": IMAGES[:0]}, r"zero_bias\.h5: CaloRegions: no events in it"),
        (
            {"CaloRegions": np.zeros(9, [("et", "f4", (18, 14))])},
            r"CaloRegions: expected an array of numbers, found \[\('et'",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, changes, message):
    write(tmp_path / "zero_bias.h5", 9, **changes)
    with pytest.raises(UserError, match=message) as error:
        loaded(tmp_path)
    assert "\n" not in str(error.value)


def test_flags_and_folders_that_cannot_be_are_refused(folder):
    write(folder / "ttbar.h5", 9, flag=np.full(9, 2))
    with pytest.raises(UserError, match=r"ttbar\.h5: AcceptanceFlag: expected 0 or 1, found 2 \(9"):
        loaded(folder)
    write(folder / "ttbar.h5", 9, flag=np.zeros(9))
    with pytest.raises(UserError, match=r"ttbar\.h5: CaloRegions: no events with AcceptanceFlag 1"):
        loaded(folder)
    with pytest.raises(
        UserError, match=r"data\.signals: s: .*zero_bias\.h5 is also the background"
    ):
        loaded(folder, signals=f"s={folder / 'zero_bias.h5'}")
    (folder / "zero_bias.h5").rename(folder / "background.h5")
    with pytest.raises(UserError, match=r"expected zero_bias\.h5, which is not there: name the"):
        loaded(folder)
    with pytest.raises(
        UserError, match=r"data\.source: calorimeter regions have no record to down"
    ):
        loaded("download")


def test_its_own_simulation_is_read(tmp_path):
    """A few events of pile-up, and of each signal."""
    pytest.importorskip("pythia8mc")
    pytest.importorskip("awkward")
    settings = {"n_simulated": 10, "workers": 1, "cache": str(tmp_path)}
    dataset = loaded("simulation", **settings)
    assert sum(dataset.info["counts"][part] for part in ("train", "val", "test")) == 10
    assert set(dataset.signals) == {"ttbar", "h_bb", "suep_400", "svj_2100"}
    assert all(len(rows["x"]) == 1 for rows in dataset.signals.values())
    assert 0.3 < (dataset.train["x"] > 0).mean() < 0.65
