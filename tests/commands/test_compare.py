"""The comparison of runs: tables, figures, and one line for what is missing."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jaxad import metrics
from jaxad.commands import compare
from jaxad.errors import UserError


def write_run(folder, signals=("top", "W"), latency=None, n_members=None):
    rng = np.random.default_rng(len(folder.name))
    shape = 3000 if n_members is None else (n_members, 3000)
    tree = metrics.summarise_all(
        {"mse": rng.normal(size=shape)},
        {name: {"mse": rng.normal(1, size=shape)} for name in signals},
        {"mass": rng.normal(size=3000)},
        {name: {"mass": rng.normal(2, size=3000)} for name in signals},
    )
    (folder / "eval").mkdir(parents=True)
    if latency is not None:
        runtimes = {"jit": {"single": {"median": latency}}, "cpp": {"single": {"median": 1.0}}}
        content = {"scores": {"mse": runtimes}}
        (folder / "eval" / "latency.json").write_text(json.dumps(content))
    (folder / "eval" / "metrics.json").write_text(json.dumps(tree))
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
    assert written == {"auc.png", "pareto_single.png", "comparison.txt", ".jaxad.json"}
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
