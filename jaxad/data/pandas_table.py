"""Reads the HDF5 files that pandas writes, both layouts, with h5py alone.

pandas stores a frame through PyTables: layout "table" as one compound dataset whose columns lie in
blocks (`values_block_0` ...), layout "fixed" as one matrix a block. Column names of "table" are
pickled lists in attributes, and PyTables would unpickle them, so that opening a file could run code
hidden in it: here the names are read out of the pickle's opcodes and nothing is executed. Blosc
compressed chunks (filter 32001, which h5py lacks) are decompressed one by one with blosc2.
"""

import itertools
import pickletools
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from jaxad.data.checks import open_hdf5, reading
from jaxad.data.whole import filters_of, require_filters, require_whole
from jaxad.errors import UserError

BLOSC = 32001
STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"}
NAME_OPCODES = STRINGS | {"INT", "LONG", "BININT", "BININT1", "BININT2"}
BLOCK_BYTES = 1 << 26  # memory of one block of rows in `PandasTable.blocks`


def frames_of(file: h5py.File) -> list[str]:
    """Names of the pandas frames of a file."""
    return [
        name
        for name, item in ((name, file.get(name)) for name in file)
        if isinstance(item, h5py.Group) and ("table" in item or "block0_values" in item)
    ]


def is_frame(path: Path) -> bool:
    """Whether a file is an HDF5 file with a pandas frame."""
    if path.suffix not in (".h5", ".hdf5"):
        return False
    with open_hdf5(path) as file, reading(path, "table"):
        return bool(frames_of(file))


