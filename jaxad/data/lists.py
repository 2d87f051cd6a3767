"""Lists of numbers of any length, an event a list, and columns of files read block by block.

A file of any size takes the memory of a block: some 20,000 rows, but at least a basket of a tree, a
cluster of an RNTuple. Rows that are asked for in their order are read once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxad.data.rows import file_of
from jaxad.data.whole import missing
from jaxad.errors import UserError

AT_ONCE = 20_000
"""Rows of a block."""


class Lists(NamedTuple):
    """Lists of numbers: their lengths (n,), and the values of all, one after another (m,)."""

    counts: np.ndarray
    values: np.ndarray


Blocks = Iterator[tuple[int, np.ndarray | Lists]]
"""First row of each block, and its rows."""


class Stored(NamedTuple):
    """A column or branch of a file.

    Attributes:
        file: as the user has it, and `name`: for messages.
        n: number of rows.
        blocks: row -> the blocks from the one that holds it on, one at least.
        counts: the same of the lengths of lists, where these can be read alone.
        alike: what columns with lists of equal lengths have for a name; "": this one has its own.
    """

    file: str
    name: str
    n: int
    blocks: Callable[[int], Blocks]
    counts: Callable[[int], Blocks] | None = None
    alike: str = ""


class Sizes(NamedTuple):
    """What is known of the lists of a column once all of them were seen.

    Attributes:
        longest: the length of the longest list, 1 at least.
        rows, values: (k + 1,) rows, and values, before each of the k blocks, and in all.
    """

    longest: int
    rows: np.ndarray
    values: np.ndarray


_sizes: dict[tuple, Sizes] = {}


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
        return (len(self), self.sizes.longest) if self.nested else (len(self), *self._shape)

    @property
    def sizes(self) -> Sizes:
        """Of lists, how long they are."""
        status = file_of(self._stored.file)[0].stat()
        name = self._stored.alike or self._stored.name
        key = (self._stored.file, name, status.st_size, status.st_mtime_ns)
        if key not in _sizes:
            longest, rows, values = 1, [0], [0]
            for _, block in (self._stored.counts or self._stored.blocks)(0):
                counts = block.counts if isinstance(block, Lists) else block
                longest = max(longest, int(counts.max(initial=1)))
                rows.append(rows[-1] + len(counts))
                values.append(values[-1] + int(counts.sum()))
            _sizes[key] = Sizes(longest, np.array(rows), np.array(values))
        return _sizes[key]

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
        shape = (self.sizes.longest,) if self.nested else self._shape
        values = np.empty((stop - start, *shape), self.dtype)
        for first in range(start, stop, AT_ONCE):
            last = min(first + AT_ONCE, stop)
            part = self.read(first, last)
            values[first - start : last - start] = padded(part, *shape) if self.nested else part
        return values


def is_lists(array: Any) -> bool:
    """Whether what is opened is a column of lists."""
    return isinstance(array, Column) and array.nested


def padded(lists: Lists, width: int) -> np.ndarray:
    """Lists as an array (n, width), zeros after the end of each."""
    values = np.zeros((len(lists.counts), width), lists.values.dtype)
    values[np.arange(width) < lists.counts[:, None]] = lists.values
    return values


def entry(lists: Lists, place: int) -> tuple[np.ndarray, np.ndarray]:
    """The value (n,) at a place of each list, from 0 or from the end, and where there is one."""
    counts = lists.counts
    there = counts > place if place >= 0 else counts >= -place
    at = np.where(there, np.cumsum(counts) - counts + place + (place < 0) * counts, 0)
    none = np.zeros(len(counts), lists.values.dtype)
    return (lists.values[at] if len(lists.values) else none), there


def require_same(
    counts: np.ndarray, expected: np.ndarray, file: str | Path, key: str, name: str, start: int
) -> None:
    """Refuses lists of other lengths than those of `name` in one event: of two collections.

    Args:
        counts, expected: (n,) of the column `key`, and of `name`.
        start: number of the first event, for the message, as are file and names.

    Raises:
        UserError: some differ.
    """
    odd = counts != expected
    if odd.any():
        i = int(np.argmax(odd))
        raise UserError(
            f"{file}: {key}: expected as many values as in {name}, {expected[i]}, found "
            f"{counts[i]} at row {start + i}: name branches of one collection"
        )


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
