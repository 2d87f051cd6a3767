"""Columns of several arrays side by side, as one array."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxad.data.coordinates import COORDINATES, invariant_masses
from jaxad.data.expression import Lists
from jaxad.data.jagged import AT_ONCE, padded
from jaxad.errors import UserError
from jaxad.storage import on_disk


class Place(NamedTuple):
    """Columns `columns` of the last axis of the array `key`; None: the array is one column.

    A text is the name of a column.
    """

    key: str
    columns: slice | int | str | None


class Beside:
    """Columns of arrays (N, ...), side by side along the last axis: (N, ..., n_columns).

    Attributes:
        shape, dtype: of the whole, as of a NumPy array.
    """

    def __init__(self, arrays: dict[str, Any], places: Sequence[Place], path: Path, setting: str):
        self._arrays, self._places, self._path = arrays, places, path
        _require_from_start(arrays, places, path, setting)
        lists = [key for key, array in arrays.items() if is_lists(array)]
        self._lists, self._width = set(lists), arrays[lists[0]].longest if lists else 0
        # Lists of one collection have the same lengths, which is checked where they are read.
        of_arrays = {
            key: (len(array), self._width) if key in self._lists else array.shape
            for key, array in arrays.items()
        }
        shapes = [shape_of(of_arrays[place.key], place, path, setting) for place in places]
        for place, shape in zip(places, shapes, strict=True):
            if shape[:-1] != shapes[0][:-1]:
                raise UserError(
                    f"{path}: {place.key}: expected shape {shapes[0][:-1]} as in {places[0].key}, "
                    f"found {shape[:-1]}: name arrays of the same events and particles"
                )
        self.shape = (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
        kinds = [arrays[place.key].dtype for place in places]
        floats = [np.float32] if any(self._of_lists(place) for place in places) else []
        self.dtype = np.result_type(*kinds, *floats)

    def _of_lists(self, place: Place) -> bool:
        """Whether a place is one number of each list."""
        return isinstance(place.columns, int) and place.key in self._lists

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
            parts = [self._part(read[place.key], place) for place in self._places]
            block = values[first - start : here.stop - start]
            np.concatenate(parts, axis=-1, out=block, casting="same_kind")
        return values

    def _part(self, read: np.ndarray | Lists, place: Place) -> np.ndarray:
        if not isinstance(read, Lists):
            return _columns(read, place)
        part = _columns(padded(read, self._width), place)
        if not self._of_lists(place):
            return part
        return np.where((read.counts > place.columns)[:, None], part, np.nan)


def _require_from_start(
    arrays: dict[str, Any], places: Sequence[Place], path: Path, setting: str
) -> None:
    """Refuses columns of lists counted from the end, where each list has its own."""
    for place in places:
        columns = place.columns
        ends = (columns.start, columns.stop) if isinstance(columns, slice) else (columns,)
        from_end = any(end is not None and end < 0 for end in ends)
        if from_end and place.key in arrays and is_lists(arrays[place.key]):
            raise UserError(
                f"{path}: {place.key}: {setting}: lists of any length are counted from their "
                f"start, found {text_of(place)}: take columns from 0 on"
            )


class Constant:
    """One number for each place of other arrays."""

    dtype = np.dtype(np.float32)

    def __init__(self, value: float, shape: tuple[int, ...]):
        self._value, self.shape = value, shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        n = len(range(*rows.indices(len(self))))
        return np.full((n, *self.shape[1:]), self._value, self.dtype)


class Masses:
    """Invariant masses (N,) of the particles of each event, (N, 4 n) numbers."""

    dtype = np.dtype(np.float64)

    def __init__(self, numbers: Any, coordinates: str, path: Path, setting: str):
        if len(numbers.shape) != 2 or numbers.shape[1] % 4:
            raise UserError(
                f"{path}: {setting}: mass_{coordinates}: expected four numbers a particle, "
                f"{COORDINATES[coordinates]}, found shape {numbers.shape}"
            )
        self._numbers, self._coordinates, self.shape = numbers, coordinates, numbers.shape[:1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        numbers = np.asarray(self._numbers[rows])
        return invariant_masses(numbers.reshape(len(numbers), -1, 4), self._coordinates)


def is_lists(array: Any) -> bool:
    """Whether an array, branch or column is read as lists of any length."""
    return getattr(array, "nested", False)


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


def shape_of(shape: tuple[int, ...], place: Place, path: Path, setting: str) -> tuple[int, ...]:
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
            f"{width - 1}, found {text_of(place)}; the array has the shape {shape}"
            if width
            else f"{path}: {place.key}: {setting}: expected an array with columns, found shape "
            f"{shape}: name it without brackets"
        )
    return (*shape[:-1], n)


def text_of(place: Place) -> str:
    columns = place.columns
    if isinstance(columns, slice):
        low, high = ("" if end is None else end for end in (columns.start, columns.stop))
        return f"[{low}:{high}]"
    return f"[{columns}]"
