"""Everything that a borrowed accelerator can tell about jaxad, in one command of minutes.

    python -m benchmarks.accelerator --out runs/accelerator          # on the device JAX finds
    python -m benchmarks.accelerator --tiny                          # does it run? on any CPU
    python -m benchmarks.accelerator --sections machine,scoring

Writes OUT/results.json and OUT/results.md, anew after every section; OUT/rows.jsonl holds every
value as soon as it is measured, OUT/*.log what was said. Nothing stops at a failure: what fails is
a row. Sections run in processes of their own, group by group; in a group some compile while one
measures. docs/accelerators.md says more.
"""

import argparse
import contextlib
import importlib
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.accelerator import report
from jaxad.errors import UserError
from jaxad.storage.own import claim

ROOT = Path(__file__).parents[2]
SECTIONS = {
    "machine": ("machine", ("",)),
    "training": (
        "networks",
        (
            *("toptagging", "codae float32", "codae bfloat16", "trigger"),
            *("flow default", "flow affine", "flow spline", "classifiers"),
        ),
    ),
    "profile": ("profile", ("toptagging", "codae bfloat16", "flow default")),
    "peers": ("peers", ("eager", "compiled toptagging", "compiled codae")),
    "scoring": ("scoring", ("",)),
    "observables": ("observables", ("",)),
    "convolutions": (
        "convolutions",
        ("toptagging", "qcd_or_what", *(f"codae {i} of 4" for i in (1, 2, 3, 4))),
    ),
    "agreement": ("agreement", tuple(f"{i} of 8" for i in range(1, 9))),
    "determinism": (
        "determinism",
        ("default", "exclude", "deterministic", "exclude+cache", "cache"),
    ),
    "resume": ("resume", tuple(f"{i} of 4" for i in range(1, 5))),
    "tests": ("suite", ("",)),
}
"""Name: (module, the parts that run in processes of their own)."""
HEADS = {
    "machine": "The machine",
    "training": "Training",
    "profile": "Kernels of a training step",
    "peers": "Training in PyTorch alone",
    "scoring": "Scoring",
    "observables": "Observables",
    "convolutions": "Convolutions: value and gradients, ms",
    "agreement": "Agreement with the CPU: largest relative differences",
    "determinism": "Determinism of trainings, and its price",
    "resume": "Every method killed and resumed, by default",
    "tests": "Tests",
    "failures": "What went wrong",
}
GROUPS = {
    ("machine",): 0.12,
    ("training", "profile", "peers", "scoring", "observables"): 0.47,
    ("convolutions",): 0.62,
    ("determinism",): 0.75,
    ("resume", "agreement", "tests"): 1.0,
}
"""Sections that run together, and the share of all time after which they are ended."""
AS_COMMANDS = ("training", "profile", "scoring", "observables", "convolutions")
"""Sections whose processes tell XLA what jaxad's commands tell it."""
OTHER_SHARES = (
    *(f"{i} of {n}" for n in (4, 8) for i in range(2, n + 1)),
    *("exclude", "deterministic", "cache"),
    *("float32", "affine", "spline"),
)
"""Parts that are left out of --tiny: others run the same code."""
ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # many processes share the device's memory
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "PYTHONUNBUFFERED": "1",
    "JAX_COMPILATION_CACHE_DIR": "",  # the times of first calls are told
    "TORCHINDUCTOR_COMPILE_THREADS": "2",
}
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "distrax", "torch")
GATE = 0.65  # of the time of what is measured: later nobody waits for compilations
GRACE = 20.0  # seconds that a section has to write what it knows


def work(out: Path, section: str, part: str, tiny: bool) -> None:
    """One part of a section, in this process."""
    from benchmarks.accelerator.context import Context
    from jaxad.devices import compiler, precision

    context = Context(out, section, tiny)
    if section in AS_COMMANDS:
        compiler.settle()
        precision.settle()
    with context.may_fail(f"{section} {part}".strip()):
        importlib.import_module(f"benchmarks.accelerator.{SECTIONS[section][0]}").run(context, part)


