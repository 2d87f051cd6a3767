"""Branches of ROOT trees, columns of Parquet files: numbers or lists, read block by block."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxad.data import checks, lists
from jaxad.data.lists import Blocks, Column, Lists, Stored
from jaxad.data.parquet_rows import (
    fields_in,
    is_nested,
    lists_of,
    names_of,
    opened_parquet,
    plain,
    reading_parquet,
)
from jaxad.data.rows import opened_tree, reading_root
from jaxad.data.whole import missing
from jaxad.errors import UserError

PARQUET = (".parquet", ".pq")
BUFFER = 1 << 16
"""Bytes of a Parquet file that are read at once."""
LARGE = 1_000_000
"""Rows of a Parquet group, of more of which a reader tells."""


@contextlib.contextmanager
def open_branch(file: str, name: str, setting: str = "") -> Iterator[Column]:
    """A branch of "FILE.root[:TREE]".

    Args:
        setting: that names it, for messages.

    Raises:
        UserError: as `jaxad.data.rows.opened_tree`; no such branch, or one of other things than
            numbers; events that are missing.
    """
    with opened_tree(file) as tree:
        with reading_root(file):
            found, n = [str(key) for key in tree.keys()], int(tree.num_entries)  # noqa: SIM118
        if name not in found:
            raise absent(file, "branch", name, found, setting)
        with reading_root(f"{file}: {name}"):
            branch = tree[name]
            stored = int(getattr(branch, "num_entries", n))
            count = getattr(branch, "count_branch", None)
        if stored < n:
            raise missing(file, name, n, [(stored, n)], "the tree has them")
        counts = None if count is None else _baskets(tree, count, n, file, name)
        yield Column(Stored(file, name, n, _baskets(tree, branch, n, file, name), counts))


def _baskets(tree: Any, branch: Any, n: int, file: str, name: str) -> Callable[[int], Blocks]:
    """Blocks of a branch whose borders are those of its baskets, or of the tree's clusters."""
    with reading_root(f"{file}: {name}"):
        if hasattr(branch, "entry_offsets"):
            borders = [int(border) for border in branch.entry_offsets]
        else:
            borders = [int(one.num_first_entry) for one in tree.cluster_summaries]
    chosen = [0]
    for border in borders:
        if chosen[-1] + lists.AT_ONCE <= border < n:
            chosen.append(border)
    edges = np.array([*chosen, n])

    def blocks(row: int) -> Blocks:
        first = int(np.searchsorted(edges[1:-1], row, side="right"))
        for start, stop in zip(edges[first:-1], edges[first + 1 :], strict=True):
            with reading_root(f"{file}: {name}"):
                values = branch.array(entry_start=int(start), entry_stop=int(stop), library="ak")
            if len(values) < stop - start:
                raise missing(file, name, n, [(int(start) + len(values), n)], "the tree has them")
            yield int(start), _numbers(values, file, name)

    return blocks


@contextlib.contextmanager
def open_list(path: Path, name: str, setting: str = "") -> Iterator[Column]:
    """A column of a Parquet file, or COLUMN.FIELD of one of records or of lists of them.

    Raises:
        UserError: as `jaxad.data.parquet_rows.opened_parquet`; no such column, or one of other
            things than numbers.
    """
    with opened_parquet(path, pre_buffer=False, buffer_size=BUFFER) as file:
        with reading_parquet(path):
            names, is_whole = names_of(file), name in file.schema_arrow.names
            column, _, field = (name, "", "") if is_whole else name.rpartition(".")
            stored = fields_in(file, column)
        if not is_whole and field not in stored:
            raise absent(str(path), "column", name, names, setting)
        nested = is_nested(file.schema_arrow.field(column).type)

        def values_of(batch: Any) -> np.ndarray | Lists:
            found = lists_of(batch.column(0), path, name, field)
            return found if nested else found.values

        yield Column(_groups(file, path, name, [stored.get(field, name)], values_of))


