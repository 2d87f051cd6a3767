"""The comparison of runs: tables, figures, and one line for what is missing."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
from pages import Page

from jaxad import metrics
from jaxad.commands import compare
from jaxad.errors import UserError


def write_run(folder, signals=("top", "W"), latency=None, n_members=None, config=None):
    """A run as an evaluation leaves it; with a `config` its scores, too."""
    rng = np.random.default_rng(len(folder.name))
    shape = 3000 if n_members is None else (n_members, 3000)
    scores = {"background": rng.normal(size=shape)}
    scores |= {name: rng.normal(1, size=shape) for name in signals}
    tree = metrics.summarise_all(
        {"mse": scores["background"]},
        {name: {"mse": scores[name]} for name in signals},
        {"mass": rng.normal(size=3000)},
        {name: {"mass": rng.normal(2, size=3000)} for name in signals},
    )
    (folder / "eval").mkdir(parents=True)
    if latency is not None:
        runtimes = {"jit": {"single": {"median": latency}}, "cpp": {"single": {"median": 1.0}}}
        content = {"scores": {"mse": runtimes}}
        (folder / "eval" / "latency.json").write_text(json.dumps(content))
    (folder / "eval" / "metrics.json").write_text(json.dumps(tree))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
        with h5py.File(folder / "eval" / "scores.h5", "w") as file:
            for name, values in scores.items():
                file[f"{name}/mse"] = values
    return tree


def test_command_prints_the_tables_and_writes_the_figures(tmp_path):
    first = write_run(tmp_path / "ae", latency=2e-6)
    write_run(tmp_path / "vae", signals=("top",), latency=1e-6, n_members=3)
    command = [sys.executable, "-m", "jaxad", "compare", str(tmp_path / "ae")]
    done = subprocess.run(
        [*command, str(tmp_path / "vae"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = done.stdout.splitlines()
    assert rows[0].split() == ["AUC", "top", "W"]
    assert rows[2].startswith("ae   mse") and rows[3].split()[0] == "(mass)"
    value = first["signals"]["W"]["scores"]["mse"]
    assert f"{value['auc']:.4f} ± {value['auc_err']:.4f}" in rows[2]
    assert rows[4].startswith("vae") and "[" in rows[4] and rows[4].endswith("-")
    assert "TPR @ FPR 1e-2" in done.stdout and "max SIC" in done.stdout
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        *("auc.png", "pareto_single.png", "comparison.txt", "compare.html", ".jaxad.json")
    }
    assert done.stdout.rstrip().endswith("compare.html")
    assert (tmp_path / "out" / "comparison.txt").read_text() in done.stdout + "\n"


def test_figures_hold_every_row_and_latency_only_of_scores(tmp_path):
    write_run(tmp_path / "ae", latency=1e-6)
    write_run(tmp_path / "pca")
    drawn = compare.figures(compare.read_runs([tmp_path / "ae", tmp_path / "pca"]))
    ticks = [tick.get_text() for tick in drawn["auc"].axes[0].get_yticklabels()]
    assert ticks == ["ae: mse", "ae: (mass)", "pca: mse", "pca: (mass)"]
    assert {"auc", "pareto_single"} == set(drawn)
    axes = drawn["pareto_single"].axes
    assert [a.get_title(loc="left") for a in axes] == ["top", "W"]
    assert [len(a.containers) for a in axes] == [1, 1]
    assert axes[0].containers[0].lines[0].get_xdata() == pytest.approx([1.0])


def test_a_baseline_that_repeats_is_shown_once(tmp_path):
    for name in ("ab", "cd"):
        write_run(tmp_path / name)
    runs = compare.read_runs([tmp_path / "ab", tmp_path / "cd"])
    shown = [(run, score) for run, score, _ in compare.rows(runs)]
    assert shown == [("ab", "mse"), ("ab", "(mass)"), ("cd", "mse")]


def test_runs_of_the_same_name_keep_their_paths(tmp_path):
    folders = [tmp_path / "a" / "ae", tmp_path / "b" / "ae"]
    for folder in folders:
        write_run(folder)
    assert list(compare.read_runs(folders)) == [str(folder) for folder in folders]


@pytest.fixture
def two(tmp_path):
    """Two runs with scores, one of them an ensemble without the signal W."""
    model = {"name": "dense", "width": 8}
    write_run(tmp_path / "ae", config={"seed": 0, "model": model}, latency=1e-6)
    model = {"name": "<dense>", "width": 8}
    write_run(tmp_path / "vae", ("top",), None, 3, config={"seed": 0, "model": model})
    return tmp_path


def test_the_page_holds_tables_curves_and_what_differs(two):
    compare.compare([two / "ae", two / "vae"], two / "out")
    found = Page((two / "out" / "compare.html").read_text(encoding="utf-8"))
    assert not found.problems
    top, w, differing, _ = found.tables
    header = ["run", "score", "AUC", "TPR @ FPR 1e-2", "max SIC", "one event [µs]"]
    assert top[0] == w[0] == header
    rows = [(run, score) for run in ("ae", "vae") for score in ("mse", "(mass)")]
    assert [tuple(row[:2]) for row in top[1:]] == rows
    assert [row[0] for row in w[1:]] == ["ae", "ae"]
    assert top[1][-1] == "1" and top[3][-1] == "-" and "[" in top[3][2]
    assert differing == [["setting", "ae", "vae"], ["model.name", "dense", "<dense>"]]
    drawn = [image["alt"] for image in found.all("img")]
    assert drawn == ["roc_top", "roc_W", "auc", "pareto_single"]


def test_curves_are_of_the_default_score_of_each_run(two):
    runs = compare.read_runs([two / "ae", two / "vae"])
    curves = {name: compare.read_curves(two / name, runs[name]) for name in runs}
    assert {name: list(found) for name, found in curves.items()} == {
        "ae": ["top", "W"],
        "vae": ["top"],
    }
    axes = compare.roc_figures(curves)["roc_top"].axes[0]
    drawn = [text.split(",")[0] for text in axes.get_legend_handles_labels()[1]]
    assert drawn[:2] == ["ae", "vae"]
    auc = runs["ae"]["signals"]["top"]["scores"]["mse"]["auc"]
    assert f"AUC {auc:.4f}" in axes.get_legend_handles_labels()[1][0]


def test_beaten_of_an_earlier_version_is_no_damage(two):
    path = two / "ae" / "eval" / "metrics.json"
    old = {"observable": "mass", "auc": 0.9, "auc_err": 0.01, "score": "mse", "score_auc": 0.8}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beaten": {"top": old}}))
    compare.compare([two / "ae"], two / "out")
    assert (two / "out" / "compare.html").is_file()


def test_damaged_scores_are_named(two):
    path = two / "ae" / "eval" / "scores.h5"
    with h5py.File(path, "a") as file:
        del file["top/mse"]
    with pytest.raises(UserError, match=r"scores\.h5: damaged or of another run.*evaluate again"):
        compare.compare([two / "ae"], two / "out")
    assert not (two / "out").exists()
    path.unlink()
    (two / "ae" / "config.json").unlink()
    compare.compare([two / "ae"], two / "out")
    page = (two / "out" / "compare.html").read_text(encoding="utf-8")
    assert "ae: no ROC curve, for eval/scores.h5 is missing: evaluate again" in page
    assert "ae: no settings, for config.json is missing" in page


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "run jaxad evaluate"),
        ("{", "expected JSON"),
        ("[]", "'signals'"),
        ("{}", "'signals'"),
    ],
)
def test_what_is_missing_is_named_in_one_line(tmp_path, content, message):
    (tmp_path / "eval").mkdir()
    if content is not None:
        (tmp_path / "eval" / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        compare.read_run(tmp_path)
    assert "metrics.json" in str(error.value) and "\n" not in str(error.value)


def test_main_ends_with_code_2_and_helps(tmp_path, capsys):
    assert compare.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(SystemExit) as end:
        compare.main(["--help"])
    assert end.value.code == 0 and "--out" in capsys.readouterr().out


def test_files_of_others_stay(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "ae")
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "auc.png").write_bytes(b"mine")
    command = [str(tmp_path / "ae"), "--out"]
    assert compare.main([*command, str(out)]) == 2
    error = capsys.readouterr().err
    assert "auc.png: is there, and jaxad did not write it" in error and error.count("\n") == 1
    assert [path.name for path in out.iterdir()] == ["auc.png"]
    assert (out / "auc.png").read_bytes() == b"mine"
    (out / "auc.png").rename(out / "mine.png")
    monkeypatch.chdir(out)
    for _ in range(2):
        assert compare.main([*command, "."]) == 0
    assert (out / "mine.png").read_bytes() == b"mine"
    with (out / "comparison.txt").open("a") as file:
        file.write("a note of mine")
    assert compare.main([*command, "."]) == 2
    assert (out / "comparison.txt").read_text().endswith("a note of mine")
