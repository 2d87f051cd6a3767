"""Section `profile`: where the time of a training step goes, kernel by kernel.

On a CPU kernels are the operations of the compiled program, whose time is that of all threads.
"""

import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax
from jax.profiler import ProfileData, ProfileEvent

from benchmarks.accelerator import networks
from benchmarks.accelerator.context import Context

N_KINDS = 12
"""Kinds of kernels that are told one by one."""


def run(context: Context, part: str) -> None:
    """The network named by `part`."""
    name, _, variant = part.partition(" ")
    if context.tiny and name != "toptagging":
        return
    if name == "toptagging":
        batch = context.pick(1024, 8)
        call, n = networks.toptagging_steps(context, batch), networks.n_steps(batch)
    elif name == "codae":
        call, _, n = networks.codae_steps(context, variant)
    else:
        batch, rows = context.pick((512, 51_200), (32, 64))
        call, n = networks.flow_steps(context, variant, batch, rows), -(-rows // batch)
    with context.compiling():
        call()
    with context.alone():
        wall, busy, launches = _measured(call)
    if not launches:
        note = "the profiler tells nothing of this device"
        context.row(f"kernels of {part}", "left out", note=note)
        return
    times = f"{sum(launches.values()) / n:.0f} launches"
    context.row(f"{part}, a step", 1e6 * wall / n, "us", note=f"with the profiler; {times}")
    context.row(f"{part}, in kernels", 1e-3 * sum(busy.values()) / n, "us")
    for kind, nanoseconds in busy.most_common(N_KINDS):
        note = f"{launches[kind] / n:.1f} launches"
        context.row(f"{part}, {kind}", 1e-3 * nanoseconds / n, "us", note=note)


def _measured(call: Callable[[], None]) -> tuple[float, Counter[str], Counter[str]]:
    """Seconds by the clock; nanoseconds and launches of each kind of kernel."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            began = time.perf_counter()
            call()
            wall = time.perf_counter() - began
        files = list(Path(folder).rglob("*.xplane.pb"))
        planes = [plane for file in files for plane in ProfileData.from_file(str(file)).planes]
    busy, launches = Counter(), Counter()
    on_cpu = jax.default_backend() == "cpu"
    place, thread = ("/host:CPU", "tf_XLA") if on_cpu else ("/device:", "Stream")
    for plane in planes:
        for line in plane.lines if plane.name.startswith(place) else ():
            for event in line.events if line.name.startswith(thread) else ():
                if on_cpu and not _is_operation(event):
                    continue
                kind = _kind(event.name)
                busy[kind] += event.duration_ns
                launches[kind] += 1
    return wall, busy, launches


def _is_operation(event: ProfileEvent) -> bool:
    """Of a program on a CPU, but for loops, which hold others."""
    return "hlo_op" in dict(event.stats) and not event.name.startswith("while")


def _kind(kernel: str) -> str:
    """One name of kernels of a kind: without numbers; what cuDNN and cuBLAS chose cut short."""
    kernel = kernel.removeprefix("void ")
    if kernel.startswith("ynn_fusion"):
        return "matrix products"  # of XLA on a CPU
    for library in ("wgrad", "fprop", "dgrad", "gemm"):
        if library in kernel and "fusion" not in kernel:
            return f"{library}, {kernel.split('_')[0]}"
    return re.sub(r"([_.]\d+)+$", "", kernel)[:40]
