"""Arrays larger than memory: in nameless files of a folder, used as NumPy arrays.

What is made of an array on disk lies beside it, so only a reader decides where events are. Such
files vanish with their last use, of a killed process too.
"""

import math
import os
import tempfile
from pathlib import Path

import numpy as np

from jaxad.errors import UserError

BLOCK_BYTES = 1 << 26
"""Rows that are copied or computed with at once."""


def folder_of(*arrays: np.ndarray) -> Path | None:
    """The folder of the first array that is on disk; None: all are in memory."""
    return next((Path(a.filename).parent for a in arrays if isinstance(a, np.memmap)), None)


def empty(shape: tuple[int, ...], dtype: np.typing.DTypeLike, folder: Path | None) -> np.ndarray:
    """np.empty, in memory or on the disk of a folder.

    Raises:
      UserError: no room, or the folder cannot be written.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if folder is None or n_bytes == 0:
        return np.empty(shape, dtype)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".rows.") as file:
            # A full disk is reported here: written through a mapping, it would end the process.
            getattr(os, "posix_fallocate", _extend)(file.fileno(), 0, n_bytes)
            return np.memmap(file, dtype, "r+", shape=tuple(shape))
    except OSError as error:
        raise UserError(
            f"{folder}: no room for {n_bytes / 1e9:.1f} GB of rows ({error.strerror}); "
            "set data.cache or $JAXAD_CACHE to a folder on a larger disk"
        ) from None


def _extend(file: int, _: int, n_bytes: int) -> None:
    os.ftruncate(file, n_bytes)


def rows_at_once(array: np.ndarray) -> int:
    """Number of its rows that make a block."""
    return max(1, BLOCK_BYTES // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))


def take(array: np.ndarray, index: np.ndarray | slice) -> np.ndarray:
    """array[index], beside the array."""
    folder = folder_of(array)
    if folder is None or isinstance(index, slice):
        return array[index]
    index = np.flatnonzero(index) if index.dtype == bool else index
    chosen, step = empty((len(index), *array.shape[1:]), array.dtype, folder), rows_at_once(array)
    for start in range(0, len(index), step):
        chosen[start : start + step] = array[index[start : start + step]]
    return chosen


def concatenate(arrays: list[np.ndarray], folder: Path | None = None) -> np.ndarray:
    """np.concatenate, on the disk of the folder or else of the first array that is on one."""
    folder = folder or folder_of(*arrays)
    if folder is None:
        return np.concatenate(arrays)
    if len(arrays) == 1 and folder_of(*arrays):
        return arrays[0]
    n = sum(len(array) for array in arrays)
    joined, start = empty((n, *arrays[0].shape[1:]), np.result_type(*arrays), folder), 0
    for array in arrays:
        joined[start : start + len(array)] = array
        start += len(array)
    return joined
