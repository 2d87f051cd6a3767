"""Compiled programs are kept whole, and where the environment says; GPUs keep to an order."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxad.devices import compiler
from jaxad.storage import provenance
from jaxad.training import loop

PROGRAM = """
import jax, jax.numpy as jnp
from jaxad.devices import compiler
compiler.settle()
print(jax.jit(lambda x: jnp.linalg.cholesky(x @ x.T + jnp.eye(3)).sum())(jnp.ones((3, 2))))
"""


def run(environment: dict[str, str | None]) -> str:
    """What a process that keeps programs prints."""
    own = {**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"} | environment
    own = {name: value for name, value in own.items() if value is not None}
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, env=own, capture_output=True, text=True, check=True).stdout


def entries(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*-cache")}


def test_programs_are_kept_in_the_users_cache_unless_told_otherwise(tmp_path):
    home, chosen = tmp_path / "home", tmp_path / "chosen"
    own = {"XDG_CACHE_HOME": str(home), "JAX_COMPILATION_CACHE_DIR": None}
    printed = run(own)
    kept = entries(home / "jaxad" / "xla")
    assert any("lambda" in name for name in kept)
    name = next(name for name in kept if "lambda" in name)
    (path,) = home.rglob(name)
    path.write_bytes(kept[name][:50])  # as if a kill had cut it short
    assert run(own) == printed
    assert len(path.read_bytes()) > 50  # compiled anew, and whole again
    assert run(own | {"JAX_COMPILATION_CACHE_DIR": str(chosen)}) == printed
    assert len(entries(chosen)) == len(kept)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert run(own | {"JAX_COMPILATION_CACHE_DIR": ""}) == printed
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_entries_are_whole_and_the_folder_stays_small(tmp_path, monkeypatch):
    programs = compiler._Programs(str(tmp_path), own=True)
    for number in range(4):
        programs.put(str(number), bytes([number]) * 100)
        os.utime(tmp_path / f"{number}-cache", (number, number))
    assert programs.get("3") == b"\3" * 100
    assert programs.get("none") is None
    for name in (".9-cache.1.tmp", "thesis.tex", "plot.tmp"):
        (tmp_path / name).write_bytes(bytes(500))
        os.utime(tmp_path / name, (1, 1))
    monkeypatch.setattr(compiler, "MAX_BYTES", 250)
    compiler._Programs(str(tmp_path), own=False)
    assert len(list(tmp_path.iterdir())) == 6  # all but what a kill has left
    programs = compiler._Programs(str(tmp_path), own=True)
    left = ["2-cache", "3-cache", "plot.tmp", "thesis.tex"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    assert [programs.get(str(n)) for n in (0, 2)] == [None, b"\2" * 100]


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path):
    (tmp_path / "file").write_text("in the place of the folder")
    programs = compiler._Programs(str(tmp_path / "file"), own=False)
    programs.put("key", b"value")
    assert programs.get("key") is None


def test_programs_of_a_folder_that_may_be_read_alone_are_used(tmp_path, monkeypatch):
    programs = compiler._Programs(str(tmp_path), own=False)
    programs.put("key", b"value")

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refused)
    assert programs.get("key") == b"value"


@pytest.mark.parametrize(
    ("given", "expected", "keeps_order"),
    [
        ("", "--xla_gpu_deterministic_ops=true", True),
        ("--a=1", "--a=1 --xla_gpu_deterministic_ops=true", True),
        ("--xla_gpu_deterministic_ops=false", "--xla_gpu_deterministic_ops=false", False),
        ("--xla_gpu_deterministic_ops", "--xla_gpu_deterministic_ops", True),
    ],
)
def test_what_the_user_says_to_xla_goes_first(given, expected, keeps_order, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", given)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.environ["JAX_COMPILATION_CACHE_DIR"])
    compiler.settle()
    assert os.environ["XLA_FLAGS"] == expected
    monkeypatch.setattr(provenance.jax, "default_backend", lambda: "gpu")
    assert provenance.deterministic() is keeps_order


def test_a_run_that_goes_on_elsewhere_says_that_its_bits_are_others(capsys):
    here = provenance.machine()
    loop._tell_other_bits("train", here)
    loop._tell_other_bits("train", {})  # of a version that did not note it
    assert not capsys.readouterr().err
    loop._tell_other_bits("train", here | {"jax": "0.9.0", "deterministic": "no"})
    said = capsys.readouterr().err
    assert said.startswith(
        "warning: train: its checkpoint is of another machine or setting (jax 0.9"
    )
    assert "deterministic no, now yes" in said
    assert said.count("\n") == 1
