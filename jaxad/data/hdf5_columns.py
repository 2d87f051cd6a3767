"""What a key names in an HDF5 file: an array, a pandas frame or columns of it, lists of any length.

Lists of records are named by a field, all/jets.pt.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxad.data import checks
from jaxad.data.columns import chosen, is_glob, no_column
from jaxad.data.jagged import vlen_column
from jaxad.data.pandas_table import PandasTable, frames_of
from jaxad.data.rows import open_array
from jaxad.errors import UserError


class _Frame:
    """Columns of a pandas frame as an array (N, n_columns), or one of them (N,)."""

    def __init__(self, table: PandasTable, columns: Sequence[str], whole: bool = True):
        self._table, self._columns = table, list(columns)
        self.shape = (table.n_rows, len(columns)) if whole else (table.n_rows,)
        self.dtype = np.result_type(*map(table.dtype_of, columns))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        return self._table.read(self._columns, start, stop, self.dtype).reshape(-1, *self.shape[1:])


@contextlib.contextmanager
def open_hdf5(path: Path, key: str, setting: str, whole: bool) -> Iterator[Any]:
    """An array, a pandas frame, or columns of the only frame."""
    with checks.open_hdf5(path) as file, checks.reading(path, key):
        frames = frames_of(file)
        is_array = key in file and key not in frames
        name, field = _of_lists(file, key, path)
        if name:
            stored = checks.require(file, name, setting)
            yield vlen_column(stored, path, key, field)
            return
    if key in frames and not whole:
        with PandasTable(path, key) as table:
            yield _Frame(table, table.columns)
        return
    if len(frames) == 1 and not is_array and key not in frames:
        with PandasTable(path, frames[0]) as table:
            names = chosen(key, table.columns)
            if not names:
                raise no_column(str(path), key, table.columns, setting)
            yield _Frame(table, names, whole=is_glob(key))
        return
    with open_array(path, key, setting) as array:
        yield array


def names_of_item(name: str, item: Any) -> list[str]:
    """An array of numbers, or of lists of them, by name; of lists of records their fields."""
    kind = getattr(item, "dtype", None)
    kind = kind and (_of_list(kind) or kind)
    fields = [f"{name}.{field}" for field in (kind and kind.names) or () if kind is not item.dtype]
    return fields or ([name] if kind and kind.kind in "fiub" else [])


def _of_list(kind: np.dtype) -> np.dtype | None:
    """The type of an entry of lists; None of anything else, texts among it."""
    found = h5py.check_vlen_dtype(kind)
    return found if isinstance(found, np.dtype) else None


def _of_lists(file: h5py.File, key: str, path: Path) -> tuple[str, str]:
    """The dataset of lists of numbers, or of records with a field, that a key names; "" of none.

    Raises:
        UserError: a list of records without a field, or with one that they have not.
    """
    for name, field in ((key, ""), key.rpartition(".")[::2]):
        stored = file.get(name) if name else None
        kind = _of_list(stored.dtype) if isinstance(stored, h5py.Dataset) else None
        if kind is None or stored.ndim != 1:
            continue
        if kind.names and field not in kind.names:
            fields = ", ".join(f"{name}.{one}" for one in kind.names)
            raise UserError(f"{path}: {key}: holds records: name their fields, {fields}")
        if (kind[field] if kind.names else kind).kind in "fiub" and bool(kind.names) == bool(field):
            return name, field
    return "", ""
