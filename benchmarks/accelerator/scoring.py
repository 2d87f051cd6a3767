"""Section `scoring`: events a second through a scorer, with its kernel and without.

The score is the KL of the dense VAE of trigger events, which needs the encoder alone: on a GPU the
scorer takes one fused kernel for it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.accelerator import report
from benchmarks.accelerator.cases import trigger_events, trigger_scorer
from benchmarks.accelerator.context import Context
from jaxad import methods
from jaxad.scorer import Scorer

EVENT_BYTES = 4 * 57


def run(context: Context, part: str) -> None:
    """All ways in turn, and how far the fused kernel's scores are from XLA's."""
    scorer, n = trigger_scorer(), context.pick(2**20, 2**12)
    x = trigger_events(n)
    double = x.astype(np.float64)
    on_device, params = jnp.asarray(x), jax.tree.map(jnp.asarray, scorer.params)
    score, checked = jax.jit(scorer.fn), scorer._compiled["default"]
    plain = jax.jit(scorer.plain_fn)
    one, one_on_device = x[:1], on_device[:1]
    calls: dict[str, Callable[[], Any]] = {
        "scorer(x), NumPy in and out": lambda: scorer(x),
        "scorer(x), double precision in": lambda: scorer(double),
        "scorer(x) of an array on the device": lambda: scorer(on_device),
        "compiled function, one call, on the device": lambda: score(params, on_device),
        "the same without the fused kernel": lambda: plain(params, on_device),
        "compiled function with the check": lambda: checked(scorer._device_params, on_device),
        "one event, scorer(x)": lambda: scorer(one),
        "one event, compiled function with the check, NumPy in and out": lambda: np.asarray(
            checked(scorer._device_params, one)
        ),
        "one event, compiled function": lambda: score(params, one_on_device).block_until_ready(),
    }
    best = report.value_of(context.out, "copy, float32, read and write")
    for name, timing in context.timings(calls):
        if name.startswith("one event"):
            context.row(name, 1e6 * timing.seconds, "us")
            continue
        rate = n / timing.seconds
        gbps = 1e-9 * EVENT_BYTES * rate
        share = f"{100 * gbps / best:.1f} % of the copy" if best and "NumPy" not in name else ""
        context.row(name, rate, "events/s", limit=share, note=f"{gbps:.3g} GB/s read")
    with context.may_fail("difference of the compiled function"):
        _agreement(context, scorer, score, on_device)


def _agreement(context: Context, scorer: Scorer, score: Callable, x: Array) -> None:
    """Differences from the scores in float32, largest relative to their spread."""
    part, function = x[:4096], methods.get(scorer.method).scores(scorer.config, scorer.layout)
    params = jax.tree.map(jnp.asarray, scorer.params)

    def of(precision: str) -> np.ndarray:
        with jax.default_matmul_precision(precision):
            scores = jax.jit(lambda params, x: function(params, x))(params, part)
        return np.asarray(next(iter(scores.values()))).mean(axis=0)

    exact = of("highest")
    for name, found in (("TF32", of("default")), ("scorer", np.asarray(score(params, part)))):
        apart = np.abs(found - exact).max() / exact.std()
        context.row(f"difference of the compiled function, {name}", apart)
