"""Named columns of a file of any kind: HDF5 (pandas or plain), npz, npy, CSV, Parquet, ROOT.

A column is one number an event. A two-dimensional array NAME (N, d) has the columns NAME[0] ...
NAME[d - 1]; an array of records the columns FIELD, or NAME/FIELD where two arrays have that field.
"""

import contextlib
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np

from jaxad.data import checks
from jaxad.data.array_files import header_of, opened, stored_array
from jaxad.data.csv_file import Csv
from jaxad.data.jagged import PARQUET
from jaxad.data.kinds import inner
from jaxad.data.pandas_table import PandasTable, is_frame
from jaxad.data.parquet_rows import opened_parquet, reading_parquet
from jaxad.data.rows import file_of, opened_tree, reading_root
from jaxad.errors import DAMAGED, UserError

HDF5 = (".h5", ".hdf5")
ARRAYS = (*HDF5, ".npz", ".npy")
SUFFIXES = (*ARRAYS, ".csv", *PARQUET, ".root")


class Columns(Protocol):
    """The columns of one file.

    Attributes:
        names: of all columns of numbers.
    """

    names: Sequence[str]

    def read(self, names: Sequence[str], whole: Collection[str]) -> dict[str, np.ndarray]:
        """The named columns, (N,) each, in the types of the file; `whole`: those of integers."""


@contextlib.contextmanager
def open_columns(file: str | Path) -> Iterator[Columns]:
    """The columns of a file, or of "FILE.root[:TREE]".

    Raises:
        UserError: no such file, another kind of file, a damaged one, or a package that is missing.
    """
    path, tree = file_of(str(file))
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with contextlib.ExitStack() as stack:
        if tree is not None:
            yield _Branches(stack.enter_context(opened_tree(str(file))), str(file))
        elif inner(path) == ".csv":
            yield Csv(path)
        elif path.suffix in PARQUET:
            yield _Parquet(path, stack.enter_context(opened_parquet(path)))
        elif is_frame(path):
            yield _Frame(stack.enter_context(PandasTable(path)))
        elif path.suffix in ARRAYS:
            yield _arrays(path, stack)
        else:
            raise UserError(f"{path}: expected a file of {', '.join(SUFFIXES)}")


def chosen(pattern: str, names: Sequence[str]) -> list[str]:
    """The names that a pattern means: itself, or with * and ? all that fit, in natural order.

    Examples:
        >>> chosen("tau*", ["tau10", "x", "tau2", "tau[1]"])
        ['tau2', 'tau10', 'tau[1]']
        >>> chosen("tau[1]", ["tau[1]", "tau1"])
        ['tau[1]']
    """
    if pattern in names:
        return [pattern]
    shape = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return sorted(filter(re.compile(shape).fullmatch, names), key=_natural)


def is_glob(key: str) -> bool:
    """Whether a pattern may mean several names."""
    return "*" in key or "?" in key


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts tau2 before tau10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]


def no_column(file: str, name: str, names: Sequence[str], setting: str) -> UserError:
    """The error for a file without a column."""
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    near = checks.nearest(name, names)
    return UserError(
        f"{file}: no column {name!r}; found {listed or 'none'}{near}; set {setting} to some of "
        "these"
    )


def require_column(values: np.ndarray, file: str, name: str) -> None:
    """Refuses what is not one number an event."""
    if values.dtype.kind not in "fiub" or values.ndim != 1:
        found = f"{values.dtype} {values.shape}" if values.dtype.kind != "O" else "other things"
        raise UserError(f"{file}: {name}: expected one number an event, found {found}")


def as_integers(values: np.ndarray, file: str, name: str, first: int = 0) -> np.ndarray:
    """Whole numbers (N,) int64, whatever type they are stored in.

    Args:
        first: number of the first row, for messages.

    Raises:
        UserError: other numbers, or so large ones in a type of floats that neighbours are one.
    """
    if values.dtype.kind in "iub":
        if values.dtype == np.uint64 and (values > np.uint64(2**63 - 1)).any():
            row = int(np.argmax(values > np.uint64(2**63 - 1)))
            raise UserError(
                f"{file}: {name}: {values[row]} at row {first + row}: expected below 2^63"
            )
        return values.astype(np.int64)
    if values.dtype.kind != "f":
        raise UserError(f"{file}: {name}: expected whole numbers, found texts: write numbers")
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(values) & (values == np.rint(values))
    if not whole.all():
        row = int(np.argmin(whole))
        raise UserError(
            f"{file}: {name}: expected whole numbers, found {values[row]:g} at row {first + row}"
        )
    exact = 2 ** (np.finfo(values.dtype).nmant + 1)
    if (np.abs(values) >= exact).any():
        row = int(np.argmax(np.abs(values) >= exact))
        raise UserError(
            f"{file}: {name}: {values[row]:.0f} at row {first + row}, stored as {values.dtype}, "
            "which cannot tell it from its neighbour: store this column as int64"
        )
    return values.astype(np.int64)


class _Frame:
    def __init__(self, table: PandasTable):
        self._table, self.names = table, table.columns

    def read(self, names: Sequence[str], whole: Collection[str]) -> dict[str, np.ndarray]:
        # One type at a time: what is common to int64 and float32 holds neither's values.
        types: dict[np.dtype, list[str]] = {}
        for name in names:
            types.setdefault(self._table.dtype_of(name), []).append(name)
        read = {}
        for dtype, same in types.items():
            read |= dict(zip(same, self._table.read(same, dtype=dtype).T, strict=True))
        return read