def about(commit: str) -> dict[str, str]:
    """Device's driver, versions, commit and command."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "commit": commit or _commit()}
    found["command"] = "python -m benchmarks.accelerator " + " ".join(sys.argv[1:])
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = [
            "nvidia-smi",
            "--query-gpu=name,driver_version,memory.total",
            "--format=csv,noheader",
        ]
        found["card"] = subprocess.check_output(asked, text=True).strip().replace("\n", "; ")
    found["host"] = f"{os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}"
    versions = []
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    found["versions"] = ", ".join(versions)
    found["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") or "none"
    return found


def _commit() -> str:
    """Of a file COMMIT in the root, or of git."""
    if (ROOT / "COMMIT").is_file():
        return (ROOT / "COMMIT").read_text().strip()
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.check_output(asked, text=True, stderr=subprocess.DEVNULL).strip()
    return "unknown"


def _jobs() -> int:
    """Processes at once: each compiles with several threads, and more make all of them late."""
    return max((os.cpu_count() or 2) // 3, 1)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


class Runner:
    """Processes of sections, the results rewritten as they end."""

    def __init__(self, out: Path, jobs: int, said: dict[str, str]):
        self.out, self.jobs, self.said, self.began = out, jobs, said, time.monotonic()

    def start(self, section: str, part: str) -> subprocess.Popen:
        """One part in a process of its own."""
        command = [sys.executable, "-m", "benchmarks.accelerator", "--out", str(self.out)]
        command += ["--worker", section, "--part", part]
        log = self.out / f"{section} {part}.log".replace(" ", "_").replace("_.", ".")
        with log.open("w") as file:
            return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)

    def group(self, waiting: list[tuple[str, str]], until: float) -> None:
        """Some parts, `jobs` at once; what is not done at `until` [s] is ended."""
        left = until - time.monotonic() + self.began
        os.environ["JAXAD_ACCELERATOR_SECONDS"] = str(left)
        os.environ["JAXAD_ACCELERATOR_GATE"] = str(time.time() + GATE * left)
        running: dict[tuple[str, str], subprocess.Popen] = {}
        told: set[tuple[str, str]] = set()
        while waiting or running:
            while waiting and len(running) < self.jobs:
                job = waiting.pop(0)
                running[job] = self.start(*job)
            for (section, part), process in list(running.items()):
                late = time.monotonic() - self.began - until
                if process.poll() is None and late > 0 and (section, part) not in told:
                    process.terminate()
                    told.add((section, part))
                if process.poll() is None and late > GRACE:
                    process.kill()
                    process.wait()
                if process.poll() is None:
                    continue
                del running[section, part]
                if process.returncode:
                    what = "ended for lack of time" if late > 0 else f"exit {process.returncode}"
                    row = report.Row("failures", f"{section} {part}".strip(), what)
                    report.append(self.out, row)
                print(f"{time.monotonic() - self.began:5.0f} s  {section} {part}: done", flush=True)
                report.write(self.out, HEADS, self.said)
            time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/accelerator"))
    parser.add_argument("--sections", default=",".join(SECTIONS), help="default: %(default)s")
    parser.add_argument("--tiny", action="store_true", help="as small as can be, to see it run")
    parser.add_argument("--seconds", type=float, default=400.0, help="what is not done then ends")
    parser.add_argument("--jobs", type=int, default=_jobs(), help="parts at once (%(default)s)")
    parser.add_argument("--commit", default="", help="where there is neither git nor a file COMMIT")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    out = given.out.resolve()
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    if given.worker:
        signal_ends()
        work(out, given.worker, given.part, given.tiny)
        return
    every = [(section, part) for section, (_, parts) in SECTIONS.items() for part in parts]
    chosen = given.sections.split(",")
    jobs = [(s, part) for s, part in every if s in chosen or f"{s} {part}" in chosen]
    names = {*SECTIONS, *(f"{s} {part}" for s, part in every)}
    if unknown := set(chosen) - names:
        parser.error(f"--sections: {unknown.pop()!r} is none of {', '.join(SECTIONS)}")
    try:
        claim(out, "choose another --out")
    except UserError as error:
        parser.error(str(error))
    for name in ("rows.jsonl", "determinism"):
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    said = about(given.commit)
    print("\n".join(f"{name}: {value}" for name, value in said.items()), flush=True)
    if given.tiny:
        quick = "--xla_backend_optimization_level=0"  # it compiles far longer than it computes
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}".strip()
        for section, part in jobs:
            if not part.endswith(OTHER_SHARES):
                work(out, section, part, True)
                report.write(out, HEADS, said)
    else:
        runner = Runner(out, given.jobs, said)
        for sections, share in GROUPS.items():
            group = [job for job in jobs if job[0] in sections]
            jobs = [job for job in jobs if job not in group]
            runner.group(group, (share if jobs else 1.0) * (given.seconds - GRACE))
    report.write(out, HEADS, said)
    print(f"\n{(out / 'results.md').read_text()}")


def signal_ends() -> None:
    """SIGTERM raises SystemExit: what is known is still written, children are ended."""
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


if __name__ == "__main__":
    main()
