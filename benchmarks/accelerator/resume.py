"""Section `resume`: every method trained by the command's own code, killed, and trained to the end.

Each is trained in three processes, as `jaxad train` trains it: undisturbed; killed (SIGKILL) right
after its third checkpoint; and again in the folder of the killed one. Parameters and calibration of
the two scorers are compared bit by bit. Programs are compiled once: the folder of compiled programs
is shared, as by default.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.accelerator.cases import CASES, experiment, write_files
from benchmarks.accelerator.context import Context

CHECKPOINTS = 3  # after which the process is killed
TINY = ("autoencoder (dense)",)


def worker(folder: Path, name: str, role: str) -> None:
    """Train the case `name` in `folder`/role; "killed" ends itself after its third checkpoint."""
    from jaxad.commands.train import train
    from jaxad.devices import compiler, precision
    from jaxad.training import checkpoint

    compiler.settle()
    precision.settle()
    config = experiment(CASES[name], folder.parent)
    for section in config.values():
        if "checkpoint_seconds" in (section if hasattr(section, "keys") else ()):
            section.checkpoint_seconds = 0.0
    saved, save = [0], checkpoint.save

    def then_killed(*arguments: Any) -> None:
        save(*arguments)
        saved[0] += 1
        if saved[0] == CHECKPOINTS:
            os.kill(os.getpid(), signal.SIGKILL)

    killing = role == "killed" and not (folder / role / "checkpoints").exists()
    with mock.patch.object(checkpoint, "save", then_killed if killing else save):
        train(config, folder / role)


def _start(folder: Path, name: str, role: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "benchmarks.accelerator.resume", str(folder), name, role]
    own = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with (folder / f"{role}.log").open("a") as log:
        return subprocess.Popen(command, env=own, stdout=log, stderr=log)


def run(context: Context, part: str) -> None:
    """The methods of one part."""
    number, _, n_parts = part.partition(" of ")
    names = TINY if context.tiny else tuple(CASES)[int(number) - 1 :: int(n_parts)]
    with tempfile.TemporaryDirectory() as base:
        write_files(Path(base))
        if "student" in names:
            _trained(Path(base), "isolation_forest", "teacher")
            os.rename(Path(base) / "isolation_forest" / "teacher", Path(base) / "teacher")
        for name in names:
            with context.may_fail(name), context.compiling():
                killed = _trained(Path(base), name, "killed")
                _trained(Path(base), name, "first")
                if killed:
                    _trained(Path(base), name, "killed")
                after = f"killed after checkpoint {CHECKPOINTS}" if killed else "trained twice"
                folder = _folder(Path(base), name)
                context.row(name, _apart(folder / "first", folder / "killed"), note=after)


def _folder(base: Path, name: str) -> Path:
    return base / name.replace(" ", "_")


def _trained(base: Path, name: str, role: str) -> bool:
    """Train a case in one role; whether it was killed."""
    folder = _folder(base, name)
    folder.mkdir(exist_ok=True)
    process = _start(folder, name, role)
    try:
        code = process.wait()
    finally:
        process.kill()
    if code not in (0, -signal.SIGKILL):
        said = (folder / f"{role}.log").read_text().strip().splitlines()
        raise RuntimeError(said[-1] if said else f"exit {code}")
    return code != 0


def _apart(first: Path, second: Path) -> str:
    """Whether two trained scorers hold the same bits."""
    same, gaps = True, [0.0]
    for file in ("params.npz", "background.npy"):
        a, b = (np.load(folder / "scorer" / file) for folder in (first, second))
        pairs = [(a[key], b[key]) for key in a.files] if file.endswith("npz") else [(a, b)]
        same &= all(x.tobytes() == y.tobytes() for x, y in pairs)
        gaps += [float(np.abs(np.asarray(x, np.float64) - y).max()) for x, y in pairs if x.size]
    return "same bits" if same else f"differ by {max(gaps):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", choices=tuple(CASES))
    parser.add_argument("role", choices=("first", "killed", "teacher"))
    given = parser.parse_args()
    worker(given.folder, given.name, given.role)


if __name__ == "__main__":
    main()
