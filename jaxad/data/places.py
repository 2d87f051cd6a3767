"""Where numbers of an event stand in a file: an array, columns of one, or several of these.

constituents            the array
jets[4], jets[-1]       a column of the last axis, from 0 or from the end
jets[-6:-1], block[:]   several columns, as of Python
pt,eta,phi              arrays side by side: column by column, a new last axis
X[2],X[0],X[1]          columns in this order
df[:2100]               columns of a pandas frame, as of an array
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxad.data import checks
from jaxad.data.array_files import opened
from jaxad.data.expression import Lists
from jaxad.data.jagged import (
    AT_ONCE,
    PARQUET,
    Column,
    names_of_columns,
    open_branch,
    open_list,
    padded,
)
from jaxad.data.pandas_table import PandasTable, frames_of
from jaxad.data.rows import file_of, open_array, opened_tree, reading_root
from jaxad.errors import UserError
from jaxad.storage import on_disk

HDF5 = (".h5", ".hdf5")
_PLACE = re.compile(r"(?P<key>[^\[\]]+)(?:\[(?P<low>-?\d+)?(?P<colon>:)?(?P<high>-?\d+)?\])?")


class Place(NamedTuple):
    """Columns `columns` of the last axis of the array `key`; None: the array is one column."""

    key: str
    columns: slice | int | None


def places_of(text: str, setting: str = "") -> list[Place]:
    """What a setting says.

    Raises:
        UserError: what cannot be read so.

    Examples:
        >>> places_of("pt, jets[-6:-1]")
        [Place(key='pt', columns=None), Place(key='jets', columns=slice(-6, -1, None))]
    """
    places = []
    for item in text.split(","):
        found = _PLACE.fullmatch(item.strip())
        bare = found is not None and item.strip().endswith("[]")
        if found is None or bare or (found["high"] and not found["colon"]):
            raise UserError(
                f"{setting}: expected KEY, KEY[3] or KEY[3:6], separated by commas, found {item!r}"
            )
        low, high = (None if found[name] is None else int(found[name]) for name in ("low", "high"))
        columns = slice(low, high) if found["colon"] else low
        places.append(Place(found["key"], columns))
    return places


class Beside:
    """Columns of arrays (N, ...), side by side along the last axis: (N, ..., n_columns).

    Attributes:
        shape, dtype: of the whole, as of a NumPy array.
    """

    def __init__(self, arrays: dict[str, Any], places: Sequence[Place], path: Path, setting: str):
        self._arrays, self._places, self._path = arrays, places, path
        lists = [key for key, array in arrays.items() if isinstance(array, Column) and array.nested]
        self._lists = set(lists)
        # Lists of one collection have the same lengths, which is checked where they are read.
        widest = dict.fromkeys(lists, arrays[lists[0]].longest if lists else 0)
        of_arrays = {
            key: (len(array), widest[key]) if key in widest else array.shape
            for key, array in arrays.items()
        }
        shapes = [_shape(of_arrays[place.key], place, path, setting) for place in places]
        for place, shape in zip(places, shapes, strict=True):
            if shape[:-1] != shapes[0][:-1]:
                raise UserError(
                    f"{path}: {place.key}: expected shape {shapes[0][:-1]} as in {places[0].key}, "
                    f"found {shape[:-1]}: name arrays of the same events and particles"
                )
        self.shape = (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
        self.dtype = np.result_type(*(arrays[place.key].dtype for place in places))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        values = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        step = min(
            AT_ONCE if key in self._lists else on_disk.rows_at_once(array)
            for key, array in self._arrays.items()
        )
        for first in range(start, stop, step):
            here = slice(first, min(first + step, stop))
            read = {
                key: array.read(here.start, here.stop)
                if key in self._lists
                else np.asarray(array[here])
                for key, array in self._arrays.items()
            }
            _require_same_lists(read, self._path, first)
            read |= {key: padded(read[key], self.shape[1]) for key in self._lists}
            parts = [_columns(read[place.key], place) for place in self._places]
            block = values[first - start : here.stop - start]
            np.concatenate(parts, axis=-1, out=block, casting="same_kind")
        return values


def _require_same_lists(read: dict[str, Any], path: Path, start: int) -> None:
    """Refuses lists of different lengths in one event: of two collections."""
    jagged = {key: array.counts for key, array in read.items() if isinstance(array, Lists)}
    for key, counts in jagged.items():
        name, expected = next(iter(jagged.items()))
        odd = counts != expected
        if odd.any():
            row = int(np.argmax(odd))
            raise UserError(
                f"{path}: {key}: expected as many values as in {name}, {expected[row]}, found "
                f"{counts[row]} at row {start + row}: name branches of one collection"
            )


def _columns(values: np.ndarray, place: Place) -> np.ndarray:
    if place.columns is None:
        return values[..., None]
    if isinstance(place.columns, slice):
        return values[..., place.columns]
    return values[..., place.columns][..., None]


def _shape(shape: tuple[int, ...], place: Place, path: Path, setting: str) -> tuple[int, ...]:
    """The shape of a place's part of an array, its columns last."""
    if place.columns is None:
        return (*shape, 1)
    width = shape[-1] if len(shape) > 1 else 0
    if isinstance(place.columns, slice):
        n = len(range(width)[place.columns])
    else:
        n = int(-width <= place.columns < width)
    if n == 0:
        raise UserError(
            f"{path}: {place.key}: {setting}: expected columns of its last axis, 0 to "
            f"{width - 1}, found {_text(place)}; the array has the shape {shape}"
            if width
            else f"{path}: {place.key}: {setting}: expected an array with columns, found shape "
            f"{shape}: name it without brackets"
        )
    return (*shape[:-1], n)


