"""Rows of any number through a compiled function: batches by bytes, some on their way at once."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array, lax

from jaxad.devices.batches import batches
from jaxad.storage.on_disk import empty, release

AHEAD = 3
"""Batches that are computed or copied while the one before is fetched."""


def stream(
    function: Callable[[np.ndarray | Array], Any], x: np.ndarray | Array
) -> Iterator[tuple[int, Any]]:
    """(number of the first row, results on the host) of batches of `x` (n, ...), in their order.

    Args:
        function: rows (B, ...) float32 to a pytree of arrays (..., B), for few different B.
        x: of NumPy, or of JAX, which stays on its device; a row of zeros is computed if n is 0.
    """
    flying: deque[tuple[int, slice, Any]] = deque()

    def landed() -> tuple[int, Any]:
        start, wanted, result = flying.popleft()
        release(x)
        return start, _on_host(result, wanted)

    every = list(batches(len(x), 4 * math.prod(x.shape[1:])))
    if len(every) == 1:
        rows, wanted = _rows(x, *every[0])
        yield 0, _on_host(function(rows), wanted)
        return
    for start, size in every:
        rows, wanted = _rows(x, start, size)
        result = function(rows)
        for leaf in jax.tree.leaves(result):
            leaf.copy_to_host_async()
        flying.append((start, wanted, result))
        if len(flying) > AHEAD:
            yield landed()
    while flying:
        yield landed()


def gathered(results: Iterable[tuple[int, Any]], n: int, folder: Path | None = None) -> Any:
    """What `stream` gives of n rows as one pytree of arrays (..., n), in memory or on the disk of a
    folder."""
    if folder is None:
        done = [result for _, result in results]
        if len(done) == 1:  # what JAX gave may not be written to
            return jax.tree.map(np.array, done[0]) if isinstance(done[0], dict) else done[0].copy()
        return jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1), *done)
    places = None
    for start, result in results:
        if places is None:
            places = jax.tree.map(lambda a: empty((*a.shape[:-1], n), a.dtype, folder), result)
        for place, values in zip(*map(jax.tree.leaves, (places, result)), strict=True):
            place[..., start : start + values.shape[-1]] = values
            release(place)
    return places


def _on_host(result: Any, wanted: slice) -> Any:
    if isinstance(result, Array):  # what one event would wait for otherwise
        return np.asarray(result)[..., wanted]
    return jax.tree.map(lambda a: np.asarray(a)[..., wanted], result)


def _rows(x: np.ndarray | Array, start: int, size: int) -> tuple[np.ndarray | Array, slice]:
    """`size` rows of x that hold those from `start` on, and where these are among them."""
    n = len(x)
    if isinstance(x, Array) and n >= size:
        if n == size:
            return x, slice(0, n)
        first = min(start, n - size)
        return _slice(x, first, size=size), slice(start - first, size)
    part = np.asarray(x[start : start + size])
    if part.dtype != np.float32:
        with np.errstate(over="ignore"):  # infinities are refused
            part = part.astype(np.float32)
    found = len(part)
    if found < size:
        filled = np.zeros((size, *x.shape[1:]), np.float32)
        filled[:found] = part
        part = filled
    return part, slice(0, found)


@partial(jax.jit, static_argnames="size")
def _slice(x: Array, start: int, *, size: int) -> Array:
    return lax.dynamic_slice_in_dim(x, start, size)
