"""Where numbers of an event stand in a file: an array, columns of one, or several of these.

constituents            the array
jets[4], jets[-1]       a column of the last axis, from 0 or from the end
jets[-6:-1], block[:]   several columns, as of Python
jets[j_g]               the column of this name, where the file has a list of their names
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
from typing import Any

import numpy as np

from jaxad.data import checks, event_text
from jaxad.data.array_files import SUFFIXES, opened, texts_in
from jaxad.data.beside import Beside, Constant, Masses, Place, shape_of, text_of
from jaxad.data.columns import chosen, is_glob, no_column, open_columns
from jaxad.data.coordinates import COORDINATES
from jaxad.data.csv_file import Csv
from jaxad.data.hdf5_columns import names_of_item, open_hdf5
from jaxad.data.jagged import PARQUET, absent, open_beside, open_branch, open_list
from jaxad.data.links import Objects, Opened
from jaxad.data.lists import Blocks, Column, Stored
from jaxad.data.pandas_table import PandasTable, frames_of
from jaxad.data.parquet_rows import names_of, opened_parquet
from jaxad.data.rows import file_of, open_array
from jaxad.data.text_file import is_text
from jaxad.errors import UserError

HDF5 = (".h5", ".hdf5")
_MASS = re.compile(r"mass_(\w+)\((.+)\)")
_CONSTANT = re.compile(r"=(-?\d+(?:\.\d*)?)")
_PLACE = re.compile(r"(?P<key>[^\[\]]+)(?:\[(?P<low>-?\d+)?(?P<colon>:)?(?P<high>-?\d+)?\])?")
_NAMED = re.compile(r"([^\[\]]+)\[([A-Za-z_]\w*)\]")


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
        if named := _NAMED.fullmatch(item.strip()):
            places.append(Place(named[1], named[2]))
            continue
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
            except UserError as error:
                if not checks.is_of_no_such_name(error):
                    raise
                continue
            yield found
            return
    mass = _MASS.fullmatch(text.strip())
    if mass and mass[1] in COORDINATES:
        with open_places(path, mass[2], setting, objects) as numbers:
            yield Masses(numbers, mass[1], path, setting)
        return
    with contextlib.ExitStack() as stack:
        rows = open_objects(path, setting, objects, stack)
        if not ("," in text or "[" in text) or _is_key(path, text):
            yield stack.enter_context(open_named(path, text, setting, rows, whole=True))
            return
        places = places_of(text, setting)
        arrays = {
            key: stack.enter_context(open_named(path, key, setting, rows))
            for key in dict.fromkeys(place.key for place in places)
            if not _CONSTANT.fullmatch(key)
        }
        places = [_numbered(place, arrays, path, setting) for place in places]
        stored = next((place for place in places if place.key in arrays), None)
        for place in places:
            if constant := _CONSTANT.fullmatch(place.key):
                if stored is None:
                    raise UserError(f"{setting}: expected an array beside {place.key}, found none")
                shape = shape_of(arrays[stored.key].shape, stored, path, setting)
                arrays[place.key] = Constant(float(constant[1]), shape[:-1])
        yield Beside(arrays, places, path, setting)


def _numbered(place: Place, arrays: dict[str, Any], path: Path, setting: str) -> Place:
    """The place with the number of a column that it names.

    Raises:
        UserError: the file has no list of names of as many columns, or not this name.
    """
    if not isinstance(place.columns, str):
        return place
    shape = arrays[place.key].shape
    lists = texts_in(path, shape[-1] if len(shape) > 1 else 0)
    number = next((names.index(place.columns) for names in lists if place.columns in names), None)
    if number is None and not lists:
        raise UserError(
            f"{path}: {place.key}: {setting}: expected KEY, KEY[3] or KEY[3:6], separated by "
            f"commas, found {text_of(place)!r}, and no list of names of its {shape[-1]} columns in "
            "the file"
        )
    if number is None:
        found = [name for names in lists for name in names]
        raise absent(f"{path}: {place.key}", "column", place.columns, found, setting)
    return Place(place.key, number)


def names_in(path: Path) -> list[str]:
    """The arrays, branches, columns or frames of a file, by name."""
    file, tree = file_of(str(path))
    if event_text.is_event_text(file):
        return event_text.NAMES
    if tree is None and file.suffix in PARQUET:
        with opened_parquet(file) as stored:
            return names_of(stored)
    if tree is not None or is_text(file):
        with open_columns(path) as columns:
            return list(columns.names)
    with checks.reading(file, "names"), opened(file) as stored:
        if file.suffix not in HDF5:
            return ["x"] if file.suffix == ".npy" else list(stored)
        names: list[str] = []
        stored.visititems(lambda name, item: names.extend(names_of_item(str(name), item)) or None)
        frames = frames_of(stored)
    if len(frames) == 1:
        with PandasTable(file, frames[0]) as table:
            names += table.columns
    return [*frames, *names]


def open_objects(
    path: Path, setting: str, objects: Objects | None, stack: contextlib.ExitStack
) -> Opened | None:
    """The branches of objects as rows, for `open_named`, open while `stack` is; None without."""

    def read(name: str) -> Any:
        return stack.enter_context(open_named(path, name, setting))

    return Opened(objects, read, str(path)) if objects else None


@contextlib.contextmanager
def open_named(
    path: Path, key: str, setting: str, rows: Opened | None = None, whole: bool = False
) -> Iterator[Any]:
    """An array, branch or column, or, unless it is wanted as a whole, a pandas frame; of a glob all
    columns that fit, (N, n).

    Args:
        rows: of objects, of which each is a row; None: each event is.
    """
    is_tree = file_of(str(path))[1] is not None
    with contextlib.ExitStack() as stack:
        if rows is not None:
            yield rows.seen(key)
        elif not is_tree and path.suffix in HDF5:
            yield stack.enter_context(open_hdf5(path, key, setting, whole))
        elif not is_tree and path.suffix not in PARQUET and not is_text(path):
            yield stack.enter_context(open_array(path, key, setting))
        elif not is_tree and not path.is_file():
            raise UserError(f"{path}: no such file")
        elif event_text.is_event_text(path):
            yield event_text.column(path, key, setting)
        elif is_tree and not is_glob(key):
            yield stack.enter_context(open_branch(str(path), key, setting))
        elif path.suffix in PARQUET and not is_glob(key):
            yield stack.enter_context(open_list(path, key, setting))
        else:
            columns = stack.enter_context(open_columns(path))
            names = chosen(key, columns.names)
            if not names:
                raise no_column(str(path), key, columns.names, setting)
            if path.suffix in PARQUET:
                yield stack.enter_context(open_beside(path, key, names))
            elif isinstance(columns, Csv):
                yield _of_csv(columns, path, key, names)
            else:
                values = columns.read(names, ())
                yield np.stack([values[n] for n in names], -1) if is_glob(key) else values[key]


def _of_csv(columns: Csv, path: Path, key: str, names: Sequence[str]) -> Column:
    """A column (N,), or all of a glob (N, n)."""

    def blocks(row: int) -> Blocks:
        for start, part in columns.blocks(names, row=row):
            values = np.stack([part[name] for name in names], -1)
            yield start, values if is_glob(key) else values[:, 0]

    return Column(Stored(str(path), key, len(columns), blocks))


def _is_key(path: Path, text: str) -> bool:
    """Whether the file has an array of exactly this name."""
    if path.suffix not in SUFFIXES or path.suffix == ".npy" or not path.is_file():
        return False
    if file_of(str(path))[1] is not None:
        return False
    with checks.reading(path, text), opened(path) as file:
        return text in file


def from_one_hot(values: np.ndarray, path: Path, field: str, first: int = 0) -> np.ndarray:
    """The column (N,) int64 that holds the 1, of (N, n) numbers or truth values.

    Args:
        first: number of the first row, for messages.

    Raises:
        UserError: a row without a single 1, or with anything but 0 and 1.
    """
    odd = (values.sum(axis=1, dtype=float) != 1) | ~np.isin(values, (0, 1)).all(axis=1)
    if odd.any():
        row = int(np.argmax(odd))
        raise UserError(
            f"{path}: {field}: expected one 1 and else 0 in each row, a column a class, found "
            f"{', '.join(f'{value:g}' for value in values[row].astype(float))} at row {first + row}"
        )
    return values.argmax(axis=1)
