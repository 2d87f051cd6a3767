"""Seconds a member of boosted trees, and of a Gaussian mixture, on idle and on busy cores.

    PYTHONPATH=. python benchmarks/trees.py [--rows 20000] [--members 2] [--busy 2]

Each is fitted as scikit-learn does by itself, a member after the other on threads of OpenMP and
BLAS, and as jaxad does, a thread a member; then both again beside `--busy` processes that do
nothing but spin. The time by the clock is meant: it is what contention costs.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from jaxad.methods.stages import trees


def events(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 4) and classes (n,) that they tell apart a little."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] + rng.normal(size=n) > 0).astype(np.float32)


def before(x: np.ndarray, y: np.ndarray, members: int) -> None:
    """A member after the other, as `trees.fit` was until it fitted them side by side."""
    for i in range(members):
        HistGradientBoostingClassifier(
            max_iter=200, early_stopping=True, validation_fraction=0.5, random_state=i
        ).fit(x, y, sample_weight=np.ones(len(x)))


def now(x: np.ndarray, y: np.ndarray, members: int) -> None:
    """By `trees.fit`."""
    trees.fit(x, y, np.ones(len(x)), [np.arange(len(x))] * members, seed=0)


def mixture(x: np.ndarray, threads: int | None) -> None:
    """Two steps of a mixture of 8 Gaussians; None: on as many threads as BLAS takes by itself."""
    warnings.simplefilter("ignore")  # two steps do not converge
    with threadpool_limits(threads):
        GaussianMixture(8, reg_covar=1e-3, random_state=0, max_iter=2, tol=0).fit(x)


@contextlib.contextmanager
def spinning(n: int) -> Iterator[None]:
    """While `n` processes take a core each."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds(call: Callable[[], None]) -> tuple[float, float]:
    """By the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--busy", type=int, default=2, help="processes that spin")
    arguments = parser.parse_args()
    n = arguments.members
    x, y = events(arguments.rows)
    wide = np.random.default_rng(1).normal(size=(arguments.rows // 4, 57))
    calls = {
        ("trees, a member", "before"): (partial(before, x, y, n), n),
        ("trees, a member", "now"): (partial(now, x, y, n), n),
        ("mixture", "before"): (partial(mixture, wide, None), 1),
        ("mixture", "now"): (partial(mixture, wide, 1), 1),
    }
    now(x, y, 1)
    cores = len(os.sched_getaffinity(0))
    for busy in (0, arguments.busy):
        load = os.getloadavg()[0]
        print(f"{cores} cores, {busy} spinning processes beside (others: load {load:.1f})")
        with spinning(busy):
            for (what, when), (call, fits) in calls.items():
                clock, processor = (value / fits for value in seconds(call))
                print(
                    f"  {what:16s} {when:7s} {clock:7.2f} s, {processor:6.2f} s of the processor",
                    flush=True,
                )


if __name__ == "__main__":
    main()
