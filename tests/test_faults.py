"""What a run may meet: damaged checkpoints, full disks, other files in the way, earlier kills.

Kills at random instants are in benchmarks/faults.py, which takes many minutes.
"""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from random_scorers import trigger_data, trigger_scorer
from small_task import TASK, assert_equal, rows

from jaxad import workdir
from jaxad.commands import evaluate, export, score
from jaxad.commands import simulate as simulation_program
from jaxad.commands.train import fitter
from jaxad.errors import UserError
from jaxad.scorer import load
from jaxad.simulation.produce import SUMMARY, produce
from jaxad.storage import cache
from jaxad.storage.atomic import replacing_folder
from jaxad.tasks import load_part, make_tasks, seeded
from jaxad.training import fit, get_config

CONFIG = get_config(epochs=3, batch_size=16, checkpoint_seconds=0.0)


def fitted(folder: Path | None):
    return fit(TASK, rows(40), rows(20, 1), CONFIG, directory=folder)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """Folder of a run that ended; its newest checkpoint holds the end."""
    folder = tmp_path_factory.mktemp("checkpoints")
    fitted(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed():
    return fitted(None)


# Checkpoints ----------------------------------------------------------------------------------


def files_of(step: Path) -> list[Path]:
    return sorted(path for path in step.rglob("*") if path.is_file())


def half_written(step: Path) -> None:
    for path in files_of(step):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def half_deleted(step: Path) -> None:
    for path in files_of(step)[::2]:
        path.unlink()


def without_arrays(step: Path) -> None:
    shutil.rmtree(step / "state")


def empty_folder(step: Path) -> None:
    shutil.rmtree(step)
    step.mkdir()


def other_bytes(step: Path) -> None:
    """One bit of the largest file of arrays."""
    largest = max((step / "state").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def other_epoch(step: Path) -> None:
    meta = step / "meta" / "metadata"
    meta.write_text(meta.read_text().replace('"epoch": 3', '"epoch": 2'))


@pytest.mark.parametrize(
    "damage",
    [half_written, half_deleted, without_arrays, empty_folder, other_bytes, other_epoch],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_checkpoint_is_named_and_the_older_one_taken(
    checkpoints, undisturbed, tmp_path, capsys, damage
):
    shutil.copytree(checkpoints, tmp_path / "run")
    newest = max((tmp_path / "run" / "train").iterdir(), key=lambda step: int(step.name))
    damage(newest)
    found = fitted(tmp_path / "run")
    assert f"{newest} is damaged" in capsys.readouterr().err
    assert_equal(found.params, undisturbed.params)
    assert [r["val_loss"] for r in found.history] == [r["val_loss"] for r in undisturbed.history]


def test_the_clock_does_not_choose_the_checkpoint(checkpoints, undisturbed, tmp_path, capsys):
    """Set backwards between two checkpoints, so that the newest looks the oldest."""
    shutil.copytree(checkpoints, tmp_path / "run")
    for path in (tmp_path / "run" / "train" / "9", *(tmp_path / "run" / "train" / "9").rglob("*")):
        os.utime(path, (0, 0))
    assert_equal(fitted(tmp_path / "run").params, undisturbed.params)
    assert "damaged" not in capsys.readouterr().err


# Full disks, other things in the way, two processes -------------------------------------------


@contextlib.contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond `n_bytes`: how a full disk feels, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A trained run and events to score."""
    folder = tmp_path_factory.mktemp("run")
    trigger_scorer("dense_ae", 200).save(folder / "scorer")
    np.save(folder / "events.npy", trigger_data(3000))
    return folder


def command_to_score(run: Path, out: Path) -> int:
    return score.main([str(run), str(run / "events.npy"), "--out", str(out)])


def command_to_export(run: Path, out: Path) -> int:
    events = ["--events", str(run / "events.npy"), "--fpr", "0.2", "--format", "stablehlo"]
    return export.main([str(run), "--out", str(out), *events])


def command_to_simulate(run: Path, out: Path) -> int:
    return simulation_program.main(["toptagging", "--events", "5", "--out", str(out)])


COMMANDS = [command_to_score, command_to_export, command_to_simulate]


def assert_one_line(error: str, *words: str) -> None:
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in error
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("command", COMMANDS[:2])
def test_a_full_disk_is_one_line_and_the_next_run_ends_well(run, tmp_path, capsys, command):
    with largest_file(9000):
        assert command(run, tmp_path / "out") == 2
    assert_one_line(capsys.readouterr().err, str(tmp_path), "out", "File too large", "free space")
    assert not (tmp_path / "out").exists()
    assert command(run, tmp_path / "out") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_full_disk_leaves_no_half_entry_in_the_cache(tmp_path):
    with pytest.raises(UserError, match="No space left"):
        cache.cached(tmp_path, "x", {}, lambda: {"x": np.broadcast_to(0.0, 1 << 50)})
    assert not list(tmp_path.iterdir())
    found = cache.cached(tmp_path, "x", {}, lambda: {"x": np.arange(9)})
    np.testing.assert_array_equal(found["x"], np.arange(9))


def test_a_full_disk_while_a_checkpoint_is_written(undisturbed, tmp_path):
    with largest_file(200), pytest.raises(UserError, match="checkpoint 1 could not be written"):
        fitted(tmp_path)
    assert_equal(fitted(tmp_path).params, undisturbed.params)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", ["file", "file/below", "/proc/none"])
def test_where_nothing_can_be_written(run, tmp_path, capsys, command, where):
    (tmp_path / "file").write_text("in the way")
    if (command, where) == (command_to_score, "file"):
        pytest.skip("the output is a file, which is replaced")
    assert command(run, tmp_path / where) == 2
    assert_one_line(capsys.readouterr().err, where.rsplit("/", 1)[-1])
    assert (tmp_path / "file").read_text() == "in the way"


def test_two_processes_in_one_work_directory(tmp_path):
    with (
        workdir.opened(tmp_path),
        pytest.raises(UserError, match="another process"),
        workdir.opened(tmp_path),
    ):
        pass


def test_two_evaluations_of_one_run(run, tmp_path):
    """The second is refused before it reads any data, and writes nothing."""
    shutil.copytree(run, tmp_path / "run")
    with (
        workdir.opened(tmp_path / "run"),
        pytest.raises(UserError, match="another process is working there: wait for it"),
    ):
        evaluate.evaluate(tmp_path / "run")
    assert not (tmp_path / "run" / "eval").exists()


def test_a_run_in_a_thread_with_an_event_loop(undisturbed, tmp_path):
    """As in a notebook: no signal handlers there, and Orbax finds a loop that runs."""
    results = []

    async def trained():
        results.append(fitter(tmp_path)(TASK, rows(40), rows(20, 1), CONFIG, stage="train"))

    thread = threading.Thread(target=lambda: asyncio.run(trained()))
    thread.start()
    thread.join()
    assert_equal(results[0].params, undisturbed.params)
    assert (tmp_path / "checkpoints" / "train" / "9").is_dir()


# What killed processes left behind ------------------------------------------------------------


def test_a_folder_is_replaced_whatever_a_kill_left(run, tmp_path):
    """Of an export: the temporary folder, the old one moved aside, and nothing in its place."""
    out = tmp_path / "out"
    assert command_to_export(run, out) == 0
    os.rename(out, tmp_path / ".out.jaxad-old")
    (tmp_path / ".out.jaxad-tmp" / "scorer").mkdir(parents=True)
    for _ in range(2):
        assert command_to_export(run, out) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_refused_export_leaves_nothing_behind(run, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError), replacing_folder(out) as temporary:
        (temporary / "half").write_text("")
        raise UserError("refused")
    assert not list(tmp_path.iterdir())


def generated(process: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": rng.random(n)}


def simulated(folder: Path) -> list[Path]:
    def write(path: Path, name: str, parts: dict[str, list[Path]]) -> None:
        path.write_text(str([load_part(part)["x"].sum() for part in parts["a"]]))

    request, tasks = {"name": "toy"}, make_tasks("a", "f.h5", 5, 2)
    return produce(folder, request, ["f.h5"], tasks, seeded(generated, 0), write, 1)


def test_a_simulation_goes_on_whatever_a_kill_left(tmp_path):
    (path,) = simulated(tmp_path)
    expected = path.read_text()
    (tmp_path / ".f.h5.tmp").write_text("half")
    (tmp_path / ".f.h5.swp").write_text("of an editor")
    (tmp_path / "parts-00000000").mkdir()
    shutil.copytree(tmp_path / "parts-00000000", tmp_path / "other")
    assert simulated(tmp_path) == [path] and path.read_text() == expected
    assert not (tmp_path / ".f.h5.tmp").exists() and (tmp_path / ".f.h5.swp").exists()
    path.unlink()
    with pytest.raises(UserError, match=r"f\.h5 is missing"):
        simulated(tmp_path)
    (tmp_path / SUMMARY).write_text("{")
    with pytest.raises(UserError, match=r"simulation\.json: damaged"):
        simulated(tmp_path)


def test_a_damaged_part_of_a_simulation_is_named(tmp_path):
    part = tmp_path / "a.npz"
    part.write_bytes(b"PK\3\4 half")
    with pytest.raises(UserError, match=r"a\.npz: damaged .*: remove it and run again"):
        load_part(part)


def test_an_archive_whose_files_were_mixed_up_is_refused(run, tmp_path):
    """A background of another run would give thresholds without a word."""
    shutil.copytree(run / "scorer", tmp_path / "scorer")
    background = np.load(tmp_path / "scorer" / "background.npy")
    np.save(tmp_path / "scorer" / "background.npy", background + 1)
    with pytest.raises(UserError, match="not those that were saved together"):
        load(tmp_path)
    description = json.loads((tmp_path / "scorer" / "scorer.json").read_text())
    del description["digest"]  # as older versions wrote it
    (tmp_path / "scorer" / "scorer.json").write_text(json.dumps(description))
    np.testing.assert_array_equal(load(tmp_path).background, background + 1)


def test_scores_that_are_no_number_are_refused(run):
    """Two infinities cancel inside the network: float32 cannot hold the squares of such momenta."""
    events = trigger_data(20)
    events[7] = 3e38
    scorer = load(run)
    try:
        assert not np.isnan(scorer(events)).any()
    except UserError as error:
        assert "event 7" in str(error)


def test_chunks_that_were_never_written_are_no_events(tmp_path):
    h5py = pytest.importorskip("h5py")
    from jaxad import data

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (100, 4), "f4", chunks=(10, 4))[:50] = 1
    with pytest.raises(UserError, match=r"a\.h5: /x: 50 of 100 rows are missing, 50 to 99"):
        data.load(data.get_config("events", source=str(tmp_path / "a.h5"), format="features"))