def _text(place: Place) -> str:
    columns = place.columns
    if isinstance(columns, slice):
        low, high = ("" if end is None else end for end in (columns.start, columns.stop))
        return f"[{low}:{high}]"
    return f"[{columns}]"


@contextlib.contextmanager
def open_places(path: Path, text: str, setting: str = "") -> Iterator[Any]:
    """What `text` names, sliceable: the array itself where it is the name of one, else `Beside`.

    Raises:
        UserError: as `jaxad.data.rows.open_array`; columns or shapes that do not fit.
    """
    if not ("," in text or "[" in text) or _is_key(path, text):
        with open_named(path, text, setting, whole=True) as array:
            yield array
        return
    places = places_of(text, setting)
    with contextlib.ExitStack() as stack:
        arrays = {
            key: stack.enter_context(open_named(path, key, setting))
            for key in dict.fromkeys(place.key for place in places)
        }
        yield Beside(arrays, places, path, setting)


class _Frame:
    """A pandas frame as an array (N, n_columns)."""

    def __init__(self, table: PandasTable):
        self._table = table
        self.shape = table.n_rows, len(table.columns)
        self.dtype = np.result_type(*map(table.dtype_of, table.columns))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        return self._table.read(self._table.columns, start, stop, self.dtype)


def names_in(path: Path) -> list[str]:
    """The arrays, branches, columns or frames of a file, by name."""
    file, tree = file_of(str(path))
    if tree is not None:
        with opened_tree(str(path)) as found, reading_root(str(path)):
            return [str(key) for key in found.keys()]  # noqa: SIM118 - no mapping
    if file.suffix in PARQUET:
        return names_of_columns(file)
    with checks.reading(file, "names"), opened(file) as stored:
        if file.suffix not in HDF5:
            return ["x"] if file.suffix == ".npy" else list(stored)
        names: list[str] = []
        stored.visititems(lambda name, item: names.append(str(name)) if _is_array(item) else None)
        return [*frames_of(stored), *names]


def _is_array(item: Any) -> bool:
    return hasattr(item, "dtype") and item.dtype.kind in "fiub"


@contextlib.contextmanager
def open_named(path: Path, key: str, setting: str, whole: bool = False) -> Iterator[Any]:
    """An array, branch or column, or, unless it is wanted as a whole, a pandas frame."""
    if file_of(str(path))[1] is not None:
        with open_branch(str(path), key, setting) as branch:
            yield branch
        return
    if path.suffix in PARQUET and path.is_file():
        with open_list(path, key, setting) as column:
            yield column
        return
    frames = []
    if path.suffix in HDF5 and not whole:
        with checks.open_hdf5(path) as file, checks.reading(path, key):
            frames = frames_of(file)
    if key in frames:
        with PandasTable(path, key) as table:
            yield _Frame(table)
    else:
        with open_array(path, key, setting) as array:
            yield array


def _is_key(path: Path, text: str) -> bool:
    """Whether the file has an array of exactly this name."""
    if path.suffix in (".npy", *PARQUET) or file_of(str(path))[1] is not None:
        return False
    if not path.is_file():
        return False
    with checks.reading(path, text), opened(path) as file:
        return text in file


def from_one_hot(values: np.ndarray, path: Path, field: str) -> np.ndarray:
    """The column (N,) int64 that holds the 1, of (N, n) numbers or truth values.

    Raises:
        UserError: a row without a single 1, or with anything but 0 and 1.
    """
    odd = (values.sum(axis=1, dtype=float) != 1) | ~np.isin(values, (0, 1)).all(axis=1)
    if odd.any():
        row = int(np.argmax(odd))
        raise UserError(
            f"{path}: {field}: expected one 1 and else 0 in each row, a column a class, found "
            f"{', '.join(f'{value:g}' for value in values[row].astype(float))} at row {row}"
        )
    return values.argmax(axis=1)
