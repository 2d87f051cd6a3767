"""What a section works with: its size, its rows of the table, and a device that others share.

Sections run at the same time in processes of their own. Compilation takes the processor, so that
many compile at once. Measurements take turns, and wait until nobody compiles, but no longer than
the gate, a time that the command sets: one long compilation must not cost all other results. What
was measured while others compiled says so.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.accelerator import report


class Timing(NamedTuple):
    """Seconds a call: median, fastest and slowest of the rounds; and of the first call."""

    seconds: float
    fastest: float
    slowest: float
    first: float

    def spread(self, work: float) -> str:
        """The range of rates `work` a call stands for."""
        return f"{work / self.slowest:,.4g} to {work / self.fastest:,.4g}"


class Context:
    """Of one section in one process.

    Attributes:
        out: folder of the results.
        section: name of the section, under which rows are filed.
        tiny: everything as small as can be, to see that it runs.
    """

    def __init__(self, out: Path, section: str, tiny: bool):
        self.out, self.section, self.tiny = out, section, tiny
        self.quiet = True  # whether nobody compiled during the last measurement

    def pick(self, full: Any, tiny: Any) -> Any:
        """The first, or the second where everything is small."""
        return tiny if self.tiny else full

    def row(
        self,
        what: str,
        value: float | str,
        unit: str = "",
        limit: str = "",
        note: str = "",
        peer: str = "",
    ) -> None:
        """File one measured value; `peer` names other software, beside whose row `what` it goes."""
        note += "; others were compiling" * (not self.quiet)
        value = value if isinstance(value, str) else float(value)
        found = report.Row(self.section, what, value, unit, limit, note, peer)
        report.append(self.out, found)
        print(f"{self.section:14s} {report.line(found)}", flush=True)

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """While this is held, nobody measures before the gate; never inside `alone`."""
        with (self.out / "compiling.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While this is held, nobody else measures and, but for `self.quiet`, compiles."""
        with (
            (self.out / "measuring.lock").open("a") as turn,
            (self.out / "compiling.lock").open("a") as file,
        ):
            fcntl.flock(turn, fcntl.LOCK_EX)
            self.quiet = False
            while not self.quiet:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self.quiet = True
                if not self.quiet and _gate_is_open():
                    break
                time.sleep(0 if self.quiet else 0.02)
            yield

    def timings(
        self, calls: dict[Any, Callable[[], Any]], rounds: int = 5, quietly: bool = False
    ) -> Iterator[tuple[Any, Timing]]:
        """(name, timing) of calls: as many as can be are called once, then each is measured alone.

        A call returns arrays of JAX, which are waited for, or blocks. What fails is a row.
        `quietly`: the first calls hardly use the device, and others may measure meanwhile.
        """
        waiting = dict(calls)
        while waiting:
            first: dict[Any, float] = {}
            with contextlib.nullcontext() if quietly else self.compiling():
                while waiting and not (first and _gate_is_open()):
                    name = next(iter(waiting))
                    call, began = waiting.pop(name), time.perf_counter()
                    with self.may_fail(str(name)):
                        jax.block_until_ready(call())
                        first[name] = time.perf_counter() - began
            found = []
            with self.alone():
                for name, seconds in first.items():
                    timing = _timing(calls[name], seconds, self.pick(rounds, 1), self.tiny)
                    found.append((name, timing))
            yield from found

    @contextlib.contextmanager
    def may_fail(self, what: str) -> Iterator[None]:
        """What goes wrong inside is filed in a row, and the section goes on."""
        try:
            yield
        except ImportError as error:
            self.row(what, "left out", note=f"{error}")
        except Exception as error:  # a borrowed machine is to tell all that it can
            self.row(what, "failed", note=report.one_line(error))


def _gate_is_open() -> bool:
    """Whether measurements no longer wait for compilations."""
    return time.time() > float(os.environ.get("JAXAD_ACCELERATOR_GATE", "inf"))


def _timing(call: Callable[[], Any], first: float, rounds: int, tiny: bool) -> Timing:
    """The median over rounds of some calls in a row, waited for at the end of each round."""
    began = time.perf_counter()
    jax.block_until_ready(call())
    once = time.perf_counter() - began
    n = 1 if tiny else int(np.clip(0.06 / max(once, 1e-7), 1, 2000))
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(n):
            last = call()
        jax.block_until_ready(last)
        seconds.append((time.perf_counter() - began) / n)
    return Timing(float(np.median(seconds)), min(seconds), max(seconds), first)


def peak_gib() -> float:
    """Largest device memory of this process so far [GiB]; 0 where the device does not say."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", 0) / 2**30
