"""Section `observables`: energy flow polynomials and decision ordering."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.context import Context
from jaxad.observables.efp import compute_efps, efp_function
from jaxad.observables.ordering import decision_ordering

TRIANGLES = {
    "line": ((0, 1),),
    "wedge": ((0, 1), (0, 2)),
    "triangle": ((0, 1), (1, 2), (0, 2)),
    "star": ((0, 1), (0, 2), (0, 3)),
}
"""Taken where EnergyFlow, which lists all graphs, is missing."""


def graphs(context: Context) -> dict:
    """The 53 prime graphs of degree 5 and below, or four."""
    try:
        from jaxad.observables.graphs import standard_graphs

        return standard_graphs(context.pick(5, 2))
    except Exception as error:
        context.row("energy flow polynomials", "four graphs only", note=str(error).splitlines()[0])
        return TRIANGLES


def run(context: Context, part: str) -> None:
    """Jets a second, and seconds an ordering."""
    chosen, rng = graphs(context), np.random.default_rng(0)
    function = jax.jit(efp_function(chosen))
    jets = np.concatenate(
        [
            rng.exponential(size=(context.pick(32_768, 8), 50, 1)),
            rng.normal(0, 0.3, (context.pick(32_768, 8), 50, 2)),
        ],
        -1,
    ).astype(np.float32)
    calls = {"host array in and out": (len(jets), lambda: compute_efps(chosen, jets))}
    for batch in context.pick((6_710, 16_384), (8,)):
        part_of = jnp.asarray(jets[:batch])
        calls[f"on the device, batch {batch:,}"] = (batch, lambda x=part_of: function(x))
    for name, timing in context.timings({name: call for name, (_, call) in calls.items()}):
        what = f"EFPs, {len(chosen)} graphs, 50 particles, {name}"
        note = f"first call {timing.first:.1f} s"
        context.row(what, calls[name][0] / timing.seconds, "jets/s", note=note)
    n, k = context.pick((10_000, 101), (200, 3))
    teacher, current = rng.normal(size=(2, n))
    scores = teacher[:, None] + rng.normal(size=(n, k))
    what = f"decision ordering, {k} candidates, {n:,} events"
    calls = {what: lambda: decision_ordering(teacher, scores, current)}
    for name, timing in context.timings(calls, rounds=3):
        context.row(name, timing.seconds, "s", note=f"first call {timing.first:.1f} s")
