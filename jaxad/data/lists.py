"""Lists of numbers of any length, an event a list, in memory."""

import numpy as np


class Jagged:
    """Lists of numbers as an array (N, M), zeros after the end of each, M the longest of all.

    Attributes:
        counts: (N,) how many numbers each list has.
        values: all numbers, list after list.
        shape, dtype: as of a NumPy array.
    """

    def __init__(self, counts: np.ndarray, values: np.ndarray):
        self.counts, self.values = counts, values
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self.shape, self.dtype = (len(counts), int(counts.max(initial=1))), values.dtype

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        stop = max(start, stop)
        padded = np.zeros((stop - start, self.shape[1]), self.dtype)
        there = np.arange(self.shape[1]) < self.counts[start:stop, None]
        padded[there] = self.values[self._starts[start] : self._starts[stop]]
        return padded
