"""Section `determinism`: is a training repeated, and resumed, bit for bit, and what does it cost?

For each set of compiler settings four networks are trained in three processes: undisturbed; given
up in the middle of an epoch, as a kill leaves it; and from what that one left to the end. The
parameters of the first and the last are compared bit by bit: where they are equal, a process also
repeats what another did. The time of a step is taken afterwards.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.accelerator import report
from benchmarks.accelerator.context import Context

EXCLUDE = "--xla_gpu_exclude_nondeterministic_ops=true"
MODES = {
    "default": ("", False),
    "exclude": (EXCLUDE, False),
    "deterministic": ("--xla_gpu_deterministic_ops=true", False),
    "cache": ("", True),
    "exclude+cache": (EXCLUDE, True),
}
"""Name: (flags of XLA, whether its processes share a folder of compiled programs)."""
NETWORKS = ("conv AE", "dense VAE", "RealNVP", "classifiers")
TINY = ("classifiers",)
EPOCHS = 3


class GivenUp(Exception):
    """Ends a training as a kill does: nothing is written any more."""


def networks(tiny: bool) -> dict[str, tuple[Any, Any, dict[str, np.ndarray]]]:
    """Task, settings and rows of the trainings by name."""
    from benchmarks.accelerator.cases import trigger_events
    from benchmarks.accelerator.networks import jet_images
    from jaxad.configs import adc2021_vae, cathode
    from jaxad.inputs.trigger import pt_scale
    from jaxad.methods import autoencoder, trigger_autoencoder
    from jaxad.methods.stages import density, weak
    from jaxad.models.autoencoder import ConvAutoencoder
    from jaxad.models.dense import Classifier
    from jaxad.training import get_config

    rng, less = np.random.default_rng(0), 64 if tiny else 1
    events, plain = trigger_events(16_384 // less), rng.normal(size=(16_384 // less, 5))
    plain = plain.astype(np.float32)
    vae, flow = adc2021_vae.get_config(), cathode.get_config()
    flow.flow.update({"name": "realnvp", "coupling": "affine", "n_layers": 6})
    flow.flow_train.ensemble = 1
    classes = {"x": plain[:, :4], "y": (plain[:, 4] > 0).astype(np.float32)}
    return {
        "conv AE": (
            autoencoder.task(ConvAutoencoder(width=4 if tiny else 128)),
            get_config(batch_size=256),
            {"x": jet_images(8192 // less)},
        ),
        "dense VAE": (
            trigger_autoencoder.task(vae, pt_scale(events)),
            get_config(batch_size=256),
            {"x": events},
        ),
        "RealNVP": (
            density.task(density.network(flow.flow, 4)),
            get_config(batch_size=512, clip=5.0),
            {"x": plain[:, :4], "m": plain[:, 4:]},
        ),
        "classifiers": (
            weak.task(Classifier()),
            get_config(batch_size=128, ensemble=10),
            classes,
        ),
    }


def _train(role: str, task: Any, settings: Any, rows: dict, folder: Path) -> tuple[Any, Any]:
    """(fitted parameters or None, a call that takes the steps of an epoch again)."""
    import jax

    from jaxad.training import loop
    from jaxad.training.step import make_batches

    settings.epochs, made = EPOCHS, []
    settings.checkpoint_seconds = 0.0 if role == "killed" else 1e9
    build, polls = loop.compile_programs, [0]

    def recorded(*arguments: Any) -> Any:
        made.append(build(*arguments))
        return made[-1]

    def stop() -> bool:
        polls[0] += 1
        if role == "killed" and polls[0] == 6:
            raise GivenUp
        return False

    directory = folder if role in ("killed", "resumed") else None
    stretch = 0.004 if role == "killed" else loop.SECONDS_PER_CALL  # so that an epoch is several
    with (
        mock.patch.object(loop, "compile_programs", recorded),
        mock.patch.object(loop, "SECONDS_PER_CALL", stretch),
    ):
        try:
            fitted = loop.fit(task, rows, rows, settings, directory=directory, stop=stop)
        except GivenUp:
            return None, None
    run, size = made[0], settings.batch_size
    n = len(next(iter(rows.values())))
    order = np.broadcast_to(np.arange(n, dtype=np.int32), (settings.ensemble, n))
    index, weight = make_batches(order, size, run.width(size))
    seeds = np.stack([np.arange(settings.ensemble), np.zeros(settings.ensemble)], axis=1)
    seeds = run.place(seeds.astype(np.uint32), "members")
    block = loop.Block(
        run.place(rows, "replicated"), run.place(index, "index"), run.place(weight, "weight"), 0
    )
    state = [run.init(block, seeds)]

    def epoch() -> None:
        state[0] = jax.block_until_ready(run.train(state[0], block, seeds, 0, 0, len(weight)))

    return fitted.params, (epoch, len(weight))


def worker(out: Path, role: str, mode: str, names: list[str], tiny: bool) -> None:
    """Train the networks in one role; writes parameters, errors and the time of a step."""
    import jax

    context, folder = Context(out, "determinism", tiny), out / "determinism" / mode
    said: dict[str, Any] = {}
    steps: dict[str, tuple[Callable, int]] = {}
    with context.compiling():
        chosen = networks(tiny)
        for name in names:
            task, settings, rows = chosen[name]
            place, began = folder / "checkpoints" / name, time.perf_counter()
            try:
                params, epoch = _train(role, task, settings, rows, place)
            except Exception as error:  # a compiler that refuses is a result
                params, said[name] = None, {"error": report.one_line(error)}
            else:
                said[name] = {"seconds": time.perf_counter() - began}
            (folder / f"{role}.json").write_text(json.dumps(said))
            if params is not None:
                leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
                np.savez(folder / f"{role}-{name}.npz", *leaves)
                steps[name] = epoch
    if role == "first":
        timed = context.timings({name: call for name, (call, _) in steps.items()}, rounds=3)
        ms = {name: 1e3 * t.seconds / steps[name][1] for name, t in timed}
        (folder / "steps.json").write_text(json.dumps(ms))


def start(context: Context, role: str, mode: str) -> subprocess.Popen:
    """The worker of a role, in a process of its own."""
    flags, cached = MODES[mode]
    folder = context.out / "determinism" / mode
    folder.mkdir(parents=True, exist_ok=True)
    own = dict(os.environ)
    if flags:
        own["XLA_FLAGS"] = f"{own.get('XLA_FLAGS', '')} {flags}".strip()
    if cached:
        own |= {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    names = context.pick(NETWORKS, TINY)
    command = [
        sys.executable,
        "-m",
        "benchmarks.accelerator.determinism",
        str(context.out),
        role,
        mode,
    ]
    command += ["--networks", ",".join(names), *(["--tiny"] if context.tiny else [])]
    with (folder / f"{role}.log").open("w") as log:
        return subprocess.Popen(command, env=own, stdout=log, stderr=log)


def run(context: Context, part: str) -> None:
    """The mode named by `part`, and a row for each network.

    The killed process goes first where programs are shared: it fills the folder, and the others
    find what it left.
    """
    running = [start(context, "killed", part)]
    try:
        if not MODES[part][1]:
            running.append(start(context, "first", part))
        running[0].wait()
        later = ("resumed", "first") if MODES[part][1] else ("resumed",)
        running += [start(context, role, part) for role in later]
        for process in running:
            process.wait()
    finally:
        for process in running:
            process.kill()
        for name in context.pick(NETWORKS, TINY):
            _compare(context, part, name)


def _said(folder: Path, file: str) -> dict:
    path = folder / file
    return json.loads(path.read_text()) if path.exists() else {}


def _apart(folder: Path, name: str) -> str:
    """Whether the parameters of the resumed run equal those of the undisturbed one."""
    files = [folder / f"{role}-{name}.npz" for role in ("first", "resumed")]
    errors = [
        _said(folder, f"{role}.json").get(name, {}).get("error") for role in ("first", "resumed")
    ]
    error = next(filter(None, errors), None)
    if error or not all(file.exists() for file in files):
        return error or "no result"
    with np.load(files[0]) as a, np.load(files[1]) as b:
        pairs = [(a[key], b[key]) for key in a.files]
    if all(x.tobytes() == y.tobytes() for x, y in pairs):
        return "same bits"
    return f"differ by {max(np.abs(x - y).max() for x, y in pairs):.1e}"


def _compare(context: Context, mode: str, name: str) -> None:
    folder = context.out / "determinism" / mode
    said = _apart(folder, name)
    times = [
        _said(folder, f"{role}.json").get(name, {}).get("seconds")
        for role in ("killed", "first", "resumed")
    ]
    note = ", ".join(
        f"{role} {seconds:.0f} s"
        for role, seconds in zip(("killed", "first", "resumed"), times, strict=True)
        if seconds
    )
    step = _said(folder, "steps.json").get(name)
    cost = f"{step:.3g} ms a step" if step else ""
    context.row(f"{name}, {mode}", said, limit=cost, note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("role", choices=("killed", "resumed", "first"))
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    worker(given.out, given.role, given.mode, given.networks.split(","), given.tiny)


if __name__ == "__main__":
    main()
