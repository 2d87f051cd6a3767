"""The encoder of the dense trigger VAE as one kernel: events are read once, scores written once.

For what XLA leaves between three narrow matrix products. Batch normalisations (running averages)
and the cleaning of empty slots are inside; written in Pallas for Triton, so it needs a GPU, or
`interpret` to be checked.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

N, WIDE = 57, 64
CODE, LOG_VAR = 16, 8  # columns of the last product, and where its log-variances begin
LIMIT = 20.0  # of the log-variance, as in the network
HALVES = "halves"
"""A precision: float32 as the sum of two float16, 22 bits, and three products of them. What is
multiplied has to lie within float16, up to 65,504."""


def folded(params: dict, state: dict) -> list[Array]:
    """Weights and biases with the normalisations inside, padded to powers of two.

    Args:
        params, state: of `DenseTrigger`, without leading axes.

    Returns:
        w1 (64, 32), b1 (32,), w2 (32, 16), b2 (16,), and w3 (16, 16), b3 (16,), whose columns are
        the means, from `LOG_VAR` on the log-variances, and zeros.
    """
    averages = state["batch_stats"]

    def affine(name: str) -> tuple[Array, Array]:
        scale = params[name]["scale"] / jnp.sqrt(averages[name]["var"] + 1e-3)
        return scale, params[name]["bias"] - averages[name]["mean"] * scale

    def dense(layer: dict) -> tuple[Array, Array]:
        return layer["kernel"], layer["bias"]

    found: list[Array] = []
    scale, shift = affine("BatchNorm_0")
    for number in (0, 1):
        w, b = dense(params[f"Dense_{number}"])
        if number == 0:
            w, b = scale[:, None] * w, b + shift @ w
        after, more = affine(f"BatchNorm_{number + 1}")
        found += [w * after, b * after + more]
    found[0] = jnp.pad(found[0], ((0, WIDE - N), (0, 0)))
    both = [dense(params["_Bottleneck_0"][name]) for name in ("mean", "log_var")]
    room = ((0, LOG_VAR - len(both[0][1])), (0, CODE - LOG_VAR - len(both[1][1])))
    w = [jnp.pad(w, ((0, 0), more)) for (w, _), more in zip(both, room, strict=True)]
    b = [jnp.pad(b, more) for (_, b), more in zip(both, room, strict=True)]
    return [*found, jnp.concatenate(w, axis=1), jnp.concatenate(b)]


def encoder(
    rows: int = 64, warps: int = 4, interpret: bool = False, precision: str = "default"
) -> Callable[..., Array]:
    """Function (folded weights, events (n, 57) float32) -> KL (n,), `rows` events a program."""
    options: dict[str, Any] = {"interpret": interpret}
    if not interpret:
        from jax.experimental.pallas import triton

        options["compiler_params"] = triton.CompilerParams(num_warps=warps, num_stages=2)

    def kernel(x_ref, w1, b1, w2, b2, w3, b3, out_ref):
        n = out_ref.shape[0]
        row = pl.program_id(0) * rows + jnp.arange(rows)
        column = jnp.arange(WIDE)
        inside = (row < n)[:, None] & (column < N)[None, :]
        start = jnp.minimum(row, n - 1)[:, None] * N

        def read(columns: Array) -> Array:
            at = start + jnp.minimum(columns, N - 1)[None, :]
            return _load(x_ref, at, inside, interpret)

        x = read(column)
        # Whether the slot holds an object, for its three columns: a product of zeros and ones is
        # quicker than reading each pT three times.
        of_slot = (column[:, None] == column[None, :] // 3 * 3).astype(jnp.bfloat16)
        there = (x > 0).astype(jnp.bfloat16)
        x = jnp.where(jnp.dot(there, of_slot, preferred_element_type=jnp.float32) > 0, x, 0.0)
        product = _by_halves if precision == HALVES else partial(jnp.dot, precision=precision)
        product = partial(product, preferred_element_type=jnp.float32)
        y = _leaky(product(x, w1[...]) + b1[...][None, :])
        y = _leaky(product(y, w2[...]) + b2[...][None, :])
        y = product(y, w3[...]) + b3[...][None, :]
        log_var = jnp.clip(y, -LIMIT, LIMIT)
        of_log_var = (jnp.arange(CODE) >= LOG_VAR)[None, :]
        kl = 0.5 * jnp.sum(jnp.where(of_log_var, jnp.exp(log_var) - 1 - log_var, y * y), axis=1)
        _store(out_ref, row, kl, row < n, interpret)

    def call(weights: list[Array], x: Array) -> Array:
        run = pl.pallas_call(
            kernel,
            out_shape=jax.ShapeDtypeStruct((len(x),), jnp.float32),
            grid=(pl.cdiv(len(x), rows),),
            **options,
        )
        return run(x.reshape(-1), *weights)

    return call


def _by_halves(a: Array, b: Array, preferred_element_type: Any) -> Array:
    def halves(x: Array) -> tuple[Array, Array]:
        high = x.astype(jnp.float16)
        return high, (x - high.astype(jnp.float32)).astype(jnp.float16)

    (a, a_rest), (b, b_rest) = halves(a), halves(b)
    dot = partial(jnp.dot, preferred_element_type=preferred_element_type)
    return dot(a_rest, b) + dot(a, b_rest) + dot(a, b)


def _leaky(y: Array) -> Array:
    return jnp.where(y > 0, y, 0.3 * y)


def _load(ref: Any, at: Array, mask: Array, interpret: bool) -> Array:
    if interpret:
        return jnp.where(mask, ref[...][at], 0.0)
    from jax.experimental.pallas import triton

    return triton.load(ref.at[at], mask=mask, other=0.0)


def _store(ref: Any, at: Array, values: Array, mask: Array, interpret: bool) -> None:
    if interpret:
        ref[...] = ref[...].at[jnp.where(mask, at, len(ref))].set(values, mode="drop")
        return
    from jax.experimental.pallas import triton

    triton.store(ref.at[at], values, mask=mask)
