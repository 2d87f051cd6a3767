"""What the variant `:smoke` of every config costs: cold, and where compiled programs are kept.

    PYTHONPATH=. python benchmarks/smoke.py [NAME ...]

Each command is a process of its own. The first training and evaluation find no kept program, a
second run in another folder finds theirs; then the finished training is resumed, and its scorer
loaded by a process that scores one event. They simulate what they need; the real jets of the hls4ml
configs are looked for in the folder JAXAD_TEST_DATA. Prints a Markdown table of CPU seconds (user
and system, with child processes), which other work on the machine changes less than the clock: half
of them is the least that two cores can take.
"""

import argparse
import os
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from jaxad import configs

ROOT = Path(__file__).resolve().parents[1]
NAMES = [module.name for module in pkgutil.iter_modules(configs.__path__)]
NAMES.remove("search")  # is not trained


def source(name: str, folder: Path) -> list[str]:
    """What the command says of the user's own file, where the config needs one.

    Raises:
        FileNotFoundError: it is not there.
    """
    if name == "features_ae":
        rng = np.random.default_rng(0)
        np.savez(folder / "features.npz", x=rng.normal(size=(2000, 8)).astype(np.float32))
        return [f"--config.data.source={folder / 'features.npz'}"]
    if "hls4ml" in name or name in ("jets_best", "normalised"):
        file = Path(os.environ.get("JAXAD_TEST_DATA", ROOT)) / "jets_hls4ml_20k.h5"
        if not file.is_file():
            raise FileNotFoundError(file)
        return [f"--config.data.source={file}"]
    return []


SCORE = """
import sys, numpy as np, jaxad
scorer = jaxad.load(sys.argv[1])
try:
    scorer(np.zeros((1, *(size or 8 for size in scorer.shape)), np.float32))
except jaxad.UserError:
    pass  # an empty event of some methods, refused after it was scored
"""


def measured(folder: Path, *command: str) -> float:
    """CPU seconds of a command of Python whose compiled programs are kept in `folder`.

    Raises:
        RuntimeError: it failed, with the end of what it said.
    """
    kept = {"JAX_COMPILATION_CACHE_DIR": str(folder / "kept"), "PYTHONPATH": str(ROOT)}
    kept["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"  # as in the user's cache folder
    process = subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{output[-2000:]}")
    return usage.ru_utime + usage.ru_stime


def costs(name: str, folder: Path, extra: list[str]) -> list[float]:
    """CPU seconds of each column of the table."""

    def train(number: int) -> float:
        run = f"--workdir={folder}/run{number}"
        return measured(folder, "-m", "jaxad", "train", f"--config={name}:smoke", run, *extra)

    def evaluate(number: int) -> float:
        return measured(folder, "-m", "jaxad", "evaluate", f"--workdir={folder}/run{number}")

    found = [train(1), evaluate(1), train(2), evaluate(2), train(2)]
    measured(folder, "-c", SCORE, f"{folder}/run2")
    return [*found, measured(folder, "-c", SCORE, f"{folder}/run2")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, help="configs; default: all")
    names = parser.parse_args().names
    print("| config | cold: train | evaluate | kept: train | evaluate | resume | load, one score |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                extra = source(name, Path(folder))
            except FileNotFoundError as error:
                print(f"| `{name}` | left out: {error} is missing | | | | | |")
                continue
            cells = " | ".join(f"{seconds:.1f}" for seconds in costs(name, Path(folder), extra))
        print(f"| `{name}` | {cells} |", flush=True)


if __name__ == "__main__":
    main()
