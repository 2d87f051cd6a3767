"""Branches of ROOT trees, columns of Parquet files: numbers, or zero-padded lists of any length.

They are read block by block, from the first row on, so that a file of any size takes the memory of
a block: some 20,000 rows, but at least a basket of a tree, a cluster of an RNTuple. Rows that are
asked for in their order are read once.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxad.data import checks
from jaxad.data.expression import Lists
from jaxad.data.kinds import require_kind
from jaxad.data.parquet_rows import lists_of, reading_parquet
from jaxad.data.rows import file_of, opened_tree, reading_root
from jaxad.data.whole import missing
from jaxad.errors import UserError

PARQUET = (".parquet", ".pq")
AT_ONCE = 20_000
"""Rows of a block."""
BUFFER = 1 << 16
"""Bytes of a Parquet file that are read at once."""

Blocks = Iterator[tuple[int, np.ndarray | Lists]]
"""First row of each block, and its rows."""

_longest: dict[tuple, int] = {}


class Stored(NamedTuple):
    """A column or branch of a file.

    Attributes:
        file: as the user has it, and `name`: for messages.
        n: number of rows.
        blocks: row -> the blocks from the one that holds it on.
        counts: the same of the lengths of lists, where these can be read alone.
    """

    file: str
    name: str
    n: int
    blocks: Callable[[int], Blocks]
    counts: Callable[[int], Blocks] | None = None


class Column:
    """Numbers (N, ...) or lists (N, M), zeros after the end of each, M the longest of all.

    Attributes:
        nested: whether it holds lists.
        shape, dtype: as of a NumPy array; the shape of lists is looked for in all of the file once.
    """

    def __init__(self, stored: Stored):
        self._stored = stored
        self._ahead = stored.blocks(0)
        self._block: tuple[int, np.ndarray | Lists] = next(self._ahead)
        first = self._block[1]
        self.nested = isinstance(first, Lists)
        self.dtype = first.values.dtype if self.nested else first.dtype
        self._shape = () if self.nested else first.shape[1:]

    def __len__(self) -> int:
        return self._stored.n

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), self.longest) if self.nested else (len(self), *self._shape)

    @property
    def longest(self) -> int:
        """The length of the longest list, 1 at least."""
        path = file_of(self._stored.file)[0]
        status = path.stat()
        key = (self._stored.file, self._stored.name, status.st_size, status.st_mtime_ns)
        if key not in _longest:
            lengths = self._stored.counts or self._stored.blocks
            found = (b.counts if isinstance(b, Lists) else b for _, b in lengths(0))
            _longest[key] = max((int(counts.max(initial=1)) for counts in found), default=1)
        return _longest[key]

    def read(self, start: int, stop: int) -> np.ndarray | Lists:
        """The rows from `start` to `stop`, lists as they are."""
        pieces: list[np.ndarray | Lists] = []
        while start < stop:
            first, block = self._at(start)
            low, high = start - first, min(stop - first, _length(block))
            pieces.append(_cut(block, low, high))
            start = first + high
        if not pieces:
            return _cut(self._block[1], 0, 0)
        if not self.nested:
            return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        return Lists(*map(np.concatenate, zip(*pieces, strict=True)))

    def _at(self, row: int) -> tuple[int, np.ndarray | Lists]:
        """The block that holds a row: this one, one that follows, or else read anew."""
        if row < self._block[0]:
            self._ahead = self._stored.blocks(row)
            self._block = next(self._ahead)
        while row >= self._block[0] + _length(self._block[1]):
            found = next(self._ahead, None)
            if found is None:
                rows = self._block[0] + _length(self._block[1])
                raise missing(
                    self._stored.file,
                    self._stored.name,
                    len(self),
                    [(rows, len(self))],
                    "the file says that it has them",
                )
            self._block = found
        return self._block

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        stop = max(start, stop)
        if not self.nested and stop - start <= AT_ONCE:
            return self.read(start, stop)
        shape = (self.longest,) if self.nested else self._shape
        values = np.empty((stop - start, *shape), self.dtype)
        for first in range(start, stop, AT_ONCE):
            last = min(first + AT_ONCE, stop)
            part = self.read(first, last)
            values[first - start : last - start] = padded(part, *shape) if self.nested else part
        return values


def padded(lists: Lists, width: int) -> np.ndarray:
    """Lists as an array (n, width), zeros after the end of each."""
    values = np.zeros((len(lists.counts), width), lists.values.dtype)
    values[np.arange(width) < lists.counts[:, None]] = lists.values
    return values


def _length(block: np.ndarray | Lists) -> int:
    return len(block.counts) if isinstance(block, Lists) else len(block)


def _cut(block: np.ndarray | Lists, low: int, high: int) -> np.ndarray | Lists:
    if not isinstance(block, Lists):
        return block[low:high]
    if low == 0 and high == len(block.counts):
        return block
    before = int(block.counts[:low].sum())
    counts = block.counts[low:high]
    return Lists(counts, block.values[before : before + int(counts.sum())])


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
        if chosen[-1] + AT_ONCE <= border < n:
            chosen.append(border)
    edges = np.array([*chosen, n])

    def blocks(row: int) -> Blocks:
        first = min(int(np.searchsorted(edges, row, side="right")) - 1, len(edges) - 2)
        for start, stop in zip(edges[first:-1], edges[first + 1 :], strict=True):
            with reading_root(f"{file}: {name}"):
                values = branch.array(entry_start=int(start), entry_stop=int(stop), library="ak")
            if len(values) < stop - start:
                raise missing(file, name, n, [(int(start) + len(values), n)], "the tree has them")
            yield int(start), _numbers(values, file, name)

    return blocks


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """A Parquet file that is read page by page."""
    if path.is_file():
        require_kind(path, "a Parquet file")
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{path}: Parquet files need pyarrow: pip install 'jaxad[parquet]'"
        ) from None
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with contextlib.ExitStack() as stack:
        with reading_parquet(path):
            opened = parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)
            file = stack.enter_context(opened)
        yield file


def names_of_columns(path: Path) -> list[str]:
    """The columns of a Parquet file.

    Raises:
        UserError: as `open_list`.
    """
    with _parquet(path) as file:
        return [str(name) for name in file.schema_arrow.names]


@contextlib.contextmanager
def open_list(path: Path, name: str, setting: str = "") -> Iterator[Column]:
    """A column of a Parquet file.

    Raises:
        UserError: as `ParquetRows`; no such column, or one of other things than numbers.
    """
    with _parquet(path) as file:
        with reading_parquet(path):
            names = [str(field) for field in file.schema_arrow.names]
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        if name not in names:
            raise absent(str(path), "column", name, names, setting)
        ends = np.cumsum([0, *sizes])

        def blocks(row: int) -> Blocks:
            first = min(max(int(np.searchsorted(ends, row, side="right")) - 1, 0), len(sizes))
            groups, start = list(range(first, len(sizes))), int(ends[first])
            with reading_parquet(path):
                batches = file.iter_batches(AT_ONCE, row_groups=groups, columns=[name])
            empty = True
            while True:
                with reading_parquet(path):
                    batch = next(batches, None)
                if batch is None:
                    break
                empty = False
                yield start, _column_of(batch, file.schema_arrow.field(name).type, path, name)
                start += batch.num_rows
            if empty:
                none = file.schema_arrow.empty_table().select([name])
                yield start, _column_of(none, file.schema_arrow.field(name).type, path, name)

        yield Column(Stored(str(path), name, int(ends[-1]), blocks))


def _column_of(batch: Any, kind: Any, path: Path, name: str) -> np.ndarray | Lists:
    counts, values = lists_of(batch.column(0), path, name)
    return Lists(counts, values) if kind.num_fields else values


def absent(file: str, kind: str, name: str, found: list[str], setting: str) -> UserError:
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
