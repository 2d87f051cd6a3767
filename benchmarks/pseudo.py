"""Pseudo-experiments of a search: trainings a second, and what a search costs.

    python -m benchmarks.pseudo                         # on the device that JAX finds
    python -m benchmarks.pseudo --chunks=20,200,800 --batches=128,1024
    python -m benchmarks.pseudo --tiny                  # does it run?

A member-step is one step of one classifier (3 x 64) on a batch; a chunk has toys x 5 folds of them
at once. Scoring, sorting and counting are in the rate. Every chunk is compiled by its first call,
which is not counted. Processor seconds stand beside those of the clock, for machines that others
share.
"""

import argparse
import resource
import time
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.accelerator.context import peak_gib
from jaxad.search import network, plan, pool, pool_tables, toys
from jaxad.search.pool import Pool
from jaxad.simulation import resonance

FOLDS = 5
WINDOW = (3300.0, 3700.0)
EFFICIENCIES = (0.1, 0.01, 0.001)
SEARCHES = (2_000, 6_550, 120_000)
"""Events in the window of the table of costs."""
EPOCHS = 20


def pool_of(n: int, seed: int = 0) -> Pool:
    """`n` events of background, 4 n template rows to train on and max(16 n, 100 / eps) to count."""
    rng = np.random.default_rng(seed)
    draw = lambda size: resonance.in_window(size, *WINDOW, rng)  # noqa: E731
    data = draw(n) | {"fold": np.arange(n) % FOLDS, "row": np.arange(n)}
    n_counting = int(max(16 * n, 100 / min(EFFICIENCIES)))
    return pool.make(data, draw(4 * n), draw(n_counting), FOLDS)


def member_steps(rows: Pool, recipe: ConfigDict) -> int:
    """Of one toy."""
    fixed = plan.make(rows, EFFICIENCIES, 0)
    steps = pool_tables.batches(fixed, recipe.epochs, recipe.batch_size).places.shape[:2]
    return int(np.prod(steps)) * FOLDS * recipe.members


def rate(rows: Pool, recipe: ConfigDict, chunk: int, rounds: int) -> dict[str, float]:
    """Seconds of the first call and of one chunk, by the clock and of the processor."""
    engine = network.engine(plan.make(rows, EFFICIENCIES, 0), recipe, chunk)

    def call(first: int, n: int) -> None:
        parts = [range(first + i * chunk, first + (i + 1) * chunk) for i in range(n)]
        for _ in engine.counts([list(part) for part in parts]):
            pass

    began = time.perf_counter()
    call(1, 1)
    compiled, processor = time.perf_counter(), time.process_time()
    call(1 + chunk, rounds)
    return {
        "first": compiled - began,
        "clock": (time.perf_counter() - compiled) / rounds,
        "processor": (time.process_time() - processor) / rounds,
    }


def memory_gib() -> float:
    """Peak of the device, or of the process where the device is a CPU."""
    return peak_gib() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    on_cpu = jax.default_backend() == "cpu"
    parser.add_argument("--chunks", default="1,4,16" if on_cpu else "20,200,800")
    parser.add_argument("--batches", default="128" if on_cpu else "128,1024")
    parser.add_argument("--events", type=int, default=1000 if on_cpu else 2000)
    parser.add_argument("--epochs", type=int, default=5 if on_cpu else EPOCHS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="as small as can be")
    args = parser.parse_args(argv)
    if args.tiny:
        args.chunks, args.batches, args.events, args.epochs, args.rounds = "2", "128", 50, 1, 1
    rows, best = pool_of(args.events), 0.0
    print(f"{jax.devices()[0].device_kind}: {args.events} events, {len(rows.m)} rows in the pool")
    print(
        "| batch | toys at once | members | member-steps/s | per processor s | toys/s | "
        "first call [s] | peak memory [GiB] |\n|" + "---|" * 8
    )
    for batch in map(int, args.batches.split(",")):
        for chunk in map(int, args.chunks.split(",")):
            recipe = toys.get_config(epochs=args.epochs, batch_size=batch)
            found = rate(rows, recipe, chunk, args.rounds)
            steps = chunk * member_steps(rows, recipe)
            best = max(best, steps / found["clock"]) if batch == 128 else best
            print(
                f"| {batch} | {chunk} | {chunk * FOLDS} | {steps / found['clock']:,.0f} | "
                f"{steps / found['processor']:,.0f} | {chunk / found['clock']:.3g} | "
                f"{found['first']:.1f} | {memory_gib():.2f} |",
                flush=True,
            )
    if best:
        costs(best)


def costs(member_steps_a_second: float) -> None:
    """What searches of `EPOCHS` epochs cost at a rate of trainings of batch 128."""
    print("\n| events in the window | toys/s | 8,200 toys | 74,000 toys |\n|---|---|---|---|")
    for n in SEARCHES:
        steps = FOLDS * EPOCHS * (1 - 1 / FOLDS) * 5 * n / 128
        toys_a_second = member_steps_a_second / steps
        minutes = [f"{n_toys / toys_a_second / 60:,.1f} min" for n_toys in (8_200, 74_000)]
        print(f"| {n:,} | {toys_a_second:.3g} | {minutes[0]} | {minutes[1]} |")


if __name__ == "__main__":
    main()
