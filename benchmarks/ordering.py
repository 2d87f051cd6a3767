"""Decision ordering of all pairs: how long candidates take, in blocks on the device.

python benchmarks/ordering.py [--events 10000] [--candidates 101]
"""

import argparse
import time

import jax
import numpy as np

from jaxad.observables.ordering import decision_ordering


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=101)
    n = parser.parse_args()
    rng = np.random.default_rng(0)
    teacher, current = rng.normal(size=(2, n.events))
    scores = teacher[:, None] + rng.normal(size=(n.events, n.candidates))
    for name in ("compiling", "compiled"):
        wall, cpu = time.perf_counter(), time.process_time()
        decision_ordering(teacher, scores, current)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f"{name}: {n.candidates} candidates, {n.events * (n.events - 1) // 2:,} pairs: "
            f"{wall:.1f} s, {cpu:.1f} CPU s on {jax.devices()[0].device_kind}"
        )


if __name__ == "__main__":
    main()
