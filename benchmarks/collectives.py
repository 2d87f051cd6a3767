"""What a training step sends between eight devices, and what that would cost on eight cards.

    python -m benchmarks.collectives [--systems "top-tagging AE,CoDAE"]

The engine's own training loop is compiled for eight simulated CPU devices, at the default sizes of
each system, in one piece as on a GPU (`cpu_rows` = 0); collectives are read from the compiled
program. What they cost is a model, no measurement: a ring moves 2 (n - 1) / n of the bytes of an
all-reduce over the link of a card, and (n - 1) shards of an all-gather; each collective begins
`LATENCY` later and hides behind nothing. The time of a step is one H100's of docs/accelerators.md,
a straight line in the rows of a card where two batches were measured, else a constant a row, which
flatters a smaller batch.
"""

import argparse
import os
from collections import Counter
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.accelerator.cases import trigger_events
from benchmarks.accelerator.networks import event_images, jet_images
from benchmarks.engine_steps import compiled_steps
from benchmarks.hlo import KINDS, Collective, collectives
from jaxad.configs import adc2021_vae, cathode, codae, interpretable_hln, toptagging_ae
from jaxad.data.dataset import Rows
from jaxad.inputs.trigger import pt_scale
from jaxad.methods import autoencoder, hln, pnn, trigger_autoencoder
from jaxad.methods import codae as codae_method
from jaxad.methods.stages import density, weak
from jaxad.models.dense import Classifier, Mimicker
from jaxad.training import Task

N = 8
LATENCY = 20e-6  # of a collective [s], launch included
LINKS = {"NVLink 4": 450e9, "PCIe 5": 50e9}  # of a card, one way [B/s]
ON_THE_RING = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: n - 1,
    "reduce-scatter": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1,
    "all-to-all": lambda n: (n - 1) / n,
}
"""Bytes that a card sends for each byte that it gives to a collective."""


class System(NamedTuple):
    """A training at its default size, and what an H100 was measured to do of it."""

    task: Task
    train: ConfigDict
    rows: Rows
    members: int
    measured: dict[int, float]  # rows of a step, of all members -> steps/s


def seconds_of_step(measured: dict[int, float], rows: float) -> float:
    """Of one card with so many rows [s], from its steps a second at one or more sizes."""
    sizes = sorted(measured)[:2]
    times = [1 / measured[size] for size in sizes]
    if len(sizes) == 1:
        return times[0] * rows / sizes[0]
    slope, start = np.polyfit(sizes, times, 1)
    return max(start, 0) + max(slope, 0) * rows


def communication(found: list[Collective], bandwidth: float, n: int = N) -> float:
    """Seconds a step that n cards send."""
    inside = [c for c in found if c.inside]
    sent = sum(c.times * c.size * ON_THE_RING[c.kind](n) for c in inside)
    return LATENCY * sum(c.times for c in inside) + sent / bandwidth


def systems() -> dict[str, System]:
    """Every training of the five systems by name."""
    rng = np.random.default_rng(0)

    def vectors(n: int, width: int) -> np.ndarray:
        return rng.normal(size=(n, width)).astype(np.float32)

    found = {}
    config = toptagging_ae.get_config()
    task = autoencoder.task(autoencoder.model(config))
    measured = {32: 4847, 256: 2447}
    found["top-tagging AE"] = System(task, config.train, {"x": jet_images(32)}, 1, measured)
    for name, measured in (
        ("dense_vae", {256: 5418, 4096: 3760}),
        ("conv_vae", {256: 3335, 4096: 1571}),
    ):
        config, x = adc2021_vae.get_config(), trigger_events(256)
        config.model.name = name
        task = trigger_autoencoder.task(config, pt_scale(x))
        found[f"ADC2021 {name}"] = System(task, config.train, {"x": x}, 1, measured)
    config = codae.get_config()
    task = codae_method.task(config, (72, 58, 1))
    found["CoDAE"] = System(task, config.train, {"x": event_images(128)}, 1, {128: 60.5})
    config = cathode.get_config()
    for coupling, n_layers, measured in (
        ("affine", 12, {512: 2197, 4096: 1120}),
        ("spline", 6, {512: 2202, 4096: 1255}),
    ):
        config.flow.update({"name": "realnvp", "coupling": coupling, "n_layers": n_layers})
        task = density.task(density.network(config.flow, 4))
        rows = {"x": vectors(512, 4), "m": vectors(512, 1)}
        name = f"CATHODE, {n_layers} {coupling}"
        found[name] = System(task, config.flow_train, rows, 1, measured)
    task, y = weak.task(Classifier()), rng.integers(0, 2, 128).astype(np.float32)
    rows = {"x": vectors(128, 4), "y": y, "weight": np.ones_like(y)}
    measured = {1280: 12_860, 12_800: 9702}
    for members in (config.classifier.members, 2 * N):
        name = f"CATHODE, {members} classifiers"
        found[name] = System(task, config.train, rows, members, measured)
    config = interpretable_hln.get_config()
    for method in (hln, pnn):
        rows = {"x": vectors(256, 2 + config.method.passes), "y": vectors(256, 1)[:, 0]}
        name = f"{method.__name__.split('.')[-1].upper()} mimicker"
        found[name] = System(method.task(Mimicker()), config.train, rows, 1, {})
    return found


def row_of(name: str, system: System) -> str:
    """A line of the table."""
    task = system.task._replace(cpu_rows=0)
    text, parameters = compiled_steps(task, system.train, system.rows, system.members)
    found = collectives(text)
    outside = [c for c in found if not c.inside]
    moved, counts = Counter(), Counter()
    for c in found:
        moved[c.kind] += c.times * c.size * c.inside
        counts[c.kind] += c.times * c.inside
    sent = ", ".join(f"{counts[k]} {k} {moved[k]:,}" for k in KINDS if counts[k]) or "nothing"
    sent += f" (and {len(outside)} outside the loop)" if outside else ""
    n_rows = system.train.batch_size * system.members
    costs = {link: communication(found, bandwidth) for link, bandwidth in LINKS.items()}
    cells = [name, f"{n_rows:,}", f"{parameters:,}", f"{4 * parameters:,}", sent]
    cells.append(", ".join(f"{1e6 * cost:.0f}" for cost in costs.values()))
    if not system.measured:
        return f"| {' | '.join([*cells, 'unmeasured', 'unmeasured'])} |"
    step = seconds_of_step(system.measured, n_rows)
    part = seconds_of_step(system.measured, n_rows / N)
    weak_scaling = (step / (step + cost) for cost in costs.values())
    strong_scaling = (step / N / (part + cost) for cost in costs.values())
    cells += [", ".join(f"{100 * e:.0f} %" for e in es) for es in (weak_scaling, strong_scaling)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", default="", help="parts of their names; all")
    wanted = parser.parse_args().systems.split(",")
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", N)
    links = ", ".join(LINKS)
    print(
        "| training | rows a step | parameters | gradients [B] | collectives of a step, [B] given "
        f"by a card | {links} [us] | efficiency, batch a card kept | batch of all kept |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, system in systems().items():
        if any(part in name for part in wanted):
            print(row_of(name, system), flush=True)


if __name__ == "__main__":
    main()
