"""Array functions of many rows in bounded memory, with one compilation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from tqdm import tqdm

from jaxad.data import on_disk

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
    takes over two seconds. The result lies where x does, in memory or on disk.
    """
    n = len(x)
    batch_size = max(1, min(batch_size, n))
    compiled = jax.jit(function)
    shape = jax.eval_shape(function, jax.ShapeDtypeStruct(x.shape, jnp.asarray(x[:0]).dtype))
    values = on_disk.empty(shape.shape, shape.dtype, on_disk.folder_of(x))
    results: dict[int, Array] = {}
    for start in tqdm(range(0, n, batch_size), desc=desc, delay=2, leave=False):
        rows = x[start : start + batch_size]
        missing = batch_size - len(rows)
        if missing:
            rows = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
        results[start] = compiled(jnp.asarray(rows))
        # The device works ahead of the host, by a few batches, so that memory stays bounded.
        if len(results) > _AHEAD:
            _store(values, results)
    while results:
        _store(values, results)
    return values


def in_chunks(function: Callable[[Array], Any], x: Array, size: int) -> Any:
    """`function` of rows of x (n, ...), a pytree of arrays (n, ...), `size` rows at a time.

    For functions that are compiled with what is around them: `in_batches` compiles its own.
    """
    n = x.shape[0]
    if not isinstance(n, int) or n <= size:
        return function(x)
    missing = -n % size
    filled = jnp.concatenate([x, jnp.zeros((missing, *x.shape[1:]), x.dtype)]) if missing else x
    parts = jax.lax.map(function, filled.reshape(-1, size, *x.shape[1:]))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], parts)


def _store(values: np.ndarray, results: dict[int, Array]) -> None:
    """Move the first of the results to its place."""
    start = next(iter(results))
    place = values[start : start + len(results[start])]
    place[...] = np.asarray(results.pop(start))[: len(place)]