class _Place(NamedTuple):
    """Where a column stands: the key of an array, and its column or field."""

    key: str
    column: int | None = None
    field: str | None = None


class _Arrays:
    """Columns of arrays: HDF5 datasets, members of npz, an npy file."""

    def __init__(
        self,
        path: Path,
        shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]],
        stored: Callable[[str], Any],
    ):
        self._path, self._stored = path, stored
        fields = [field for _, dtype in shapes.values() for field in dtype.names or ()]
        self._places: dict[str, _Place] = {}
        for key, (shape, dtype) in shapes.items():
            if dtype.names and len(shape) == 1:
                require_apart(dtype, path, key)
                for field in dtype.names:
                    name = field if fields.count(field) == 1 and field not in shapes else ""
                    self._places[name or f"{key}/{field}"] = _Place(key, field=field)
            elif dtype.kind in "fiub" and len(shape) == 1:
                self._places[key] = _Place(key)
            elif dtype.kind in "fiub" and len(shape) == 2:
                for column in range(shape[1]):
                    self._places[f"{key}[{column}]"] = _Place(key, column)
                if shape[1] == 1:
                    self._places[key] = self._places.pop(f"{key}[0]")
        self.names = list(self._places)

    def read(self, names: Sequence[str], whole: Collection[str]) -> dict[str, np.ndarray]:
        read: dict[str, np.ndarray] = {}
        places = {name: self._places[name] for name in names}
        for key in dict.fromkeys(place.key for place in places.values()):
            with checks.reading(self._path, key):
                values = np.asarray(self._stored(key)[()])
            for name, place in places.items():
                if place.key != key:
                    continue
                column = values if place.field is None else values[place.field]
                if place.column is not None:
                    column = column[:, place.column]
                read[name] = column[:, 0] if column.ndim == 2 and place.field is None else column
        lengths = {name: len(read[name]) for name in names}
        if len(set(lengths.values())) > 1:
            odd = next(name for name in names if lengths[name] != lengths[names[0]])
            raise UserError(
                f"{self._path}: {odd}: expected {lengths[names[0]]:,} rows as in {names[0]}, "
                f"found {lengths[odd]:,}"
            )
        return read


def require_apart(dtype: np.dtype, path: Path, key: str) -> None:
    """Refuses records whose fields overlap: HDF5 would write beyond them."""
    end = 0
    for field, offset, *_ in sorted(dtype.fields.values(), key=lambda place: place[1]):
        if offset < end:
            raise UserError(
                f"{path}: {key}: records of overlapping fields; the file is damaged: download or "
                "copy it again"
            )
        end = offset + field.itemsize


def _arrays(path: Path, stack: contextlib.ExitStack) -> _Arrays:
    if path.suffix == ".npz":
        shapes = {}
        with checks.reading(path, "arrays"), zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with contextlib.suppress(*DAMAGED), archive.open(member) as stream:
                    shape, _, dtype = header_of(stream, path, name, member.file_size)
                    shapes[name] = shape, dtype
        file = stack.enter_context(opened(path))
        return _Arrays(path, shapes, lambda key: _of_records(file, key, path))
    file = stack.enter_context(opened(path))
    if path.suffix == ".npy":
        values = file[""]
        return _Arrays(path, {"x": (values.shape, values.dtype)}, lambda _: values)
    shapes = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            shapes[str(name)] = item.shape, item.dtype

    with checks.reading(path, "datasets"):
        file.visititems(note)
        for name in file:  # links, which are not visited
            if name not in shapes and isinstance(item := file.get(name), h5py.Dataset):
                note(name, item)
    return _Arrays(path, shapes, lambda key: checks.require(file, key))


def _of_records(file: Mapping, key: str, path: Path) -> np.ndarray:
    """An array of an npz file, also of records."""
    with checks.reading(path, key):
        values = file[key]
    return values if values.dtype.names else stored_array(file, key, path)


class _Parquet:
    def __init__(self, path: Path, file: Any):
        self._path, self._file = path, file
        names = file.schema_arrow.names
        self.names = [name for name in names if not name.startswith("__index_level")]

    def read(self, names: Sequence[str], whole: Collection[str]) -> dict[str, np.ndarray]:
        with reading_parquet(self._path):
            table = self._file.read(columns=list(dict.fromkeys(names)))
        read = {}
        for name in names:
            column = table.column(name)
            if name in whole and column.null_count:
                raise UserError(f"{self._path}: {name}: {column.null_count:,} rows have no value")
            if column.null_count and str(column.type).startswith(("int", "uint")):
                column = column.cast("float64", safe=False)
            read[name] = column.to_numpy()
        return read


class _Branches:
    """Branches of a ROOT tree that hold one number an event."""

    def __init__(self, tree: Any, file: str):
        self._tree, self._file = tree, file
        with reading_root(file):
            self.names = [str(name) for name in tree.keys()]  # noqa: SIM118 - no mapping

    def read(self, names: Sequence[str], whole: Collection[str]) -> dict[str, np.ndarray]:
        read = {}
        for name in names:
            with reading_root(f"{self._file}: {name}"):
                n, values = int(self._tree.num_entries), self._tree[name].array(library="np")
            read[name] = values = np.asarray(values)
            if len(values) < n:
                raise UserError(
                    f"{self._file}: {name}: expected {n:,} rows as in the tree, found "
                    f"{len(values):,}: write, copy or download the file again"
                )
        return read
