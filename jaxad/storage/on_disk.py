"""Arrays larger than memory: in nameless files of a folder, used as NumPy arrays.

What is made of an array on disk lies beside it, so only a reader decides where events are. Such
files vanish with their last use, of a killed process too. Pages of them that were looked at count
as memory of the process until they are released, so that all of this goes block by block.
"""

import contextlib
import errno
import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxad.errors import UserError

BLOCK_BYTES = 1 << 26
"""Rows that are copied or computed with at once."""
BLOCK_ROWS = 1 << 20
"""The same of rows of a few numbers, of which more is made on the way."""


def folder_of(*arrays: np.ndarray) -> Path | None:
    """The folder of the first array that is on disk; None: all are in memory."""
    # What NumPy computes of a map is one in name, of no file.
    files = (a.filename for a in arrays if isinstance(a, np.memmap) and a.filename)
    return next((Path(file).parent for file in files), None)


def empty(shape: tuple[int, ...], dtype: np.typing.DTypeLike, folder: Path | None) -> np.ndarray:
    """np.empty, in memory or on the disk of a folder.

    Raises:
      UserError: no room, or the folder cannot be written.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if folder is None or n_bytes == 0:
        return np.empty(shape, dtype)
    with _room(folder, n_bytes), _nameless(folder) as file:
        # A full disk is reported here: written through a mapping, it would end the process.
        getattr(os, "posix_fallocate", _extend)(file.fileno(), 0, n_bytes)
        return np.memmap(file, dtype, "r+", shape=tuple(shape))


def zeros(shape: tuple[int, ...], dtype: np.typing.DTypeLike, folder: Path | None) -> np.ndarray:
    """np.zeros, in memory or on the disk of a folder."""
    return np.zeros(shape, dtype) if folder is None else empty(shape, dtype, folder)


class Growing:
    """Parts (n, ...), of one dtype, put one after another: in memory or on the disk of a folder."""

    def __init__(self, folder: Path | None):
        self._folder, self._parts, self._n = folder, [], 0
        self._file, self._stack = None, contextlib.ExitStack()

    def append(self, part: np.ndarray) -> None:
        """Puts a part behind the others.

        Raises:
          UserError: as `empty`.
        """
        self._n += len(part)
        if self._folder is None or not self._parts:
            self._parts.append(part if self._folder is None else part[:0])
        if self._folder is None or not part.size:
            return
        with _room(self._folder, self._n * part[0].nbytes):
            if self._file is None:
                self._file = self._stack.enter_context(_nameless(self._folder))
            self._file.write(np.ascontiguousarray(part, self._parts[0].dtype).data.cast("B"))

    def array(self) -> np.ndarray:
        """All parts, of which there is one at least."""
        if self._file is None:
            return np.concatenate(self._parts)
        first = self._parts[0]
        n_bytes = self._n * math.prod(first.shape[1:]) * first.dtype.itemsize
        with _room(self._folder, n_bytes), self._stack:
            self._file.flush()
            return np.memmap(self._file, first.dtype, "r+", shape=(self._n, *first.shape[1:]))


def joined(parts: Iterable[np.ndarray], folder: Path | None) -> np.ndarray:
    """The parts, one after another, see `Growing`."""
    growing = Growing(folder)
    for part in parts:
        growing.append(part)
    return growing.array()


def _nameless(folder: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    """A file without a name from the first byte on: a process that is killed leaves nothing."""
    file = tempfile.NamedTemporaryFile(dir=folder, prefix=".rows.", delete=False)  # noqa: SIM115
    os.unlink(file.name)
    return file


@contextlib.contextmanager
def _room(folder: Path, n_bytes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise UserError(
                f"{folder}: {error.strerror.lower()}, of which arrays on disk are one each; "
                "`ulimit -n` allows more"
            ) from None
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


def blocks(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """The same rows of arrays of one length, block by block, one at least; released behind it."""
    step = min(BLOCK_ROWS, *map(rows_at_once, arrays))
    for start in range(0, max(len(arrays[0]), 1), step):
        yield tuple(array[start : start + step] for array in arrays)
        for array in arrays:
            release(array)


def mapped(
    function: Callable[..., np.ndarray], *arrays: np.ndarray, folder: Path | None = None
) -> np.ndarray:
    """`function` of the rows of arrays, block by block; on the disk of the folder, or of the first
    array that is on one."""
    folder = folder or folder_of(*arrays)
    return joined((np.asarray(function(*block)) for block in blocks(*arrays)), folder)


def rows_where(
    function: Callable[..., np.ndarray], *arrays: np.ndarray, folder: Path | None = None
) -> np.ndarray:
    """Numbers (k,) of the rows of which `function` of the arrays' blocks is true."""
    dtype = row_type(len(arrays[0]))

    def parts() -> Iterator[np.ndarray]:
        start = 0
        for block in blocks(*arrays):
            yield np.flatnonzero(function(*block)).astype(dtype) + dtype(start)
            start += len(block[0])

    return joined(parts(), folder or folder_of(*arrays))


