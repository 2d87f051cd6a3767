"""Scoring of files: every format, kills, bad files."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from lhco_events import fake_events, write_frame
from random_scorers import classifier_scorer, jet_scorer, trigger_data, trigger_scorer

from jaxad.commands import score
from jaxad.data import lhco, toptagging
from jaxad.data.layout import Layout
from jaxad.data.rows import open_tree
from jaxad.errors import UserError
from jaxad.observables.derived import DIJET_COLUMNS
from jaxad.observables.trigger import CLASS

DIJETS = Layout("features", (14,), columns=DIJET_COLUMNS, derived={"name": "dijet"}, mass="mjj")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "dense_ae"
    scorer = trigger_scorer("dense_ae")
    scorer.save(folder / "scorer")
    return folder, scorer


@pytest.fixture
def files(tmp_path):
    """The same layout in every format: name -> events."""
    events = {name: trigger_data(n, seed=n) for name, n in (("a.h5", 70), ("b.npz", 90))}
    events["c.npy"] = trigger_data(50, seed=5)
    events["published.h5"] = trigger_data(40, seed=6)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["Particles"] = events["a.h5"]
    np.savez_compressed(tmp_path / "b.npz", other=np.ones(3), Particles=events["b.npz"])
    np.save(tmp_path / "c.npy", events["c.npy"])
    with h5py.File(tmp_path / "published.h5", "w") as file:
        there = events["published.h5"][..., :1] > 0
        stored = np.concatenate([events["published.h5"], CLASS[:, None] * there], axis=2)
        file["Particles"] = stored
    return {str(tmp_path / name): x for name, x in events.items()}


def test_files_of_every_format_in_chunks(run, files, tmp_path, monkeypatch):
    folder, scorer = run
    monkeypatch.setattr(score, "CHUNK", 57 * 32)
    out = tmp_path / "scores.h5"
    assert score.main([str(folder), *files, "--out", str(out)]) == 0
    with h5py.File(out) as found:
        assert json.loads(found.attrs["files"]) == list(files)
        np.testing.assert_allclose(
            found["mse"][:], scorer(np.concatenate(list(files.values()))), rtol=1e-5
        )
        lengths = [len(x) for x in files.values()]
        np.testing.assert_array_equal(found["file"][:], np.repeat(range(4), lengths))
        np.testing.assert_array_equal(found["row"][:], np.concatenate([*map(np.arange, lengths)]))
    assert not (tmp_path / ".scores.h5.parts").exists()


def test_published_frames_are_read_as_events(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(score, "CHUNK", 30_000)
    rng = np.random.default_rng(0)
    momenta = rng.gamma(2, 5, (90, 200, 4)).astype(np.float32) * (rng.random((90, 200, 1)) < 0.1)
    momenta[..., 0] = np.linalg.norm(momenta[..., 1:], axis=-1)
    jets = fake_events(80, 20)[:, :-1]
    cases = {
        "tops": (jet_scorer(), momenta, toptagging.MOMENTA),
        "lhco": (dataclasses.replace(classifier_scorer(), layout=DIJETS), jets, lhco.JETS),
    }
    for name, (scorer, x, columns) in cases.items():
        scorer.save(tmp_path / name / "scorer")
        flat = np.column_stack([np.ones(len(x)), x.reshape(len(x), -1)]).astype(np.float32)
        files = [str(tmp_path / f"{name}.{suffix}") for suffix in ("h5", "npz")]
        write_frame(files[0], flat, ["weight", *columns])
        np.savez(files[1], x=x)
        out = tmp_path / "scores.h5"
        assert score.main([str(tmp_path / name), *files, "--out", str(out)]) == 0
        with h5py.File(out) as found:
            np.testing.assert_allclose(
                found[scorer.names[0]][:], np.tile(scorer(x), 2), rtol=1e-5, atol=1e-6
            )
    write_frame(files[0], flat[:, :8], ["weight", *columns[:7]])
    assert score.main([str(tmp_path / name), files[0], "--out", str(out)]) == 2
    assert "7 of 14 columns missing (pxj2" in capsys.readouterr().err


def test_bad_files_are_left_out_and_reported(run, files, tmp_path, capsys):
    folder, scorer = run
    good = next(iter(files))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:3000])
    (tmp_path / "cut.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:3000])
    np.save(tmp_path / "wide.npy", np.ones((3, 20, 3)))
    np.savez(tmp_path / "pickle.npz", Particles=np.array([{}], object))
    x = trigger_data(5)
    x[3, 0, 0] = np.nan
    np.save(tmp_path / "nan.npy", x)
    bad = ["cut.npz", "cut.h5", "wide.npy", "pickle.npz", "nan.npy", "none.h5"]
    paths = [str(tmp_path / name) for name in bad]
    out = tmp_path / "scores.h5"
    assert score.main([str(folder), paths[0], good, *paths[1:], "--out", str(out)]) == 1
    report = capsys.readouterr().err
    for path in paths:
        assert f"left out: {path}" in report
    assert "event 3 holds NaN" in report and "Traceback" not in report
    with h5py.File(out) as found:
        np.testing.assert_allclose(found["mse"][:], scorer(files[good]), rtol=1e-5)
        assert json.loads(found.attrs["files"]) == [good]
    assert score.main([str(folder), *paths, "--out", str(tmp_path / "no.h5")]) == 2
    assert not (tmp_path / "no.h5").exists()


def test_no_file_of_another_kind_is_replaced(run, files, tmp_path, capsys):
    folder, _ = run
    before = Path(next(iter(files))).read_bytes()
    command = [str(folder), *files, "--out"]
    assert score.main([*command, next(iter(files))]) == 2
    assert "is also an input" in capsys.readouterr().err
    assert score.main([str(folder), str(tmp_path / "b.npz"), "--out", next(iter(files))]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert Path(next(iter(files))).read_bytes() == before
    for _ in range(2):
        assert score.main([*command, str(tmp_path / "scores.h5")]) == 0


def test_the_output_of_an_earlier_call_is_no_input(run, files, tmp_path, monkeypatch, capsys):
    """`jaxad score RUN *.h5 --out scores.h5` again, and scores of another call."""
    folder, _ = run
    monkeypatch.chdir(tmp_path)
    for glob in (["a.h5", "published.h5"], ["a.h5", "published.h5", "scores.h5"]):
        assert score.main([str(folder), *glob, "--out", "scores.h5"]) == 0
        with h5py.File("scores.h5") as found:
            assert json.loads(found.attrs["files"]) == ["a.h5", "published.h5"]
            assert len(found["mse"]) == 110
    said = capsys.readouterr()
    assert "scores.h5: is the output" in said.err and said.out.count("scores of 2 files") == 2
    assert score.main([str(folder), "scores.h5", "--out", "./scores.h5"]) == 2
    assert "the only file given is the output" in capsys.readouterr().err
    assert score.main([str(folder), "a.h5", "scores.h5", "--key", "mse", "--out", "new.h5"]) == 2
    assert "scores.h5: holds scores, which jaxad score wrote" in capsys.readouterr().err
    assert score.main([str(folder), "a.h5", "scores.h5", "--out", "new.h5"]) == 1
    assert "left out: scores.h5: holds scores" in capsys.readouterr().err


def test_a_file_under_several_names_is_scored_once(run, files, tmp_path, monkeypatch, capsys):
    folder, scorer = run
    monkeypatch.chdir(tmp_path)
    Path("link.h5").symlink_to("a.h5")
    os.link("a.h5", "hard.h5")
    names = ["a.h5", "./a.h5", str(tmp_path / "a.h5"), "link.h5", "hard.h5", "a.h5"]
    assert score.main([str(folder), *names, "--out", "scores.h5"]) == 0
    said = capsys.readouterr()
    assert said.err.count("the same file as a.h5: scored once") == 4
    assert "scores of 1 files" in said.out
    with h5py.File("scores.h5") as found:
        expected = scorer(files[str(tmp_path / "a.h5")])
        np.testing.assert_allclose(found["mse"][:], expected, rtol=1e-5)
        assert json.loads(found.attrs["files"]) == ["a.h5"]


def test_outputs_that_are_inputs_or_of_others_are_refused(
    run, files, tmp_path, monkeypatch, capsys
):
    folder, _ = run
    monkeypatch.chdir(tmp_path)
    os.link("a.h5", "hard.h5")
    Path("link.h5").symlink_to("a.h5")
    with h5py.File("mine.h5", "w") as file:
        file.attrs["run"] = 3
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for out, message in (
        ("hard.h5", "also an input"),
        ("link.h5", "also an input"),
        ("./a.h5", "also an input"),
        ("mine.h5", "holds something else"),
        ("b.npz", "holds something else"),
        (".", "is a folder"),
    ):
        assert score.main([str(folder), "a.h5", "--out", out]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / ".scores.h5.parts").mkdir()
    (tmp_path / ".scores.h5.parts" / "notes").write_text("mine")
    assert score.main([str(folder), "a.h5", "--out", "scores.h5"]) == 0
    assert [path.name for path in (tmp_path / ".scores.h5.parts").iterdir()] == ["notes"]


SMALL_CHUNKS = """
import sys
from jaxad.commands import score
score.CHUNK = 57 * 256
sys.exit(score.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_killed_and_run_again_it_ends_with_the_same_scores(run, tmp_path):
    folder, scorer = run
    x = trigger_data(256 * 400)
    with h5py.File(tmp_path / "events.h5", "w") as file:
        file["Particles"] = x
    out, parts = tmp_path / "scores.h5", tmp_path / ".scores.h5.parts"
    command = [sys.executable, "-c", SMALL_CHUNKS, str(folder), str(tmp_path / "events.h5")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([*command, "--out", str(out)], env=environment)
    deadline = time.monotonic() + 120
    while len(list(parts.glob("[!.]*.npz"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = list(parts.glob("[!.]*.npz"))
    assert 20 <= len(kept) < 400 and not out.exists()
    with np.load(kept[0]) as first:
        marked = dict(first) | {"mse": first["mse"] + 1000}
    np.savez(kept[0], **marked)  # seen again only where the second run does not score anew
    subprocess.run([*command, "--out", str(out)], env=environment, check=True)
    start, stop = map(int, kept[0].stem.split("-")[1:])
    with h5py.File(out) as found:
        scores = found["mse"][:]
    expected = scorer(x)
    expected[start:stop] += 1000
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_another_request_keeps_nothing_of_the_first(run, files, tmp_path):
    folder, _ = run
    (tmp_path / "cut.npz").write_bytes(b"PK")
    good, out = next(iter(files)), tmp_path / "scores.h5"
    arguments = [str(folder), good, str(tmp_path / "cut.npz"), "--out", str(out)]
    assert score.main(arguments) == 1
    np.savez(tmp_path / "cut.npz", Particles=files[good][:7] * 2)
    assert score.main(arguments) == 0
    with h5py.File(out) as found:
        assert len(found["mse"]) == len(files[good]) + 7


def test_root_branches_become_particles_and_features(tmp_path):
    uproot = pytest.importorskip("uproot")
    ak = pytest.importorskip("awkward")
    pt = ak.Array([[3.0, 2.0, 1.0], [], [5.0]])
    with uproot.recreate(tmp_path / "events.root") as file:
        file["Events"] = {"Jet_pt": pt, "Jet_eta": pt * 2, "Jet_phi": pt * 3, "met": [1.0, 2, 3]}
    path = str(tmp_path / "events.root")
    branches = {"pt": "Jet_pt", "eta": "Jet_eta", "phi": "Jet_phi"}
    with open_tree(f"{path}:Events", branches) as events:
        assert len(events) == 3
        assert events[1:3].tolist() == [[], [{"pt": 5.0, "eta": 10.0, "phi": 15.0}]]
    with open_tree(path, {"met": "met"}) as events:
        np.testing.assert_array_equal(events[:2], [[1.0], [2.0]])
    for wrong, message in ((f"{path}:Nope", "Events"), (path, "no branch 'x'")):
        with pytest.raises(UserError, match=message), open_tree(wrong, {"x": "x"}):
            pass
