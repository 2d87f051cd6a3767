"""Rows of Parquet files, slice by slice: numbers, and lists of numbers of any length.

Through pyarrow, which is optional and imported only where a file is opened.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.data.kinds import require_kind
from jaxad.data.lists import Lists
from jaxad.errors import UserError


@contextlib.contextmanager
def opened_parquet(path: Path, **options: Any) -> Iterator[Any]:
    """A file as pyarrow has it, with its options.

    Raises:
        UserError: pyarrow is missing, no such file, or a damaged one.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    require_kind(path, "a Parquet file")
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{path}: Parquet files need pyarrow: pip install 'jaxad[parquet]'"
        ) from None
    with contextlib.ExitStack() as stack:
        with reading_parquet(path):
            file = stack.enter_context(parquet.ParquetFile(path, **options))
        yield file


class ParquetRows:
    """The rows of several files with the same columns, one after another.

    Args:
        paths: the files, in order.
        stack: closes them.

    Raises:
        UserError: as `opened_parquet`.
    """

    def __init__(self, paths: Sequence[Path], stack: contextlib.ExitStack):
        self.paths, self._files = list(paths), []
        groups: list[tuple[int, int, int]] = []  # file, group of rows in it, its number of rows
        for number, path in enumerate(paths):
            file = stack.enter_context(opened_parquet(path))
            with reading_parquet(path):
                metadata = file.metadata
                sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            groups += [(number, group, size) for group, size in enumerate(sizes)]
            self._files.append(file)
        self._groups = groups
        self._ends = np.cumsum([0, *(size for *_, size in groups)])
        self.names = [str(name) for name in self._files[0].schema_arrow.names]
        self._last: tuple[Any, Any] = (None, None)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def texts(self, name: str) -> np.ndarray | None:
        """A column of texts (N,); None where it is of something else, or there is none.

        Raises:
            UserError: rows without a value, a damaged file.
        """
        from pyarrow import types

        if name not in self.names:
            return None
        kind = self._files[0].schema_arrow.field(name).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind)):
            return None
        found: list[Any] = []
        for path, file in zip(self.paths, self._files, strict=True):
            with reading_parquet(path):
                found += file.read(columns=[name]).column(name).to_pylist()
        if None in found:
            raise UserError(f"{self.paths[0]}: {name}: {found.count(None):,} rows have no value")
        return np.array([v.decode() if isinstance(v, bytes) else v for v in found])

    def rows_of(self, path: Path) -> range:
        """The rows that lie in one of the files."""
        number = self.paths.index(path)
        own = [i for i, (file, *_) in enumerate(self._groups) if file == number]
        return range(int(self._ends[own[0]]), int(self._ends[own[-1] + 1])) if own else range(0)

    def lists(self, names: Sequence[str], start: int, stop: int) -> dict[str, Lists]:
        """Columns of the rows from `start` to `stop`; a number is a list of one.

        Raises:
            UserError: no such column, one that holds no numbers or no value, a damaged file.
        """
        pieces: dict[str, list[Lists]] = {
            name: [Lists(np.zeros(0, int), np.zeros(0))] for name in names
        }
        first = int(np.searchsorted(self._ends, start, side="right")) - 1
        for group in range(first, len(self._groups)):
            low, high = self._ends[group : group + 2]
            if low >= stop:
                break
            table = self._table(group, tuple(names))
            chosen = table.slice(max(start - low, 0), min(stop, high) - max(start, low))
            path = self.paths[self._groups[group][0]]
            for name in names:
                pieces[name].append(lists_of(chosen.column(name), path, name))
        return {
            name: Lists(*map(np.concatenate, zip(*found[1:] or found, strict=True)))
            for name, found in pieces.items()
        }

    def _table(self, group: int, names: tuple[str, ...]) -> Any:
        """A group of rows; the one that was read last is kept."""
        if self._last[0] != (group, names):
            number, own, _ = self._groups[group]
            path = self.paths[number]
            missing = set(names) - set(self._files[number].schema_arrow.names)
            if missing:
                found = ", ".join(self._files[number].schema_arrow.names)
                raise UserError(f"{path}: no column {min(missing)!r}; found {found}")
            with reading_parquet(path):
                self._last = (group, names), self._files[number].read_row_group(own, list(names))
        return self._last[1]


@contextlib.contextmanager
def reading_parquet(path: Path) -> Iterator[None]:
    """For pyarrow, which raises whatever damaged bytes lead to."""
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read as a Parquet file ({reason})") from None


def is_nested(kind: Any) -> bool:
    """Whether a type of Arrow is one of lists."""
    from pyarrow import types

    return any(
        fits(kind) for fits in (types.is_list, types.is_large_list, types.is_fixed_size_list)
    )


def names_of(file: Any) -> list[str]:
    """The columns, and COLUMN.FIELD of those of records."""
    names = [str(name) for name in file.schema_arrow.names]
    names = [name for name in names if not name.startswith("__index_level")]
    return [*names, *(f"{name}.{field}" for name in names for field in fields_in(file, name))]


def fields_in(file: Any, name: str) -> dict[str, str]:
    """The fields of a column of records, or of lists of them -> where each stands in the file."""
    from pyarrow import types

    if name not in file.schema_arrow.names:
        return {}
    kind = file.schema_arrow.field(name).type
    kind = kind.value_type if is_nested(kind) else kind
    if not types.is_struct(kind):
        return {}
    paths = [file.schema.column(i).path for i in range(len(file.schema))]
    fields = [kind.field(i).name for i in range(kind.num_fields)]
    between = ("", *(f"list.{entry}." for entry in ("element", "item")), "array.", "bag.array.")
    return {
        field: path
        for field in fields
        for path in (f"{name}.{inner}{field}" for inner in between)
        if path in paths
    }


def lists_of(column: Any, path: Path, name: str, field: str = "") -> Lists:
    """Lengths and values of a column of Arrow; a number is a list of one.

    Args:
        field: of records, which of their numbers.

    Raises:
        UserError: what is no number, or a row without a value.
    """
    from pyarrow import compute, types

    nested = is_nested(column.type)
    values = compute.list_flatten(column) if nested else column
    if field:
        values = compute.struct_field(values, field)
    if empty := column.null_count + values.null_count:
        raise UserError(f"{path}: {name}: {empty:,} rows have no value")
    kind = values.type
    if types.is_struct(kind):
        fields = ", ".join(f"{name}.{kind.field(i).name}" for i in range(kind.num_fields))
        raise UserError(f"{path}: {name}: holds records: name their fields, {fields}")
    known = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    if len(values) and not known:
        raise UserError(f"{path}: {name}: expected numbers or lists of numbers, found {kind}")
    lengths = plain(compute.list_value_length(column)) if nested else np.ones(len(column), int)
    return Lists(lengths, plain(values) if known else np.zeros(0))


def plain(values: Any) -> np.ndarray:
    """NumPy's, of an array or a chunked one of Arrow."""
    chunked = hasattr(values, "chunks")
    return values.to_numpy() if chunked else values.to_numpy(zero_copy_only=False)
