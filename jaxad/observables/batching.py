"""Bulk evaluation of array functions: equal batches, one compilation, bounded memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from tqdm import tqdm

_AHEAD = 4


def in_batches(
    function: Callable[[Array], Array],
    x: np.ndarray,
    batch_size: int = 4096,
    desc: str | None = None,
) -> np.ndarray:
    """`function` of x (N, ...), applied to batches of `batch_size` rows and put together.

    The function maps rows to rows, (B, ...) to (B, ...). The last batch is filled up with its own
    last row, so that one program is compiled; a progress bar named `desc` shows on stderr when it
    takes over two seconds.
    """
    n = len(x)
    batch_size = max(1, min(batch_size, n))
    compiled = jax.jit(function)
    results: list[Array | np.ndarray] = []
    for start in tqdm(range(0, n, batch_size), desc=desc, delay=2, leave=False):
        rows = x[start : start + batch_size]
        missing = batch_size - len(rows)
        if missing:
            rows = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
        results.append(compiled(jnp.asarray(rows)))
        # The device works ahead of the host, by a few batches, so that memory stays bounded.
        if len(results) > _AHEAD:
            results[-_AHEAD - 1] = np.asarray(results[-_AHEAD - 1])
    if not results:
        shape = jax.eval_shape(function, jax.ShapeDtypeStruct(x.shape, jnp.asarray(x).dtype))
        return np.zeros(shape.shape, shape.dtype)
    return np.concatenate(results)[:n]
