"""Section `scoring`: events a second through a scorer, today's way and ways that were not taken.

The score is the KL of the dense VAE of trigger events, which needs the encoder alone.
"""

import itertools
from collections import deque
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
from jaxad.data.raw_events import impossible
from jaxad.scorer import Scorer

EVENT_BYTES = 4 * 57


def checking(scorer: Scorer) -> Callable[[Any, Array], tuple[Array, Array]]:
    """Compiled (params, x) -> scores (n,), and whether any event is what a scorer refuses."""

    def function(params: Any, x: Array) -> tuple[Array, Array]:
        bad = ~jnp.isfinite(x).all()
        for found, _ in impossible(scorer.layout, x):
            bad |= found.any()
        return scorer.fn(params, x), bad

    return jax.jit(function)


def streamed(function: Callable, params: Any, x: np.ndarray, size: int, ahead: int) -> np.ndarray:
    """Scores (n,) of events on the host, in batches of `size`, `ahead` of them in flight."""
    scores, flying = np.empty(len(x), np.float32), deque()

    def land() -> None:
        start, (values, bad) = flying.popleft()
        if bad:
            raise ValueError("an event that a scorer refuses")
        scores[start : start + size] = values

    for start in range(0, len(x), size):
        result = function(params, jax.device_put(x[start : start + size]))
        for part in result:
            part.copy_to_host_async()
        flying.append((start, result))
        if len(flying) >= ahead:
            land()
    while flying:
        land()
    return scores


def run(context: Context, part: str) -> None:
    """All ways in turn, and how far the fused kernel's scores are from XLA's."""
    scorer, n = trigger_scorer(), context.pick(2**20, 2**12)
    x = trigger_events(n)
    on_device, params = jnp.asarray(x), jax.tree.map(jnp.asarray, scorer.params)
    score, checked = jax.jit(scorer.fn), checking(scorer)
    one, one_on_device = x[:1], on_device[:1]
    sizes = context.pick((4096, 65_536, n), (1024, n))
    calls: dict[str, Callable[[], Any]] = {
        "scorer(x), NumPy in and out": lambda: scorer(x),
        "scorer(x) of an array on the device": lambda: scorer(on_device),
    }
    for size in sizes:
        for ahead in (1, 2, 4) if size < n else (1,):
            name = f"batches of {size:,}, check on the device, {ahead} in flight, NumPy in and out"
            calls[name] = lambda size=size, ahead=ahead: streamed(checked, params, x, size, ahead)
    calls |= {
        "compiled function, one call, on the device": lambda: score(params, on_device),
        "the same with the check": lambda: checked(params, on_device),
        "the checks of scorer(x) alone, on the host": lambda: scorer._checked(x),
        "one event, scorer(x)": lambda: scorer(one),
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
    sizes = ((64, 4), (128, 4), (128, 8), (256, 8)) if not interpret else ((256, 4),)
    for precision, (rows, warps) in itertools.product(("default", "highest"), sizes):
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
    for precision in ("default", "highest"):
        with context.may_fail(f"difference of the fused kernel, {precision}"):
            call = fused.encoder(128, 4, jax.default_backend() != "gpu", precision)
            scores = np.asarray(call(_weights(scorer), part.reshape(len(part), -1)))
            apart = np.abs(scores - exact).max() / exact.std()
            context.row(f"difference of the fused kernel, {precision}", apart)