class PandasTable:
    """One frame of a pandas HDF5 file, read by rows and columns.

    Args:
      path: the file.
      key: the frame's name; "" takes the only one.

    Attributes:
      columns: names, in the order of the file (integer names as text).
      n_rows: number of rows.

    Raises:
      UserError: a missing, truncated or foreign file, rows that were never written, a compression
        that cannot be undone, no frame, or more than one and no key.
    """

    def __init__(self, path: str | Path, key: str = ""):
        self.path = Path(path)
        self._file = open_hdf5(path)
        with reading(path, key or "table"):
            group = self._frame(key)
            places = _table_places if "table" in group else _fixed_places
            self._places = dict(places(group))
            if not self._places:
                raise UserError(f"{path}: {group.name}: not a pandas frame that can be read")
            self.n_rows = _checked_rows(group, {place[0] for place in self._places.values()})
        self.columns = list(self._places)

    def __enter__(self) -> "PandasTable":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def _frame(self, key: str) -> h5py.Group:
        frames = frames_of(self._file)
        if not key and len(frames) == 1:
            return self._file[frames[0]]
        if key in frames:
            return self._file[key]
        raise UserError(
            f"{self.path}: expected a pandas frame {repr(key) if key else 'as published'}, found "
            f"{', '.join(map(repr, frames or self._file)) or 'nothing'}: another layout is read "
            "with data.name=events"
        )

    def dtype_of(self, column: str) -> np.dtype:
        """Type of the numbers of a column."""
        dataset, field, _ = self._places[column]
        return (dataset.dtype[field] if field else dataset.dtype).base

    def require(self, columns: Sequence[str]) -> None:
        """Refuses a file that lacks some of the columns."""
        missing = [name for name in columns if name not in self._places]
        if missing:
            some = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
            raise UserError(
                f"{self.path}: {len(missing)} of {len(columns)} columns missing ({some}); found "
                f"{', '.join(self.columns[:5])}{' ...' if len(self.columns) > 5 else ''}"
            )

    def read(
        self,
        columns: Sequence[str],
        start: int = 0,
        stop: int | None = None,
        dtype: np.typing.DTypeLike = None,
    ) -> np.ndarray:
        """Rows start to stop of the columns, (rows, len(columns)), of `dtype` or the common one.

        Memory is that of the result and of one block of whole records.
        """
        self.require(columns)
        stop = self.n_rows if stop is None else min(stop, self.n_rows)
        pairs: dict[tuple[h5py.Dataset, str], list[tuple[int, int]]] = {}
        for target, name in enumerate(columns):
            dataset, field, column = self._places[name]
            pairs.setdefault((dataset, field), []).append((target, column))
        runs = {place: list(_runs(found)) for place, found in pairs.items()}
        stored = {dataset for dataset, _ in runs}
        dtypes = [self.dtype_of(name) for name in columns]
        with reading(self.path, "number of rows"):
            values = np.empty((stop - start, len(columns)), dtype or np.result_type(*dtypes))
        row_bytes = sum(d.dtype.itemsize * int(np.prod(d.shape[1:])) for d in stored)
        step = max(1, BLOCK_BYTES // row_bytes)
        for begin in range(start, stop, step):
            end = min(begin + step, stop)
            records = {dataset: _rows(dataset, begin, end, self.path) for dataset in stored}
            block = values[begin - start : end - start]
            for (dataset, field), stretches in runs.items():
                part = records[dataset][field] if field else records[dataset]
                part = part.reshape(end - begin, -1)
                for target, column, width in stretches:
                    with np.errstate(over="ignore"):  # readers refuse infinities
                        block[:, target : target + width] = part[:, column : column + width]
        return values

    def blocks(
        self, columns: Sequence[str], dtype: np.typing.DTypeLike = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, rows) of the whole frame in blocks of bounded memory."""
        self.require(columns)
        step = max(1, BLOCK_BYTES // (4 * len(columns)))
        for start in range(0, self.n_rows, step):
            yield start, self.read(columns, start, start + step, dtype)


def _checked_rows(group: h5py.Group, stored: set[h5py.Dataset]) -> int:
    """Number of rows of a frame, all of whose columns must have them, whole and readable."""
    axis = group.get("axis1")
    lengths = {dataset.name: len(dataset) for dataset in stored}
    if isinstance(axis, h5py.Dataset) and axis.ndim == 1:
        lengths[axis.name] = len(axis)
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{n:,} in {name}" for name, n in sorted(lengths.items()))
        raise UserError(
            f"{group.file.filename}: {group.name}: expected equally many rows in all blocks, found "
            f"{listed}: write, copy or download the file again"
        )
    for dataset in stored:
        if filters_of(dataset) != [BLOSC]:
            require_filters(dataset)
        require_whole(dataset)
    return next(iter(lengths.values()))


def _table_places(group: h5py.Group) -> Iterator[tuple[str, tuple[h5py.Dataset, str, int]]]:
    table = group["table"]
    for field in table.dtype.names or ():
        if field == "index":
            continue
        if not field.startswith("values_block_"):
            yield field, (table, field, 0)
            continue
        names = _names(table.attrs.get(f"{field}_kind"))
        width = int(np.prod(table.dtype[field].shape, dtype=int))
        if len(names) != width:
            raise UserError(
                f"{table.file.filename}: {table.name}: {field} has {width} columns "
                f"but {len(names)} names; write the frame again with pandas"
            )
        yield from ((name, (table, field, column)) for column, name in enumerate(names))


def _fixed_places(group: h5py.Group) -> Iterator[tuple[str, tuple[h5py.Dataset, str, int]]]:
    for number in itertools.count():
        if f"block{number}_values" not in group:
            return
        values, items = group[f"block{number}_values"], group[f"block{number}_items"]
        if values.dtype.kind not in "fiub":
            continue
        names = _rows(items, 0, len(items), group.file.filename)
        if values.ndim != 2 or values.shape[1] != len(names):
            raise UserError(
                f"{group.file.filename}: {values.name}: expected shape (N, {len(names)}), "
                f"found {values.shape}"
            )
        for column, name in enumerate(names):
            text = name.decode() if isinstance(name, bytes) else str(name)
            yield text, (values, "", column)


def _runs(pairs: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """(target, source, width) of the stretches of columns that lie side by side in both."""
    start = 0
    for end in range(1, len(pairs) + 1):
        here = pairs[end - 1]
        if end == len(pairs) or pairs[end] != (here[0] + 1, here[1] + 1):
            yield *pairs[start], end - start
            start = end


def _names(pickled: bytes | None) -> list[str]:
    """The strings of a pickled list of column names, in order, without unpickling it."""
    if pickled is None:
        return []
    try:
        return [
            str(argument)
            for opcode, argument, _ in pickletools.genops(bytes(pickled))
            if opcode.name in NAME_OPCODES
        ]
    except ValueError:
        return []


def _rows(dataset: h5py.Dataset, start: int, stop: int, path: str | Path) -> np.ndarray:
    """dataset[start:stop], blosc or not."""
    with reading(path, dataset.name):
        if filters_of(dataset) == [BLOSC] and not h5py.h5z.filter_avail(BLOSC):
            return _blosc_rows(dataset, start, stop)
        require_filters(dataset)
        return dataset[start:stop]


def _blosc_rows(dataset: h5py.Dataset, start: int, stop: int) -> np.ndarray:
    import blosc2  # takes as long to import as flax

    chunk = dataset.chunks
    item = np.dtype((np.void, dataset.dtype.itemsize))  # copied whole, faster than by field
    values = np.empty((stop - start, *dataset.shape[1:]), item)
    first = start - start % chunk[0]
    starts = [range(first, stop, chunk[0])]
    starts += [range(0, n, c) for n, c in zip(dataset.shape[1:], chunk[1:], strict=True)]
    for corner in itertools.product(*starts):
        skipped, raw = dataset.id.read_direct_chunk(corner)
        block = raw if skipped & 1 else blosc2.decompress(raw)
        block = np.frombuffer(block, item).reshape(chunk)
        low, high = max(corner[0], start), min(corner[0] + chunk[0], stop)
        rest = tuple(slice(c, c + size) for c, size in zip(corner[1:], chunk[1:], strict=True))
        target = values[(slice(low - start, high - start), *rest)]
        inside = tuple(slice(0, size) for size in target.shape[1:])
        target[...] = block[(slice(low - corner[0], high - corner[0]), *inside)]
    return values.view(dataset.dtype)
