"""Section `tests`: the test suite on the device, in as many processes as fit; what fails."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax

from benchmarks.accelerator.context import Context

ROOT = Path(__file__).parents[2]
GIB_A_PROCESS = 4.0
OWN = "tests/test_accelerator.py"
TINY = "tests/storage"
COMPUTE = [
    *("tests/training", "tests/models", "tests/methods", "tests/observables", "tests/metrics"),
    *("tests/inputs", "tests/evaluation", "tests/test_scorer.py", "tests/commands", "tests/export"),
]
"""What computes comes first: the time may not be enough for all."""


def n_processes(tiny: bool) -> int:
    """As many as there are processors and memory of the device for."""
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 2**40) / 0.75 / 2**30
    fit = min((os.cpu_count() or 2) - 1, int(limit / GIB_A_PROCESS))
    return 0 if tiny else max(fit, 1)


def run(context: Context, part: str) -> None:
    """pytest as a user calls it, but on the device; rows for counts, and for every failure."""
    done = False
    file, n = context.out / "tests.jsonl", n_processes(context.tiny)
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.accelerator.outcomes"]
    command += ["-p", "no:cacheprovider", "--tb=short", f"--ignore={OWN}"]
    command += ["-n", str(n), "--dist", "load"] if n else []
    command += [TINY] if context.tiny else [*COMPUTE, "tests"]
    own = os.environ | {"JAXAD_OUTCOMES": str(file), "PYTHONPATH": _path()}
    # Nobody reads off how long tests compile, and their processes compile the same programs.
    own["JAX_COMPILATION_CACHE_DIR"] = str(context.out / "xla")
    try:
        with (context.out / "tests.log").open("w") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=own, stdout=log, stderr=log)
            try:
                process.wait()
            finally:
                done = process.poll() is not None
                process.terminate()
    finally:
        summary(context, file, n, done)


def _path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))


def summary(context: Context, file: Path, n: int, done: bool) -> None:
    """Rows of what is in the file so far."""
    lines = file.read_text().splitlines() if file.exists() else []
    found = [json.loads(line) for line in lines]
    counts = Counter(row["outcome"] for row in found)
    said = ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common())
    slowest = max(found, key=lambda row: row["seconds"], default=None)
    note = f"slowest {slowest['seconds']:.0f} s: {slowest['test']}" if slowest else ""
    said += "" if done else "; the others not for lack of time"
    context.row("tests", said or "none ran", note=f"{max(n, 1)} processes; {note}")
    for row in found:
        if row["outcome"] in ("failed", "error"):
            reason = row["reason"].replace("|", "/")
            context.row(row["test"], row["outcome"], note=reason)
