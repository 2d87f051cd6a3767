"""npz, npy and HDF5 files of plain arrays, opened alike; every damaged one is a UserError."""

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from jaxad.data import checks, kinds
from jaxad.data.whole import require_bytes
from jaxad.errors import DAMAGED, UserError
from jaxad.storage import on_disk

SUFFIXES = (".h5", ".hdf5", ".npz", ".npy")
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Mapping]:
    """Something that gives arrays by key, sliceable; npy files hold "x" whatever the key."""
    if path.suffix == ".gz":
        raise UserError(f"{path}: is inside gzip: unpack it first, gunzip --keep {path}")
    if path.suffix not in SUFFIXES:
        what = kinds.other(path, kinds.head_of(path)) if path.is_file() else ""
        found = f", found {what}" if what else ""
        raise UserError(f"{path}: expected a file of {', '.join(SUFFIXES)}{found}")
    if path.suffix in (".h5", ".hdf5"):
        with checks.open_hdf5(path) as file:
            yield file
        return
    if path.suffix == ".npy":
        with contextlib.suppress(*DAMAGED), path.open("rb") as stream:  # NumPy names them next
            header_of(stream, path, "array", path.stat().st_size)
    try:
        content = np.load(
            path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None
        )
    except DAMAGED as error:
        found = kinds.other(path, kinds.head_of(path)) if path.is_file() else ""
        if found not in ("", "an npy file"):
            raise UserError(f"{path}: expected a NumPy file, found {found}") from None
        raise UserError(
            f"{path}: expected a NumPy file, found a damaged one ({_line(error)})"
        ) from None
    if isinstance(content, np.ndarray):
        yield {"": content}
    else:
        with content:
            yield content


def header_of(
    stream: BinaryIO, path: Path, field: str, n_bytes: int
) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in column order, and dtype of the NumPy array at the start of a stream.

    Args:
        n_bytes: of the whole stream.

    Raises:
        UserError: a part of the array is not there, or more than it.
        Exception: one of `DAMAGED`, for no array of numbers.
    """
    version = np.lib.format.read_magic(stream)
    shape, fortran, dtype = HEADERS[version](stream)
    ordered = not fortran or len(shape) < 2
    require_bytes(path, field, shape, dtype, n_bytes - stream.tell(), ordered)
    return shape, fortran, dtype


def stored_array(
    file: Mapping, key: str, path: Path, setting: str = ""
) -> h5py.Dataset | np.ndarray:
    """The stored array of a key: an HDF5 dataset or a NumPy array, whole, of plain numbers only.

    Args:
        setting: that names the key, for the message.
    """
    if path.suffix in (".h5", ".hdf5"):
        stored = checks.require(file, key, setting)
    elif path.suffix == ".npy":
        stored = file[""]
    elif key in file:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
                header_of(stream, path, key, archive.getinfo(f"{key}.npy").file_size)
            stored = file[key]
        except DAMAGED as error:
            raise UserError(f"{path}: {key}: cannot be read ({_line(error)})") from None
    else:
        raise checks.absent(path, "array", key, shapes_of(path), setting)
    if not hasattr(stored, "dtype"):  # npz members that are no npy files come as bytes
        raise UserError(f"{path}: {key}: expected an array of numbers, found other bytes")
    checks.require_numbers(stored, path, key)
    return stored


def texts_in(path: Path, n: int) -> list[list[str]]:
    """The lists of `n` texts that an HDF5 file has, as names of columns."""
    if path.suffix not in (".h5", ".hdf5"):
        return []
    found: list[list[str]] = []

    def note(_: str, item: h5py.Group | h5py.Dataset) -> None:
        is_list = isinstance(item, h5py.Dataset) and item.shape == (n,)
        if is_list and h5py.check_string_dtype(item.dtype) is not None:
            found.append([str(name) for name in item.asstr()[()]])

    with checks.open_hdf5(path) as file, checks.reading(path, "names of columns"):
        file.visititems(note)
    return found


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays of an npz file; () of what cannot be read."""
    shapes: dict[str, tuple[int, ...]] = {}
    with checks.reading(path, "arrays"), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            shapes[name] = ()
            with contextlib.suppress(UserError, *DAMAGED), archive.open(member) as stream:
                shapes[name], _, _ = header_of(stream, path, name, member.file_size)
    return shapes


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def chosen_rows(
    stored: h5py.Dataset | np.ndarray, index: np.ndarray, folder: Path | None = None
) -> np.ndarray:
    """stored[index] as float32 for a sorted index, read in blocks; on the disk of a folder."""
    values = on_disk.empty((len(index), *stored.shape[1:]), np.float32, folder)
    fill_rows(values, stored, index)
    return values


def fill_rows(values: np.ndarray, stored: h5py.Dataset | np.ndarray, index: np.ndarray) -> None:
    """values[:] = stored[index], as `chosen_rows`."""
    start = 0
    for block, place in chosen_blocks(stored, index):
        with np.errstate(over="ignore"):  # infinities are refused later
            values[start : start + len(place)] = block[place]
        on_disk.release(values)
        start += len(place)


def in_blocks(stored: h5py.Dataset | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """First row of each block, and all rows as they are stored; one block at least."""
    step = min(on_disk.BLOCK_ROWS, on_disk.rows_at_once(stored))
    for start in range(0, max(1, len(stored)), step):
        yield start, np.asarray(stored[start : min(start + step, len(stored))])


def chosen_blocks(
    stored: h5py.Dataset | np.ndarray, index: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Stretches of rows, as they are stored, and the places in them of those of a sorted index."""
    step, first = min(on_disk.BLOCK_ROWS, on_disk.rows_at_once(stored)), 0
    while first < len(index):
        start = int(index[first])
        here = np.asarray(index[first : first + step])
        here = here[
            : np.searchsorted(here, np.asarray(start + step - 1).astype(here.dtype), "right")
        ]
        yield np.asarray(stored[start : int(here[-1]) + 1]), here - here.dtype.type(start)
        first += len(here)
        on_disk.release(index)
