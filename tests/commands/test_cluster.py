"""The workers of a dask cluster score, simulate and cluster jets: the same bits, whoever works."""

import h5py
import numpy as np
import pytest
from lhco_events import fake_particles, write_frame
from random_scorers import trigger_data, trigger_scorer

from jaxad.commands import score
from jaxad.data import lhco_raw
from jaxad.errors import UserError
from jaxad.tasks import load_part, make_tasks, run_tasks, seeded

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    """A scheduler with two processes."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


def content(path):
    with h5py.File(path) as file:
        return {name: file[name][:].tobytes() for name in file} | dict(file.attrs)


@pytest.mark.long
def test_two_workers_give_the_same_bits(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(score, "CHUNK", 57 * 32)
    trigger_scorer("dense_ae").save(tmp_path / "run" / "scorer")
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", trigger_data(150, seed=1))
    np.savez("b.npz", Particles=trigger_data(70, seed=2))
    bad = trigger_data(100, seed=3)
    bad[60, 0, 0] = np.nan
    np.save("bad.npy", bad)
    command = ["run", "a.npy", "b.npz", "bad.npy", "none.npy", "--out"]
    assert score.main([*command, "alone.h5"]) == 1
    scored_here = []
    rows_alone = score.scores_of_rows
    monkeypatch.setattr(
        score,
        "scores_of_rows",
        lambda *arguments: scored_here.append(arguments[2:]) or rows_alone(*arguments),
    )
    assert score.main([*command, "many.h5", "--scheduler", cluster.scheduler_address]) == 1
    assert content("alone.h5") == content("many.h5")
    assert scored_here == [("bad.npy", 32, 64)]
    report = capsys.readouterr().err
    assert "1 of 12 chunks are scored here" in report and "event 28 holds NaN" in report


def test_no_scheduler_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("jaxad.tasks.TIMEOUT", "1s")
    trigger_scorer("dense_ae").save(tmp_path / "run" / "scorer")
    np.save(tmp_path / "a.npy", trigger_data(5))
    command = [str(tmp_path / "run"), str(tmp_path / "a.npy"), "--out", str(tmp_path / "s.h5")]
    assert score.main([*command, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "no dask scheduler at tcp://127.0.0.1:9" in capsys.readouterr().err


def normal_rows(process, n, rng):
    if process == "bad":
        raise ValueError("no such process")
    return {"x": rng.normal(size=(n, 3))}


def test_tasks_on_workers_give_the_same_bits(cluster, tmp_path):
    tasks = make_tasks("good", "train", 70, 20)
    address, rows_of = cluster.scheduler_address, seeded(normal_rows, 3)
    alone, many = (
        run_tasks(rows_of, tasks, tmp_path / str(workers)[:3], workers, "test")
        for workers in (1, address)
    )
    assert [part.name for part in alone] == [part.name for part in many]
    for one, other in zip(alone, many, strict=True):
        np.testing.assert_array_equal(load_part(one)["x"], load_part(other)["x"])
    bad = make_tasks("bad", "train", 5, 20)
    with pytest.raises(UserError, match=r"bad-train-000000-5: a worker of .* no such process"):
        run_tasks(rows_of, bad, tmp_path / "bad", address, "test")


def test_workers_cluster_raw_events_to_the_same_bytes(cluster, tmp_path, monkeypatch):
    pytest.importorskip("fastjet")
    monkeypatch.setattr(lhco_raw, "TASK_SIZE", 20)
    raw = tmp_path / "raw.h5"
    write_frame(raw, fake_particles(), [str(i) for i in range(2101)])
    alone, many = (
        lhco_raw.feature_file(raw, tmp_path / str(workers)[:3], workers).read_bytes()
        for workers in (1, cluster.scheduler_address)
    )
    assert alone == many