def vlen_column(stored: h5py.Dataset, path: Path, name: str, field: str = "") -> Column:
    """Lists of any length of an HDF5 dataset (N,), or a field of lists of records."""

    def blocks(row: int) -> Blocks:
        for start in range(row - row % lists.AT_ONCE, max(len(stored), 1), lists.AT_ONCE):
            with checks.reading(path, name):
                rows = stored[start : start + lists.AT_ONCE]
            kind = h5py.check_vlen_dtype(stored.dtype)
            counts = np.fromiter(map(len, rows), int, len(rows))
            values = np.concatenate([np.zeros(0, kind), *rows])
            yield start, Lists(counts, values[field] if field else values)

    return Column(Stored(str(path), name, len(stored), blocks))


@contextlib.contextmanager
def open_beside(path: Path, pattern: str, names: Sequence[str]) -> Iterator[Column]:
    """Columns (N, n) of one number an event, NaN where a float has no value, of a Parquet file.

    Args:
        pattern: that `names` fit, for messages.

    Raises:
        UserError: as `open_list`.
    """

    def values_of(batch: Any) -> np.ndarray:
        columns = []
        for name, column in zip(names, batch.columns, strict=True):
            values = plain(column)
            if column.null_count and not types.is_floating(column.type):
                raise UserError(f"{path}: {name}: {column.null_count:,} rows have no value")
            if values.dtype.kind not in "fiub":
                raise UserError(f"{path}: {name}: expected numbers, found {column.type}")
            columns.append(values)
        return np.stack(columns, -1)

    with opened_parquet(path, pre_buffer=False, buffer_size=BUFFER) as file:
        from pyarrow import types

        yield Column(_groups(file, path, pattern, names, values_of))


def _groups(
    file: Any, path: Path, name: str, columns: Sequence[str], values_of: Callable[[Any], Any]
) -> Stored:
    """Columns of a Parquet file, from any group of rows on in batches of these."""
    with reading_parquet(path):
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    ends = np.cumsum([0, *sizes])
    if max(sizes, default=0) > LARGE:
        _tell_of_groups(path, max(sizes))

    def blocks(row: int) -> Blocks:
        first = int(np.searchsorted(ends[1:-1], row, side="right"))
        groups, start = list(range(first, len(sizes))), int(ends[first])
        with reading_parquet(path):
            batches = file.iter_batches(lists.AT_ONCE, row_groups=groups, columns=list(columns))
        empty = True
        while True:
            with reading_parquet(path):
                batch = next(batches, None)
            if batch is None:
                break
            empty = False
            yield start, values_of(batch)
            start += batch.num_rows
        if empty:
            known = file.schema_arrow.names
            whole = [c if c in known else c.partition(".")[0] for c in columns]
            yield start, values_of(file.schema_arrow.empty_table().select(whole))

    return Stored(str(path), name, int(ends[-1]), blocks)


@functools.cache
def _tell_of_groups(path: Path, n: int) -> None:
    print(
        f"warning: {path}: a row group of {n:,} rows, which takes more memory and time to read: "
        "write groups of 100,000",
        file=sys.stderr,
    )


def absent(file: str, kind: str, name: str, found: Sequence[str], setting: str) -> UserError:
    """The error for a file without a branch or column: what it has instead."""
    listed = ", ".join(found[:20]) + (" ..." if len(found) > 20 else "")
    mend = f"; set {setting} to some of these" if setting else ""
    near = checks.nearest(name, found)
    return UserError(f"{file}: no {kind} {name!r}; found {listed or 'none'}{near}{mend}")


def _numbers(values: Any, file: str, name: str) -> np.ndarray | Lists:
    import awkward as ak

    if values.ndim == 2 and not values.layout.is_regular:
        flat = ak.flatten(values)
        if flat.layout.is_numpy and flat.layout.dtype.kind in "fiub":
            return Lists(ak.to_numpy(ak.num(values)), ak.to_numpy(flat))
    elif values.layout.is_numpy or values.layout.is_regular:
        with contextlib.suppress(ValueError, TypeError):
            plain = ak.to_numpy(values)
            if plain.dtype.kind in "fiub":
                return plain
    raise UserError(
        f"{file}: {name}: expected numbers, or lists of numbers, an event, found {values.type}"
    )
