"""Bulk scoring of trigger events with the encoder of the paper's dense VAE, beside the machine.

    PYTHONPATH=. python benchmarks/scoring.py [--events 1000000] [--rounds 5]

Random events (n, 19, 3) with empty slots and a network of random weights: the time depends on
neither. Timed are the score KL (encoder only) through the scorer, which checks its input and works
in batches of 4 MB, and the compiled function over the whole array, in batches of 16,384, and in
these with the check and with NumPy in and out; beside them, in the same rounds, limits: the three
matrix products of the encoder and nothing else, which are too narrow for the machine's FLOP rate; a
copy of the same bytes; and a large matrix product of float32, as events/s that its FLOP rate would
allow. The ratio of each round is what counts: of processor time, which other work on the machine
changes less than the clock.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.configs import adc2021_vae
from jaxad.data.layout import Layout
from jaxad.inputs.trigger import pt_scale
from jaxad.models.trigger import MODELS
from jaxad.scorer import Scorer

LAYERS = ((57, 32), (32, 16), (16, 6))  # matrices of the encoder
ENCODER_FLOPS = 2 * sum(a * b for a, b in LAYERS)  # of the matrix products of one event
SIDE = 1024  # of the matrices
BATCH = 16_384
REFERENCE = f"compiled, in batches of {BATCH:,}"


def make_scorer() -> Scorer:
    """The dense VAE with random weights, its KL the default score."""
    config = adc2021_vae.get_config()
    x = jnp.zeros((1, 19, 3))
    arguments = (x, jnp.zeros((1, 3)), False, jnp.ones(1, bool))
    variables = jax.jit(lambda key: MODELS["dense_vae"].init(key, *arguments))(jax.random.key(0))
    state = {name: values for name, values in variables.items() if name != "params"}
    fitted = jax.tree.map(lambda a: a[None, None], {"params": variables["params"], "state": state})
    fitted["inputs"] = pt_scale(np.zeros((1, 19, 3), np.float32))
    return Scorer("trigger_autoencoder", config, fitted, Layout("ptetaphi", (19, 3)))


def make_events(n: int) -> np.ndarray:
    """Random events (n, 19, 3), 11 of the 19 slots empty."""
    x = np.random.default_rng(0).random((n, 19, 3), np.float32)
    x[:, [3, 4, 6, 7, 8, 14, 15, 16, 17, 18, 13]] = 0
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    n, x, scorer = arguments.events, make_events(arguments.events), make_scorer()
    copy, on_device = np.empty_like(x), jnp.asarray(x)
    matrix = jnp.ones((SIDE, SIDE))
    product, score = jax.jit(jnp.matmul), jax.jit(scorer.fn)
    params = jax.tree.map(jnp.asarray, scorer.params)
    batches = [on_device[start : start + BATCH] for start in range(0, n, BATCH)]
    flat = [batch.reshape(len(batch), -1) for batch in batches]

    weights = [jnp.ones(shape) for shape in LAYERS]
    products = jax.jit(lambda weights, x: x @ weights[0] @ weights[1] @ weights[2])

    def in_batches() -> None:
        jax.block_until_ready([score(params, batch) for batch in batches])

    checked = scorer._compiled["default"]

    def with_check() -> None:
        jax.block_until_ready([checked(params, batch) for batch in batches])

    def with_copies() -> None:
        for start in range(0, n, BATCH):
            np.asarray(checked(params, x[start : start + BATCH]))

    def only_products() -> None:
        jax.block_until_ready([products(weights, batch) for batch in flat])

    timed: dict[str, tuple[Callable, float]] = {  # function, events it stands for
        "scorer(x), NumPy in and out": (lambda: scorer(x), n),
        "compiled, on the device": (lambda: score(params, on_device).block_until_ready(), n),
        REFERENCE: (in_batches, n),
        "the same, its input checked": (with_check, n),
        "and copied, one after the other": (with_copies, n),
        "limit: its matrix products alone": (only_products, n),
        "limit: copy of the same bytes": (lambda: np.copyto(copy, x), n),
        "limit: FLOP of a matrix product": (
            lambda: product(matrix, matrix).block_until_ready(),
            2 * SIDE**3 / ENCODER_FLOPS,
        ),
    }
    speeds: dict[str, list[np.ndarray]] = {name: [] for name in timed}
    for function, _ in timed.values():
        function()
    for _ in range(arguments.rounds):
        for name, (function, events) in timed.items():
            began = np.array([time.perf_counter(), time.process_time()])
            function()
            seconds = np.array([time.perf_counter(), time.process_time()]) - began
            speeds[name].append(events / seconds)
    device = jax.devices()[0]
    print(
        f"{device.device_kind}, {os.cpu_count()} cores, {platform.machine()}, jax {jax.__version__}"
    )
    print(f"{n:,} events, {x.nbytes / 1e6:.0f} MB, {ENCODER_FLOPS:,} FLOP an event")
    for name, values in speeds.items():
        ratio = (np.array(values) / np.array(speeds[REFERENCE]))[:, 1]
        clock, processor = np.median(values, axis=0)
        print(
            f"{name:32s} {clock:13,.0f} events/s, {processor:13,.0f} a CPU second   "
            f"{np.median(ratio):.2f} times the batches ({ratio.min():.2f} to {ratio.max():.2f})"
        )


if __name__ == "__main__":
    main()
