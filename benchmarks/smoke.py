"""What the variant `:smoke` of every config costs to train and to evaluate, no program being kept.

    PYTHONPATH=. python benchmarks/smoke.py [NAME ...]

Each command is a process of its own with JAX_COMPILATION_CACHE_DIR="", and simulates what it needs;
the real jets of the hls4ml configs are looked for in the folder JAXAD_TEST_DATA. Prints a Markdown
table of CPU seconds (user and system, with child processes) and of seconds by the clock: where
other work runs the former count, and half of them is the least that two cores can take.
"""

import argparse
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
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


def measured(command: list[str]) -> tuple[float, float]:
    """CPU seconds and seconds by the clock of a command of jaxad."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": "", "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxad", *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{output[-2000:]}")
    return usage.ru_utime + usage.ru_stime, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, help="configs; default: all")
    names = parser.parse_args().names
    print("| config | train: CPU s | by the clock | evaluate: CPU s | by the clock |")
    print("|---|---|---|---|---|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                extra = source(name, Path(folder))
            except FileNotFoundError as error:
                print(f"| `{name}` | left out: {error} is missing | | | |")
                continue
            run = f"--workdir={folder}/run"
            train = measured(["train", f"--config={name}:smoke", run, *extra])
            evaluate = measured(["evaluate", run])
        cells = " | ".join(f"{seconds:.1f}" for seconds in (*train, *evaluate))
        print(f"| `{name}` | {cells} |", flush=True)


if __name__ == "__main__":
    main()
