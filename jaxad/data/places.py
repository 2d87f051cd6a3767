"""Where numbers of an event stand in a file: an array, columns of one, or several of these.

constituents            the array
jets[4], jets[-1]       a column of the last axis, from 0 or from the end
jets[-6:-1], block[:]   several columns, as of Python
pt,eta,phi              arrays side by side: column by column, a new last axis
X[2],X[0],X[1]          columns in this order
df[:2100]               columns of a pandas frame, as of an array
E_*,PX_*                columns of a table (pandas, CSV, Parquet) that fit, in natural order
Muon_pt[0]              of lists the first number; NaN, which is refused, where there is none
MET_pt,=0,MET_phi       the number 0 in every event
mass_ptetaphim(Muon_pt[0],...)   invariant mass of all particles, four numbers each
training_weights|weights         the first of these that the file has
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxad.data import checks, event_text
from jaxad.data.array_files import SUFFIXES, opened
from jaxad.data.columns import chosen, no_column, open_columns
from jaxad.data.coordinates import COORDINATES, invariant_masses
from jaxad.data.jagged import PARQUET, Jagged, open_branch, open_list
from jaxad.data.links import Objects, seen
from jaxad.data.pandas_table import PandasTable, frames_of
from jaxad.data.rows import file_of, open_array
from jaxad.errors import UserError
from jaxad.storage import on_disk

_MASS = re.compile(r"mass_(\w+)\((.+)\)")
_CONSTANT = re.compile(r"=(-?\d+(?:\.\d*)?)")
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
        _require_from_start(arrays, places, path, setting)
        shapes = [_shape(arrays[place.key].shape, place, path, setting) for place in places]
        for place, shape in zip(places, shapes, strict=True):
            if shape[:-1] != shapes[0][:-1]:
                raise UserError(
                    f"{path}: {place.key}: expected shape {shapes[0][:-1]} as in {places[0].key}, "
                    f"found {shape[:-1]}: name arrays of the same events and particles"
                )
        _require_same_lists(arrays, path)
        self.shape = (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
        kinds = [arrays[place.key].dtype for place in places]
        floats = [np.float32] if any(self._of_lists(place) for place in places) else []
        self.dtype = np.result_type(*kinds, *floats)

    def _of_lists(self, place: Place) -> bool:
        """Whether a place is one number of each list."""
        return isinstance(place.columns, int) and isinstance(self._arrays[place.key], Jagged)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        values = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        step = min(map(on_disk.rows_at_once, self._arrays.values()))
        for first in range(start, stop, step):
            here = slice(first, min(first + step, stop))
            read = {key: np.asarray(array[here]) for key, array in self._arrays.items()}
            parts = [self._part(read[place.key], place, here) for place in self._places]
            block = values[first - start : here.stop - start]
            np.concatenate(parts, axis=-1, out=block, casting="same_kind")
        return values

    def _part(self, values: np.ndarray, place: Place, rows: slice) -> np.ndarray:
        part = _columns(values, place)
        if not self._of_lists(place):
            return part
        there = self._arrays[place.key].counts[rows] > place.columns
        return np.where(there[:, None], part, np.nan)


def _require_from_start(
    arrays: dict[str, Any], places: Sequence[Place], path: Path, setting: str
) -> None:
    """Refuses columns of lists counted from the end, where each list has its own."""
    for place in places:
        columns = place.columns
        ends = (columns.start, columns.stop) if isinstance(columns, slice) else (columns,)
        from_end = any(end is not None and end < 0 for end in ends)
        if from_end and isinstance(arrays[place.key], Jagged):
            raise UserError(
                f"{path}: {place.key}: {setting}: lists of any length are counted from their "
                f"start, found {_text(place)}: take columns from 0 on"
            )


class _Constant:
    """One number for each place of other arrays."""

    dtype = np.dtype(np.float32)

    def __init__(self, value: float, shape: tuple[int, ...]):
        self._value, self.shape = value, shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        n = len(range(*rows.indices(len(self))))
        return np.full((n, *self.shape[1:]), self._value, self.dtype)


class _Masses:
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


def _require_same_lists(arrays: dict[str, Any], path: Path) -> None:
    """Refuses lists of different lengths in one event: of two collections."""
    jagged = {key: array.counts for key, array in arrays.items() if isinstance(array, Jagged)}
    for key, counts in jagged.items():
        name, expected = next(iter(jagged.items()))
        odd = counts != expected
        if odd.any():
            row = int(np.argmax(odd))
            raise UserError(
                f"{path}: {key}: expected as many values as in {name}, {expected[row]}, found "
                f"{counts[row]} at row {row}: name branches of one collection"
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
def open_places(
    path: Path, text: str, setting: str = "", objects: Objects | None = None
) -> Iterator[Any]:
    """What `text` names, sliceable: the array itself where it is the name of one, else `Beside`.

    Args:
        objects: of which each is a row; None: each event is.

    Raises:
        UserError: as `jaxad.data.rows.open_array`; columns or shapes that do not fit.
    """
    *others, text = text.split("|")
    for other in others:  # the first that is there
        with contextlib.ExitStack() as stack:
            try:
                found = stack.enter_context(open_places(path, other.strip(), setting, objects))
            except UserError:
                continue
            yield found
            return
    mass = _MASS.fullmatch(text.strip())
    if mass and mass[1] in COORDINATES:
        with open_places(path, mass[2], setting, objects) as numbers:
            yield _Masses(numbers, mass[1], path, setting)
        return
    if not ("," in text or "[" in text) or _is_key(path, text):
        with _open(path, text, setting, objects, whole=True) as array:
            yield array
        return
    places = places_of(text, setting)
    with contextlib.ExitStack() as stack:
        arrays = {
            key: stack.enter_context(_open(path, key, setting, objects))
            for key in dict.fromkeys(place.key for place in places)
            if not _CONSTANT.fullmatch(key)
        }
        shapes = [_shape(arrays[p.key].shape, p, path, setting) for p in places if p.key in arrays]
        for place in places:
            if constant := _CONSTANT.fullmatch(place.key):
                if not shapes:
                    raise UserError(f"{setting}: expected an array beside {place.key}, found none")
                arrays[place.key] = _Constant(float(constant[1]), shapes[0][:-1])
        yield Beside(arrays, places, path, setting)


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
def _open(
    path: Path, key: str, setting: str, objects: Objects | None, whole: bool = False
) -> Iterator[Any]:
    """An array, branch or column, or, unless it is wanted as a whole, a pandas frame."""
    if objects is not None:
        yield seen(key, objects, lambda name: _read(path, name, setting), str(path))
        return
    is_tree = file_of(str(path))[1] is not None
    if not is_tree and path.suffix in (".h5", ".hdf5"):
        with _open_hdf5(path, key, setting, whole) as array:
            yield array
    elif not (is_tree or path.suffix in (*PARQUET, ".csv", ".txt")):
        with open_array(path, key, setting) as array:
            yield array
    else:
        yield _read(path, key, setting)


def _read(path: Path, key: str, setting: str) -> np.ndarray | Jagged:
    """A branch or column; of a glob all that fit, (N, n)."""
    is_tree = file_of(str(path))[1] is not None
    if not is_tree and not path.is_file():
        raise UserError(f"{path}: no such file")
    if event_text.is_event_text(path):
        return event_text.column(path, key, setting)
    if is_tree and not _is_glob(key):
        with open_branch(str(path), key, setting) as branch:
            return branch
    if path.suffix in PARQUET and not _is_glob(key):
        with open_list(path, key, setting) as column:
            return column
    with open_columns(path) as columns:
        names = chosen(key, columns.names)
        if not names:
            raise no_column(str(path), key, columns.names, setting)
        values = columns.read(names, ())
    return np.stack([values[name] for name in names], -1) if _is_glob(key) else values[key]


def _is_glob(key: str) -> bool:
    return "*" in key or "?" in key


@contextlib.contextmanager
def _open_hdf5(path: Path, key: str, setting: str, whole: bool) -> Iterator[Any]:
    """An array, a pandas frame, or columns of the only frame."""
    with checks.open_hdf5(path) as file, checks.reading(path, key):
        frames = frames_of(file)
        is_array = key in file and key not in frames
    if key in frames and not whole:
        with PandasTable(path, key) as table:
            yield _Frame(table, table.columns)
        return
    if len(frames) == 1 and not is_array and key not in frames:
        with PandasTable(path, frames[0]) as table:
            names = chosen(key, table.columns)
            if not names:
                raise no_column(str(path), key, table.columns, setting)
            yield _Frame(table, names, whole=_is_glob(key))
        return
    with open_array(path, key, setting) as array:
        yield array


def _is_key(path: Path, text: str) -> bool:
    """Whether the file has an array of exactly this name."""
    if path.suffix not in SUFFIXES or path.suffix == ".npy" or not path.is_file():
        return False
    if file_of(str(path))[1] is not None:
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
