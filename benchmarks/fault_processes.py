"""Commands of jaxad in processes of their own, and signals at any instant of their life."""

import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxad.__main__ import VERBS

ROOT = Path(__file__).resolve().parents[1]
POLL = 0.002  # seconds between two looks at a process
IMPORTED = tuple(f"jaxad.commands.{verb}" for verb in VERBS)


class Fault(NamedTuple):
    """When a process is sent which signal."""

    kind: str  # "instant": seconds after its start; "file": so many new paths seen
    at: float
    signal: signal.Signals


class End(NamedTuple):
    """How a process ended."""

    code: int | None  # None: it hung
    n_new: int  # new files and folders seen
    sent: bool  # the signal came before the end
    seconds: float


def draw(rng: np.random.Generator, seconds: float, n_new: int) -> Fault:
    """A fault somewhere in the life of a process that makes `n_new` files in `seconds`."""
    number = signal.SIGTERM if rng.random() < 1 / 3 else signal.SIGKILL
    if n_new and rng.random() < 0.5:
        return Fault("file", int(rng.integers(1, n_new + 1)), number)
    return Fault("instant", float(rng.uniform(0, seconds)), number)


def import_programs() -> None:
    """What every command imports first, so that forked processes need not."""
    for name in IMPORTED:
        importlib.import_module(name)
    methods = importlib.import_module("jaxad.methods")
    for module in pkgutil.iter_modules(methods.__path__, "jaxad.methods."):
        importlib.import_module(module.name)


def _program(command: list[str], environment: dict[str, str], log: str) -> None:
    """The command in this process, which has imported it already."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = command[1:] if command[0] == "-m" else command
    if command[0] == "-m":
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(command[0], run_name="__main__")


class Process:
    """A command that has just been started, forked from this process or by a Python of its own."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path, forked: bool):
        if forked:
            context = multiprocessing.get_context("fork")
            self._own = context.Process(target=_program, args=(command, environment, str(log)))
            self._own.start()
        else:
            with log.open("ab") as file:
                self._own = subprocess.Popen(
                    [sys.executable, *command],
                    cwd=ROOT,
                    env=os.environ | environment,
                    stdout=file,
                    stderr=file,
                )

    def poll(self) -> int | None:
        """The exit code, minus the signal that ended it; None while it runs."""
        forked = isinstance(self._own, multiprocessing.process.BaseProcess)
        return self._own.exitcode if forked else self._own.poll()

    def send(self, number: signal.Signals) -> None:
        """A signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._own.pid, number)


def _paths_under(folder: Path) -> set[str]:
    return {os.path.join(at, name) for at, ds, fs in os.walk(folder) for name in (*ds, *fs)}


def watched(process: Process, state: Path, fault: Fault | None, limit: float) -> End:
    """Wait for the end of a process that fills `state`, inject the fault, end it at `limit`."""
    seen, sent, n_new, began = _paths_under(state), False, 0, time.monotonic()
    while (code := process.poll()) is None:
        now = time.monotonic() - began
        if fault is None or fault.kind == "file":
            new = _paths_under(state) - seen
            seen |= new
            n_new += len(new)
        if fault and not sent and (now if fault.kind == "instant" else n_new) >= fault.at:
            process.send(fault.signal)
            sent = True
        if now > limit:
            process.send(signal.SIGKILL)
            return End(None, n_new, sent, now)
        time.sleep(POLL)
    return End(code, n_new, sent, time.monotonic() - began)
