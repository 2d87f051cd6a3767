"""Rows in batches: how many are computed at once, on which devices, in bounded memory."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tqdm import tqdm

from jaxad.devices.forks import require_unforked
from jaxad.storage import on_disk

SIZES = (1, 16, 256, 4096)
"""Batches are filled up to one of these sizes, so that few programs are ever compiled."""
LARGEST = 2**18
"""No batch has more rows, however few bytes they have."""
AT_ONCE = 2**16
"""Rows of a batch that are computed at once, so that what lies between fits into the memory."""
_AHEAD = 4
SHARDED = 256
"""Batches of this size and more are spread over all devices of the host."""


def over_devices(spec: PartitionSpec) -> NamedSharding:
    """Over the largest number of the host's devices that divides every large batch."""
    devices = jax.local_devices()
    devices = devices[: math.gcd(len(devices), SHARDED)]
    mesh = jax.make_mesh((len(devices),), ("batch",), (AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, spec)


def batches(n: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Starts and sizes that cover n rows of so many bytes; large sizes where they are filled."""
    if n <= SIZES[-2]:  # one event must not wait for arithmetic about large batches
        yield 0, next(s for s in SIZES if s >= n)
        return
    large, start = sorted({SIZES[-1], _largest(row_bytes)}, reverse=True), 0
    while start < n:
        left = n - start
        size = next((s for s in large if s <= left), 0)
        size = size or next(s for s in SIZES if s >= min(left, SIZES[-2]))
        yield start, size
        start += size


def _largest(row_bytes: int) -> int:
    """Rows that a CPU's cache holds, or whose copy to a device is worth its while."""
    budget = 2**22 if jax.default_backend() == "cpu" else 2**26
    rows = 2 ** int(math.log2(budget / max(row_bytes, 1)))
    return min(max(rows, SIZES[-1]), LARGEST)


def in_batches(
    function: Callable[[Array], Array],
    x: np.ndarray,
    desc: str,
    batch_size: int = 4096,
) -> np.ndarray:
    """`function` of x (N, ...), applied to batches of `batch_size` rows and put together.

    The function maps rows to rows, (B, ...) to (B, ...). The last batch is filled up with its own
    last row, so that one program is compiled; a progress bar that says `desc` shows on stderr when
    it takes over two seconds. The result lies where x does, in memory or on disk.
    """
    require_unforked()
    n = len(x)
    batch_size = max(1, min(batch_size, n))
    compiled = jax.jit(function)
    rows = jax.ShapeDtypeStruct(x.shape, jax.dtypes.canonicalize_dtype(x.dtype))
    shape = jax.eval_shape(function, rows)
    values = on_disk.empty(shape.shape, shape.dtype, on_disk.folder_of(x))
    results: dict[int, Array] = {}
    release_every = max(1, min(map(on_disk.rows_at_once, (x, values))) // batch_size)
    for start in tqdm(range(0, n, batch_size), desc, unit="batch", delay=2, leave=False):
        rows = x[start : start + batch_size]
        missing = batch_size - len(rows)
        if missing:
            rows = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
        results[start] = compiled(jax.device_put(rows))
        # The device works ahead of the host, by a few batches, so that memory stays bounded.
        if len(results) > _AHEAD:
            _store(values, results)
        if (start // batch_size + 1) % release_every == 0:
            on_disk.release(x)
            on_disk.release(values)
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
    # Its last row fills it up: of zeros a gradient may not exist.
    filled = jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)]) if missing else x
    parts = jax.lax.map(function, filled.reshape(-1, size, *x.shape[1:]))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], parts)


def _store(values: np.ndarray, results: dict[int, Array]) -> None:
    """Move the first of the results to its place."""
    start = next(iter(results))
    place = values[start : start + len(results[start])]
    place[...] = np.asarray(results.pop(start))[: len(place)]
