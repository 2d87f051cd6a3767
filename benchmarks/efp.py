"""Throughput of the energy flow polynomials: jaxad beside EnergyFlow, in one run on one machine.

    python benchmarks/efp.py --particles=50 --degree=5

Both evaluate the same graphs on the same jets in turn, several rounds, and the best round of each
counts. EnergyFlow runs on one core and on all; jaxad on what JAX finds. Compilation is stated
apart. Prints one JSON object.
"""

import argparse
import json
import os
import time

import jax
import numpy as np

from jaxad.observables.efp import compute_efps
from jaxad.observables.graphs import import_energyflow, standard_graphs


def random_jets(n_jets: int, n_particles: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    pt = rng.exponential(size=(n_jets, n_particles))
    angles = rng.normal(0, 0.3, (n_jets, n_particles, 2))
    return np.concatenate([pt[..., None], angles], axis=2).astype(np.float32)


def seconds(function, *args, **kwargs) -> float:
    start = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=50)
    parser.add_argument("--degree", type=int, default=5)
    parser.add_argument("--jets", type=int, default=8192, help="jets for jaxad")
    parser.add_argument("--jets-energyflow", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    graphs = standard_graphs(args.degree)
    jets = random_jets(args.jets, args.particles)
    few = jets[: args.jets_energyflow]
    efpset = import_energyflow().EFPSet(*graphs.values(), measure="hadr", beta=1, coords="ptyphim")
    # EnergyFlow's worker processes are forked, and started before JAX's threads exist.
    expected = efpset.batch_compute(list(few.astype(np.float64)))
    first = seconds(compute_efps, graphs, jets)
    difference = np.abs(compute_efps(graphs, few) / expected - 1).max()

    best = {"energyflow_one_core": np.inf, "energyflow_all_cores": np.inf, "jaxad": np.inf}
    events = list(few.astype(np.float64))
    for _ in range(args.rounds):
        times = {
            "energyflow_one_core": seconds(efpset.batch_compute, events, n_jobs=1) / len(few),
            "energyflow_all_cores": seconds(efpset.batch_compute, events) / len(few),
            "jaxad": seconds(compute_efps, graphs, jets) / len(jets),
        }
        best = {name: min(best[name], value) for name, value in times.items()}
    fastest = min(best["energyflow_one_core"], best["energyflow_all_cores"])
    print(
        json.dumps(
            {
                "device": str(jax.devices()[0]),
                "cores": os.cpu_count(),
                "graphs": len(graphs),
                "particles": args.particles,
                "largest_relative_difference_float32": float(difference),
                "first_call_s": round(first, 2),
                "jets_per_s": {name: round(1 / value, 1) for name, value in best.items()},
                "times_faster_than_energyflow": round(fastest / best["jaxad"], 1),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
