"""Lists of numbers of any length, an event a list, in memory."""

import numpy as np

from jaxad.data.expression import Lists
from jaxad.data.jagged import padded


class Jagged:
    """Lists of numbers as an array (N, M), zeros after the end of each, M the longest of all.

    Attributes:
        counts: (N,) how many numbers each list has.
        values: all numbers, list after list.
        shape, dtype: as of a NumPy array.
        longest: M.
    """

    nested = True

    def __init__(self, counts: np.ndarray, values: np.ndarray):
        self.counts, self.values = counts, values
        self.longest = int(counts.max(initial=1))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self.shape, self.dtype = (len(counts), self.longest), values.dtype

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        stop = max(start, stop)
        return padded(self.read(start, stop), self.longest)

    def read(self, start: int, stop: int) -> Lists:
        """The rows from `start` to `stop`, as they are."""
        values = self.values[self._starts[start] : self._starts[stop]]
        return Lists(self.counts[start:stop], values)
