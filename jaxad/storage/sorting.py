"""Numbers in rising order, in memory or on disk, in the memory of a block of them."""

from collections.abc import Iterator

import numpy as np

from jaxad.storage import on_disk

PER_RUN = 4
"""Samples of a sorted block for each such block: parts that are merged hold a quarter more rows
than a block at most, beside those of equal numbers."""


def together(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arrays (n,) in the rising order of the first, which is stable, beside them.

    Those on disk are sorted block by block, and the blocks merged; there is no NaN among them.
    """
    folder, n = on_disk.folder_of(*arrays), len(arrays[0])
    step = min(on_disk.BLOCK_ROWS, *map(on_disk.rows_at_once, arrays))
    if folder is None or n <= step:
        return _sorted(*arrays)
    runs, found = ([on_disk.empty((n,), a.dtype, folder) for a in arrays] for _ in range(2))
    start = 0
    for block in on_disk.blocks(*arrays):
        _put(runs, _sorted(*block), start)
        start += len(block[0])
    start = 0
    for part in _merged(runs, step):
        _put(found, part, start)
        start += len(part[0])
    return tuple(found)


def are_rising(array: np.ndarray) -> bool:
    """Whether numbers (n,), of which there is one at least, stand in rising order."""
    last = array[0]
    for (block,) in on_disk.blocks(array):
        if block[0] < last or (block[1:] < block[:-1]).any():
            return False
        last = block[-1]
    return True


def places(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers (n,) in rising order, and the place of each row in it (n,), beside them."""
    numbered = on_disk.numbered(len(array), on_disk.folder_of(array))
    values, order = together(array, numbered)
    return values, together(order, numbered)[1]


def _sorted(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    if len(arrays) == 1:
        return (np.sort(np.asarray(arrays[0])),)
    order = np.argsort(np.asarray(arrays[0]), kind="stable")
    return tuple(np.asarray(array)[order] for array in arrays)


def _put(places: list[np.ndarray], values: tuple[np.ndarray, ...], start: int) -> None:
    for place, one in zip(places, values, strict=True):
        place[start : start + len(one)] = one
        on_disk.release(place)


def _merged(runs: list[np.ndarray], step: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Rows of sorted blocks of `step` rows in the order of all, part by part."""
    n = len(runs[0])
    starts = range(0, n, step)
    done = [*starts]
    for border in _borders(runs[0], starts, step):
        for side in ("left", "right"):
            ends = []
            for first, start in zip(done, starts, strict=True):
                run = runs[0][first : min(start + step, n)]
                ends.append(first + int(np.searchsorted(run, border, side)))
                on_disk.release(runs[0])
            pieces = [slice(*ends) for ends in zip(done, ends, strict=True)]
            done = ends
            if side == "left":
                parts = (np.concatenate([run[piece] for piece in pieces]) for run in runs)
                yield _sorted(*parts)
            else:  # of one number, as many as there may be
                yield from (tuple(np.asarray(run[piece]) for run in runs) for piece in pieces)
            for run in runs:
                on_disk.release(run)


def _borders(run: np.ndarray, starts: range, step: int) -> np.ndarray:
    """Some of the numbers, rising, the largest last, between which there are about `step` rows."""
    every, samples = max(1, step // (PER_RUN * len(starts))), []
    for start in starts:
        block = run[start : start + step]
        samples.append(np.append(block[every - 1 :: every], block[-1:]))
        on_disk.release(run)
    samples = np.sort(np.concatenate(samples))
    return np.unique(np.append(samples[:: max(1, step // every)], samples[-1:]))
