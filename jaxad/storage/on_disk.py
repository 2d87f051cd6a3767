"""Arrays larger than memory: in nameless files of a folder, used as NumPy arrays.

What is made of an array on disk lies beside it, so only a reader decides where events are. Such
files vanish with their last use, of a killed process too.
"""

import math
import mmap
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from jaxad.errors import UserError

BLOCK_BYTES = 1 << 26
"""Rows that are copied or computed with at once."""
TOGETHER = 1024
"""Rows anywhere in an array that are looked up together."""


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


def release(array: np.ndarray) -> None:
    """Gives back the memory that an array on disk has taken; it is read again where it is used."""
    held = getattr(array, "_mmap", None)
    if held is not None and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)


def require_free(folder: Path, n_bytes: int, what: str) -> None:
    """Refuses work that a disk has no room for, before it begins.

    Raises:
      UserError: fewer bytes than that are free.
    """
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise UserError(
            f"{folder}: {what} take {n_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: set "
            "data.cache or $JAXAD_CACHE to a folder on a larger disk, or take fewer events"
        )


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
        here, block = index[start : start + step], chosen[start : start + step]
        # In their order on the disk, of which few pages are held at a time.
        order = np.argsort(here, kind="stable")
        for first in range(0, len(here), TOGETHER):
            few = order[first : first + TOGETHER]
            block[few] = array[here[few]]
            release(array)
        release(chosen)
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
        step = rows_at_once(array)
        for first in range(0, len(array), step):
            part = array[first : first + step]
            joined[start + first : start + first + len(part)] = part
            release(joined)
            release(array)
        start += len(array)
    return joined
