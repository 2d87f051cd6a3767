"""Section `machine`: what the device is, and what it can do at best: the limits of all else."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.context import Context


def run(context: Context, part: str) -> None:
    """Copies, matrix products in four precisions, dispatch, transfers, the host's own check."""
    device = jax.devices()[0]
    context.row("device", f"{len(jax.devices())} x {device.device_kind}", note=device.platform)
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        context.row("device memory for one process", stats["bytes_limit"] / 2**30, "GiB")
    rng = np.random.default_rng(0)
    side = context.pick(8192, 64)
    values = jnp.asarray(rng.standard_normal((side, side), np.float32))
    half = values.astype(jnp.bfloat16)
    large = jnp.tile(values, (context.pick(4, 1), 1))
    host = rng.random((context.pick(1_000_000, 1000), 57), np.float32)
    product = jax.jit(jnp.matmul)

    def in_precision(name: str):
        with jax.default_matmul_precision(name):
            found = jax.jit(lambda a, b: a @ b).lower(values, values).compile()
        return lambda: found(values, values)

    copy, tiny = jax.jit(lambda x: x + 1.0), jnp.ones(8)
    calls = {
        "copy, float32, read and write": lambda: copy(large),
        "bfloat16 matrix product": lambda: product(half, half),
        "float32 matrix product, default precision": in_precision("default"),
        "float32 matrix product, precision high": in_precision("high"),
        "float32 matrix product, precision highest": in_precision("highest"),
        "dispatch of a tiny compiled call": lambda: copy(tiny),
        "the same, waited for": lambda: copy(tiny).block_until_ready(),
        "host to device, pageable": lambda: jax.device_put(host),
        "device to host": lambda: np.asarray(copy(values)),
        "np.isfinite on the host": lambda: np.isfinite(host).all(),
    }
    for name, timing in context.timings(calls):
        if "product" in name:
            context.row(name, 2e-12 * side**3 / timing.seconds, "TFLOP/s", note=f"{side}^3")
        elif "dispatch" in name or "waited" in name:
            context.row(name, 1e6 * timing.seconds, "us")
        elif "isfinite" in name:
            context.row(name, len(host) / timing.seconds, "events/s", note="228 B an event")
        else:
            sizes = {"copy": 2 * large.nbytes, "host": host.nbytes, "devi": values.nbytes}
            size = sizes[name[:4]]
            note = f"{len(host) / timing.seconds:.3g} trigger events a second" * ("host to" in name)
            context.row(name, 1e-9 * size / timing.seconds, "GB/s", note=note)
    exact = np.asarray(values, np.float64)[:256] @ np.asarray(values, np.float64)
    for name in ("default", "high", "highest"):
        with jax.default_matmul_precision(name):
            found = np.asarray(jax.jit(jnp.matmul)(values[:256], values), np.float64)
        error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        context.row(f"relative error of a float32 product, precision {name}", error)
