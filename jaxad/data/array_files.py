"""npz, npy and HDF5 files of plain arrays, opened alike; every damaged one is a UserError."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from jaxad.data import checks
from jaxad.errors import DAMAGED, UserError
from jaxad.storage import on_disk

SUFFIXES = (".h5", ".hdf5", ".npz", ".npy")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Mapping]:
    """Something that gives arrays by key, sliceable; npy files hold "x" whatever the key."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: expected a file of {', '.join(SUFFIXES)}")
    if path.suffix in (".h5", ".hdf5"):
        with checks.open_hdf5(path) as file:
            yield file
        return
    try:
        content = np.load(
            path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None
        )
    except DAMAGED as error:
        raise UserError(
            f"{path}: expected a NumPy file, found a damaged one ({_line(error)})"
        ) from None
    if isinstance(content, np.ndarray):
        yield {"": content}
    else:
        with content:
            yield content


def stored_array(file: Mapping, key: str, path: Path) -> h5py.Dataset | np.ndarray:
    """The stored array of a key: an HDF5 dataset or a NumPy array; plain numbers only."""
    if path.suffix in (".h5", ".hdf5"):
        stored = checks.require(file, key)
    elif path.suffix == ".npy":
        stored = file[""]
    elif key in file:
        try:
            stored = file[key]
        except DAMAGED as error:
            raise UserError(f"{path}: {key}: cannot be read ({_line(error)})") from None
    else:
        raise UserError(f"{path}: no array {key!r}; found {', '.join(file) or 'none'}")
    if not hasattr(stored, "dtype"):  # npz members that are no npy files come as bytes
        raise UserError(f"{path}: {key}: expected an array of numbers, found other bytes")
    checks.require_numbers(stored, path, key)
    return stored


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
    step = on_disk.rows_at_once(stored)
    first, last = (index[0], index[-1] + 1) if len(index) else (0, 0)
    for start in range(first, last, step):
        low, high = np.searchsorted(index, (start, start + step))
        if high > low:
            block = np.asarray(stored[start : min(start + step, last)])
            with np.errstate(over="ignore"):  # infinities are refused later
                values[low:high] = block[index[low:high] - start]
