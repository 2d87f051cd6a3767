"""The encoder of the dense trigger VAE as one kernel: events are read once, scores written once.

XLA makes three narrow matrix products of it and writes what lies between them. Batch
normalisations (running averages) and the cleaning of empty slots are inside. Written in Pallas for
Triton; `interpret` runs it anywhere, to be checked.
"""

import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import pallas as pl

from jaxad.models.convolution import on_gpu
from jaxad.models.trigger import NORM_EPS
from jaxad.observables.kinematics import wrap_phi

N, WIDE = 57, 64
CODE, LOG_VAR = 16, 8  # columns of the last product, and where its log-variances begin
LIMIT = 20.0  # of the log-variance, as in the network
ROWS, WARPS = 64, 4
"""Events and warps of a program: the fastest of eight on an H100."""
RIGHT = 1e-4
"""Relative error of a score that a device may have: products of TF32 have some 1e-3."""


def kl(params: Any, state: Any, x: Array, interpret: bool = False) -> Array:
    """KL divergences (members, best epochs, n) of raw trigger events x (n, 19, 3), float32.

    Products are of float32 as the sum of two float16, 22 bits.

    Args:
        params, state: of `DenseTrigger` with three latents, leading axes (members, best epochs).
        x: (pT [GeV], eta, phi), zero padded.
    """
    weights = jax.vmap(jax.vmap(_folded))(params, state)
    leading = weights[0].shape[:2]
    flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), weights)
    rows = x.reshape(-1)
    if len(flat[0]) == 1:  # a loop would wait for the host
        found = _call([a[0] for a in flat], rows, interpret)
    else:
        found = jax.lax.map(lambda weights: _call(weights, rows, interpret), flat)
    return found.reshape(*leading, -1)


def or_plain(
    fused: Callable[[Any, Array], Array], plain: Callable[[Any, Array], Array]
) -> Callable[[Any, Array], Array]:
    """`fused` (params, x) on an NVIDIA GPU; elsewhere, under vmap or for derivatives `plain`.

    Both are the same function. Of no event, and of more than an index of 32 bits counts, `plain`.
    """

    @jax.custom_batching.custom_vmap
    def kernel(params: Any, x: Array) -> Array:
        if not 0 < x.size < 2**31:
            return plain(params, x)
        return jax.lax.platform_dependent(params, x, cuda=fused, default=plain)

    @kernel.def_vmap
    def _batched(size: int, batched: tuple[Any, bool], params: Any, x: Array) -> tuple[Array, bool]:
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, tuple(batched))
        return jax.vmap(plain, in_axes=axes, axis_size=size)(params, x), True

    function = jax.custom_jvp(kernel)
    function.defjvp(lambda primals, tangents: jax.jvp(plain, primals, tangents))
    return function


def is_here() -> bool:
    """Whether programs of this process run on one GPU with such products that takes the kernel."""
    capability = str(getattr(jax.local_devices()[0], "compute_capability", ""))
    major = capability.partition(".")[0]
    fits = on_gpu() and jax.local_device_count() == 1 and major.isdecimal() and int(major) >= 8
    return fits and _runs()


@cache
def _runs() -> bool:
    """Whether the kernel is compiled here, and right about some events; says why not on stderr."""
    weights, x = _asked_first()
    expected = _by_numpy(weights, x)
    try:
        # Who asks first may be tracing, forbid copies, or run without compiling.
        with jax.disable_jit(False), jax.transfer_guard("allow"):
            kernel = jax.jit(partial(_call, interpret=False)).lower(weights, x).compile()
            found = np.asarray(kernel(weights, x))
        if not np.allclose(found, expected, rtol=RIGHT):
            at = np.argmax(np.abs(found / expected - 1))
            raise ArithmeticError(f"{found[at]:.7g} for {expected[at]:.7g}")
    except Exception as error:  # every stage of a compiler raises its own
        reason = next(iter(str(error).splitlines()), "")
        print(
            "note: the fused kernel of the dense trigger VAE does not run on this device "
            f"({type(error).__name__}: {reason}): scores take the network itself, which is slower",
            file=sys.stderr,
        )
        return False
    return True


