"""Figures of many numbers, in memory or on disk, in the memory of a block of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jaxad.storage import on_disk


def count(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> int:
    """For how many rows of the arrays `function` of their blocks is true."""
    return sum(int(np.count_nonzero(function(*block))) for block in on_disk.blocks(*arrays))


def counts(values: np.ndarray) -> dict[float, int]:
    """How often each number stands in (n,), by rising number."""
    found: Counter[float] = Counter()
    for (block,) in on_disk.blocks(values):
        pairs = np.unique(block, return_counts=True)
        found.update(dict(zip(*(array.tolist() for array in pairs), strict=True)))
    return dict(sorted(found.items()))


def total(values: np.ndarray, function: Callable[[np.ndarray], np.ndarray] = np.asarray) -> float:
    """The sum of numbers (n,), or of what `function` makes of them, in double precision; the same
    bits wherever they are."""
    return float(sum(function(b).sum(dtype=np.float64) for (b,) in on_disk.blocks(values)))


def histogram(
    edges: np.ndarray,
    *arrays: np.ndarray,
    of: Callable[..., np.ndarray] = np.asarray,
    weights: Callable[..., np.ndarray | None] = lambda *_: None,
) -> np.ndarray:
    """Counts (K,) in bins of edges (K + 1,) of the numbers that `of` makes of blocks of arrays, or
    the sums of what `weights` makes of them."""
    return sum(
        np.histogram(of(*block), edges, weights=weights(*block))[0]
        for block in on_disk.blocks(*arrays)
    )


def thinned(values: np.ndarray, most: int) -> np.ndarray:
    """Every k-th of the rows (n, ...), in memory: all of them, or at most so many."""
    step, parts, start = max(1, -(-len(values) // most)), [], 0
    for (block,) in on_disk.blocks(values):
        parts.append(np.array(block[-start % step :: step]))
        start += len(block)
    return np.concatenate(parts)


def are_constant(parts: Sequence[np.ndarray]) -> bool:
    """Whether all of the numbers (n,) of some arrays are alike."""
    first = next((values[0] for values in parts if len(values)), None)
    return not any(count(lambda block: block != first, values) for values in parts)


def median(values: np.ndarray) -> float:
    """np.median of finite numbers (n,) float32, exactly."""
    if on_disk.folder_of(values) is None:
        return float(np.median(values))
    n = len(values)
    low, high = (_ranked(values, rank) for rank in ((n - 1) // 2, n // 2))
    return float(np.mean([low, high], dtype=np.float32))


def _ranked(values: np.ndarray, rank: int) -> np.float32:
    """The number of which as many are smaller, from counts of the upper, then the lower 16 bits."""
    upper = np.zeros(1 << 16, np.int64)
    for (block,) in on_disk.blocks(values):
        upper += np.bincount(_ordered(block) >> np.uint32(16), minlength=1 << 16)
    first = int(np.searchsorted(np.cumsum(upper), rank, side="right"))
    lower = np.zeros(1 << 16, np.int64)
    for (block,) in on_disk.blocks(values):
        here = _ordered(block)
        here = here[here >> np.uint32(16) == first] & np.uint32(0xFFFF)
        lower += np.bincount(here, minlength=1 << 16)
    rank -= int(upper[:first].sum())
    word = np.uint32(first << 16 | int(np.searchsorted(np.cumsum(lower), rank, side="right")))
    sign = np.uint32(1 << 31)
    return (word ^ sign if word & sign else ~word).view(np.float32)


def _ordered(block: np.ndarray) -> np.ndarray:
    """The bits of float32 numbers as uint32 that sort as these do."""
    word = np.asarray(block, np.float32).view(np.uint32)
    return np.where(word >> np.uint32(31), ~word, word | np.uint32(1 << 31))


def unique(values: np.ndarray) -> np.ndarray:
    """np.unique of numbers (n,), beside them; on disk they are sorted there."""
    folder = on_disk.folder_of(values)
    if folder is None:
        return np.unique(values)
    found = on_disk.mapped(np.asarray, values)
    np.asarray(found).sort()

    def parts() -> Iterator[np.ndarray]:
        last = None
        for (block,) in on_disk.blocks(found):
            here = np.unique(block)
            yield here[1:] if last is not None and here[0] == last else here
            last = here[-1]

    return on_disk.joined(parts(), folder)


def among(values: np.ndarray, known: Sequence[np.ndarray]) -> np.ndarray:
    """Which of the numbers (n,) uint64 are among those of other arrays: bool, beside them."""
    folder = on_disk.folder_of(values, *known)
    if folder is None:
        return np.isin(values, np.concatenate([*known]))
    # Sorting them takes three times their size.
    n_parts = max(1, -(-24 * sum(map(len, known)) // on_disk.BLOCK_BYTES))
    found = on_disk.empty((len(values),), bool, folder)

    def of_part(array: np.ndarray, part: int) -> np.ndarray:
        """Which are of one part of all numbers; neighbours are of one."""
        return (array >> np.uint64(6)) % np.uint64(n_parts) == part

    for part in range(n_parts):
        others = [b[of_part(b, part)] for array in known for (b,) in on_disk.blocks(array)]
        others = np.unique(np.concatenate(others))
        for block, place in on_disk.blocks(values, found):
            here = of_part(block, part)
            mine = block[here]
            nearest = np.minimum(np.searchsorted(others, mine), max(len(others) - 1, 0))
            place[here] = others[nearest] == mine if len(others) else False
    return found