def row_type(n: int) -> type[np.unsignedinteger]:
    """Type that holds numbers of n rows; what they are compared with has to be of it, lest all of
    them are copied."""
    return np.uint32 if n <= 2**32 else np.uint64


def numbered(n: int, folder: Path | None) -> np.ndarray:
    """The numbers (n,) of all rows."""
    rows = empty((n,), row_type(n), folder)
    for start in range(0, n, BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        block[...] = np.arange(start, start + len(block), dtype=rows.dtype)
        release(rows)
    return rows


def shuffle(rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Shuffles row numbers (n,) in place: in the order of `generator.permutation(rows)`."""
    generator.shuffle(np.asarray(rows))
    release(rows)
    return rows


def take(array: np.ndarray, index: np.ndarray | slice) -> np.ndarray:
    """array[index], beside the array."""
    return take_all({"": array}, index)[""]


def take_all(arrays: Mapping[str, np.ndarray], index: np.ndarray | slice) -> dict[str, np.ndarray]:
    """array[index] of each, beside them."""
    folder = folder_of(*arrays.values())
    if folder is None or isinstance(index, slice):
        return {name: array[index] for name, array in arrays.items()}
    if index.dtype == bool:
        index = rows_where(np.asarray, index, folder=folder)
    found = {
        name: empty((len(index), *array.shape[1:]), array.dtype, folder)
        for name, array in arrays.items()
    }
    step = min(BLOCK_ROWS, *map(rows_at_once, arrays.values()))
    for start in range(0, len(index), step):
        here = np.asarray(index[start : start + step])
        # In their order on the disk.
        order = np.argsort(here, kind="stable")
        here = here[order]
        for name, array in arrays.items():
            block = found[name][start : start + len(here)]
            for part in windows(array, here):
                block[order[part]] = array[here[part]]
            release(found[name])
    release(index)
    return found


def windows(array: np.ndarray, rows: np.ndarray) -> Iterator[slice]:
    """Stretches of sorted row numbers that lie within a block of the array each; released behind
    it."""
    first = 0
    while first < len(rows):
        last = int(rows[first]) + rows_at_once(array) - 1
        size = np.searchsorted(rows[first:], np.asarray(last).astype(rows.dtype), side="right")
        yield slice(first, first + int(size))
        release(array)
        first += int(size)


def concatenate(arrays: list[np.ndarray], folder: Path | None = None) -> np.ndarray:
    """np.concatenate, on the disk of the folder or else of the first array that is on one."""
    folder = folder or folder_of(*arrays)
    if folder is None:
        return np.concatenate(arrays)
    if len(arrays) == 1 and folder_of(*arrays):
        return arrays[0]
    n = sum(len(array) for array in arrays)
    found, start = empty((n, *arrays[0].shape[1:]), np.result_type(*arrays), folder), 0
    for array in arrays:
        for (part,) in blocks(array):
            found[start : start + len(part)] = part
            release(found)
            start += len(part)
    return found
