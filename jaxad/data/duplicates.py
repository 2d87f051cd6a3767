"""Events that stand in train and in test: of a file that was listed twice, or of mirrors."""

import sys
from collections.abc import Iterator

import numpy as np

from jaxad.data.dataset import Dataset
from jaxad.storage import blockwise, on_disk

WIDTH = 4096
"""Values of an event that are compared, evenly spaced where there are more."""


def warn_of_duplicates(dataset: Dataset) -> None:
    """Tells how many test events are, value for value, also among those that train."""
    test, train = (
        on_disk.joined(_digests(rows["x"]), on_disk.folder_of(rows["x"]))
        for rows in (dataset.test, dataset.train)
    )
    both = blockwise.among(test, [train])
    if n := blockwise.count(lambda digest, known: known & (digest != 0), test, both):
        print(
            f"warning: {dataset.info.get('source', 'data')}: {n:,} of {len(test):,} test events "
            "stand in the training part too, value for value: is a file there twice, or a mirror?",
            file=sys.stderr,
        )


def _digests(x: np.ndarray) -> Iterator[np.ndarray]:
    """A hash (n,) uint64 of each event of blocks; 0 of nothing but zeros."""
    width = int(np.prod(x.shape[1:]))
    stride = -(-width // WIDTH)
    rng = np.random.default_rng(0)
    factors = rng.integers(1, 2**63, -(-width // stride), dtype=np.uint64) | np.uint64(1)
    step = min(on_disk.BLOCK_ROWS, max(1, on_disk.rows_at_once(x) // 4))
    for start in range(0, max(1, len(x)), step):
        rows = np.asarray(x[start : start + step]).reshape(-1, width)[:, ::stride] + np.float32(0)
        words = np.ascontiguousarray(rows, np.float32).view(np.uint32).astype(np.uint64)
        words ^= words >> np.uint64(15)
        words *= factors
        yield words.sum(axis=1, dtype=np.uint64)
        on_disk.release(x)
