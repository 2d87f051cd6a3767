"""Memory of what an evaluation makes of the scores of events on disk: none an event."""

import h5py
import numpy as np
import pytest
from ml_collections import ConfigDict

from benchmarks import rows
from jaxad.commands.evaluate import write_scores
from jaxad.data.layout import Layout
from jaxad.evaluation import general
from jaxad.scorer import Scorer
from jaxad.storage import on_disk

N = 700


@pytest.fixture
def scorer():
    names = ("a", "b", "c")
    inputs = {"shift": np.zeros(3), "scale": np.ones(3)}
    return Scorer(
        method="pca",
        config=ConfigDict({"inputs": {"name": "features"}}),
        params={"mean": np.zeros(3), "components": np.eye(3)[:2], "inputs": inputs},
        layout=Layout("features", (3,), columns=tuple((name, "") for name in names)),
    )


def test_scores_of_events_on_disk_lie_there(scorer, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows_of = {n: {"x": rng.normal(size=(n, 3)), "mass": rng.random(n)} for n in (N, N // 2)}
    rows_of = {n: {k: v.astype(np.float32) for k, v in r.items()} for n, r in rows_of.items()}
    memory = dict(zip(("background", "s"), rows_of.values(), strict=True))
    expected = general.scores_of({"method": scorer}, ["|mass - median|"], memory, {"mass": 0.4})
    calibrated = scorer.calibrated(scorer(memory["background"]["x"]), memory["background"]["mass"])
    monkeypatch.setattr(on_disk, "BLOCK_ROWS", 64)
    disk = {
        name: {k: on_disk.joined([v], tmp_path) for k, v in rows.items()}
        for name, rows in memory.items()
    }
    found = general.scores_of({"method": scorer}, ["|mass - median|"], disk, {"mass": 0.4})
    for name, scores in expected.items():
        assert scores.keys() == found[name].keys()
        for column, values in scores.items():
            assert isinstance(found[name][column], np.memmap)
            np.testing.assert_array_equal(found[name][column], values)
    own = disk["background"]
    again = scorer.calibrated(scorer(own["x"], tmp_path), own["mass"])
    assert isinstance(again.background, np.memmap)
    assert again.threshold(0.1) == calibrated.threshold(0.1)
    for kind in ("background", "background_weight"):
        np.testing.assert_array_equal(getattr(again, kind), getattr(calibrated, kind))


def test_tables_are_written_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "BLOCK_ROWS", 64)
    rng = np.random.default_rng(0)
    members, ids = rng.random((2, N), np.float32), rng.integers(0, 1 << 60, (N, 3), np.uint64)
    classes = {"b": {"x": members.T, "event": ids, "mass": on_disk.joined([ids[:, 0]], tmp_path)}}
    write_scores(tmp_path / "s.h5", {"b": {"mse": members, "mean": members[0]}}, classes)
    expected = {"mse": members, "mean": members[0], "observables/event": ids}
    expected["observables/mass"] = ids[:, 0]
    with h5py.File(tmp_path / "s.h5") as file:
        for name, values in expected.items():
            np.testing.assert_array_equal(file[f"b/{name}"][()], values)
            assert file[f"b/{name}"].dtype == values.dtype


@pytest.mark.long
def test_no_number_of_a_tested_event_stays_in_memory(tmp_path):
    """Beyond the blocks of rows that are computed with at once, which 2 million events fill."""
    peaks = []
    for n in (2_000_000, 4_000_000):
        command = ["-m", "benchmarks.tested", "--here", f"--events={n}", f"--folder={tmp_path}"]
        found, _ = rows.measured(command, tmp_path / "log")
        peaks.append(found["VmHWM"])
    assert peaks[1] < 0.8e9
    assert peaks[1] - peaks[0] < 20 * 2_000_000  # bytes; all of it in memory took 60 an event