def _asked_first() -> tuple[list[np.ndarray], np.ndarray]:
    """Weights and flat events, more than a program takes, with empty slots and any phi."""
    rng = np.random.default_rng(0)
    shapes = ((WIDE, 32), (32,), (32, CODE), (CODE,), (CODE, CODE), (CODE,))
    weights = [rng.normal(0, 0.2, shape).astype(np.float32) for shape in shapes]
    x = rng.uniform(0, 5, (ROWS + 7, N // 3, 3)).astype(np.float32)
    x[rng.random(x.shape[:2]) < 0.3, 0] = 0.0
    return weights, x.reshape(-1)


def _by_numpy(weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """What the kernel computes of flat events (n * 57,), in double precision."""
    w1, b1, w2, b2, w3, b3 = (w.astype(np.float64) for w in weights)
    x = x.astype(np.float64).reshape(-1, N // 3, 3)
    x = np.where(x[..., :1] > 0, x, 0.0)
    x[..., 2] = (x[..., 2] + np.pi) % (2 * np.pi) - np.pi
    y = x.reshape(-1, N) @ w1[:N] + b1
    y = np.where(y > 0, y, 0.3 * y) @ w2 + b2
    y = np.where(y > 0, y, 0.3 * y) @ w3 + b3
    log_var = np.clip(y[:, LOG_VAR:], -LIMIT, LIMIT)
    return 0.5 * (np.sum(y[:, :LOG_VAR] ** 2, 1) + np.sum(np.exp(log_var) - 1 - log_var, 1))


def _folded(params: dict, state: dict) -> list[Array]:
    """Weights and biases with the normalisations inside, padded to powers of two.

    Returns:
        w1 (64, 32), b1 (32,), w2 (32, 16), b2 (16,), and w3 (16, 16), b3 (16,), whose columns are
        the means, from `LOG_VAR` on the log-variances, and zeros.
    """
    averages = state["batch_stats"]

    def affine(name: str) -> tuple[Array, Array]:
        scale = params[name]["scale"] / jnp.sqrt(averages[name]["var"] + NORM_EPS)
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


def _call(weights: list[Array], x: Array, interpret: bool) -> Array:
    """KL (n,) of flat events x (n * 57,)."""
    options: dict[str, Any] = {"interpret": interpret}
    if not interpret:
        from jax.experimental.pallas import triton

        options["compiler_params"] = triton.CompilerParams(num_warps=WARPS, num_stages=2)
    n = len(x) // N
    out_shape = jax.ShapeDtypeStruct((n,), jnp.float32)
    kernel = partial(_kernel, interpret)
    run = pl.pallas_call(kernel, out_shape=out_shape, grid=(pl.cdiv(n, ROWS),), **options)
    return run(x, *weights)


def _kernel(interpret: bool, x_ref: Any, *refs: Any) -> None:
    *weights, out_ref = refs
    w1, b1, w2, b2, w3, b3 = (ref[...] for ref in weights)
    n = out_ref.shape[0]
    row, column = pl.program_id(0) * ROWS + jnp.arange(ROWS), jnp.arange(WIDE)
    inside = (row < n)[:, None] & (column < N)[None, :]
    start = jnp.minimum(row, n - 1)[:, None] * N
    x = _load(x_ref, start + jnp.minimum(column, N - 1)[None, :], inside, interpret)
    # Whether the slot holds an object, for its three columns: a product of zeros and ones is
    # quicker than reading each pT three times.
    of_slot = (column[:, None] == column[None, :] // 3 * 3).astype(jnp.bfloat16)
    there = (x > 0).astype(jnp.bfloat16)
    x = jnp.where(jnp.dot(there, of_slot, preferred_element_type=jnp.float32) > 0, x, 0.0)
    turned = (column % 3 == 2)[None, :] & (jnp.abs(x) > jnp.pi)
    x = jnp.where(turned, wrap_phi(x), x)
    y = _leaky(_product(x, w1) + b1[None, :])
    y = _leaky(_product(y, w2) + b2[None, :])
    y = _product(y, w3) + b3[None, :]
    log_var = jnp.clip(y, -LIMIT, LIMIT)
    of_log_var = (jnp.arange(CODE) >= LOG_VAR)[None, :]
    kl = 0.5 * jnp.sum(jnp.where(of_log_var, jnp.exp(log_var) - 1 - log_var, y * y), axis=1)
    _store(out_ref, row, kl, row < n, interpret)


def _product(a: Array, b: Array) -> Array:
    """a @ b of float32, each as the sum of two float16, but for the product of both rests.

    Rows of a and columns of b are divided by their largest number first: float16 ends at 65,504.
    """

    def halves(x: Array, axis: int) -> tuple[Array, Array, Array]:
        largest = jnp.maximum(jnp.max(jnp.abs(x), axis=axis), 1e-30)
        x = x / jnp.expand_dims(largest, axis)
        high = x.astype(jnp.float16)
        return high, (x - high.astype(jnp.float32)).astype(jnp.float16), largest

    (a, a_rest, of_rows), (b, b_rest, of_columns) = halves(a, 1), halves(b, 0)
    dot = partial(jnp.dot, preferred_element_type=jnp.float32)
    product = dot(a_rest, b) + dot(a, b_rest) + dot(a, b)
    return product * of_rows[:, None] * of_columns[None, :]


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
