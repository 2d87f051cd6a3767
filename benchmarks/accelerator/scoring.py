"""Section `scoring`: events a second through a scorer, and through a fused kernel beside it.

The score is the KL of the dense VAE of trigger events, which needs the encoder alone.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.accelerator import fused, report
from benchmarks.accelerator.cases import trigger_events, trigger_scorer
from benchmarks.accelerator.context import Context
from jaxad import methods
from jaxad.scorer import Scorer

EVENT_BYTES = 4 * 57
PRECISIONS = (
    *("default", fused.HALVES, "highest"),
    *(["TF32_TF32_F32_X3"] * (jax.default_backend() == "gpu")),
)
"""Of the kernel's products: TF32, three of float16, float32 itself, three of TF32."""


def run(context: Context, part: str) -> None:
    """All ways in turn, and how far the fused kernel's scores are from XLA's."""
    scorer, n = trigger_scorer(), context.pick(2**20, 2**12)
    x = trigger_events(n)
    double = x.astype(np.float64)
    on_device, params = jnp.asarray(x), jax.tree.map(jnp.asarray, scorer.params)
    score, checked = jax.jit(scorer.fn), scorer._compiled["default"]
    one, one_on_device = x[:1], on_device[:1]
    calls: dict[str, Callable[[], Any]] = {
        "scorer(x), NumPy in and out": lambda: scorer(x),
        "scorer(x), double precision in": lambda: scorer(double),
        "scorer(x) of an array on the device": lambda: scorer(on_device),
        "compiled function, one call, on the device": lambda: score(params, on_device),
        "the same with the check": lambda: checked(scorer._device_params, on_device),
        "one event, scorer(x)": lambda: scorer(one),
        "one event, compiled function with the check, NumPy in and out": lambda: np.asarray(
            checked(scorer._device_params, one)
        ),
        "one event, compiled function": lambda: score(params, one_on_device).block_until_ready(),
    }
    calls |= _fused_calls(context, scorer, on_device)
    best = report.value_of(context.out, "copy, float32, read and write")
    for name, timing in context.timings(calls):
        if name.startswith("one event"):
            context.row(name, 1e6 * timing.seconds, "us")
            continue
        rate = n / timing.seconds
        gbps = 1e-9 * EVENT_BYTES * rate
        share = f"{100 * gbps / best:.1f} % of the copy" if best and "NumPy" not in name else ""
        context.row(name, rate, "events/s", limit=share, note=f"{gbps:.3g} GB/s read")
    _agreement(context, scorer, score, on_device)


def _weights(scorer: Scorer) -> list[Array]:
    first = jax.tree.map(
        lambda a: jnp.asarray(a[0, 0]), (scorer.params["params"], scorer.params["state"])
    )
    return fused.folded(*first)


def _fused_calls(context: Context, scorer: Scorer, x: Array) -> dict[str, Callable[[], Any]]:
    """The fused kernel at some sizes; interpreted where there is no GPU."""
    found, weights, flat = {}, _weights(scorer), x.reshape(len(x), -1)
    interpret = jax.default_backend() != "gpu"
    sizes = ((64, 4), (128, 8)) if not interpret else ((256, 4),)
    for precision, (rows, warps) in itertools.product(PRECISIONS, sizes):
        call = jax.jit(fused.encoder(rows, warps, interpret, precision))
        name = f"fused kernel (Pallas), {precision}, {rows} events and {warps} warps a program"
        found[f"{name}, on the device"] = lambda call=call: call(weights, flat)
    return found


def _agreement(context: Context, scorer: Scorer, score: Callable, x: Array) -> None:
    """Differences from the scorer's scores, largest relative to their spread."""
    part = x[:4096]
    function = methods.get(scorer.method).scores(scorer.config, scorer.layout)
    params = jax.tree.map(jnp.asarray, scorer.params)

    def of(precision: str) -> np.ndarray:
        with jax.default_matmul_precision(precision):
            scores = jax.jit(lambda params, x: function(params, x))(params, part)
        return np.asarray(next(iter(scores.values()))).mean(axis=0)

    exact = np.asarray(score(params, part))
    with context.may_fail("difference of the compiled function, TF32"):
        apart = np.abs(of("default") - exact).max() / exact.std()
        context.row("difference of the compiled function, TF32", apart)
    for precision in PRECISIONS:
        with context.may_fail(f"difference of the fused kernel, {precision}"):
            call = fused.encoder(64, 4, jax.default_backend() != "gpu", precision)
            scores = np.asarray(call(_weights(scorer), part.reshape(len(part), -1)))
            apart = np.abs(scores - exact).max() / exact.std()
            context.row(f"difference of the fused kernel, {precision}", apart)
