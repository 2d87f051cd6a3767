"""Events that stand in train and in test: of a file that was listed twice, or of mirrors."""

import sys

import numpy as np

from jaxad.data.dataset import Dataset
from jaxad.storage import on_disk

WIDTH = 4096
"""Values of an event that are compared, evenly spaced where there are more."""


def warn_of_duplicates(dataset: Dataset) -> None:
    """Tells how many test events are, value for value, also among those that train."""
    test, train = (_digests(rows["x"]) for rows in (dataset.test, dataset.train))
    train.sort()
    place = np.minimum(np.searchsorted(train, test), len(train) - 1)
    n = int(((train[place] == test) & (test != 0)).sum()) if len(train) else 0
    if n:
        print(
            f"warning: {dataset.info.get('source', 'data')}: {n:,} of {len(test):,} test events "
            "stand in the training part too, value for value: is a file there twice, or a mirror?",
            file=sys.stderr,
        )


def _digests(x: np.ndarray) -> np.ndarray:
    """A hash (N,) uint64 of each event; 0 of nothing but zeros."""
    width = int(np.prod(x.shape[1:]))
    stride = -(-width // WIDTH)
    rng = np.random.default_rng(0)
    factors = rng.integers(1, 2**63, -(-width // stride), dtype=np.uint64) | np.uint64(1)
    digests = np.empty(len(x), np.uint64)
    step = max(1, on_disk.rows_at_once(x) // 4)
    for start in range(0, len(x), step):
        rows = np.asarray(x[start : start + step]).reshape(-1, width)[:, ::stride] + np.float32(0)
        words = np.ascontiguousarray(rows, np.float32).view(np.uint32).astype(np.uint64)
        words ^= words >> np.uint64(15)
        words *= factors
        digests[start : start + len(rows)] = words.sum(axis=1, dtype=np.uint64)
        on_disk.release(x)
    return digests
