"""Rows on their way to the device: whole, or block by block from disk, in every epoch's order."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxad.data.dataset import Rows, n_rows
from jaxad.storage import on_disk
from jaxad.training import streams
from jaxad.training.step import Block, Programs
from jaxad.training.streams import Purpose


def shuffled(members: np.ndarray, seeds: Sequence[int], stage: str, epoch: int) -> np.ndarray:
    """Each member's rows (members, n) in this epoch's order."""
    drawn = (streams.generator(seed, Purpose.ORDER, stage, epoch) for seed in seeds)
    order = np.stack([generator.permutation(members.shape[1]) for generator in drawn])
    return np.take_along_axis(members, order, axis=1)


def feed(run: Programs, rows: Rows) -> Callable[[np.ndarray, np.ndarray], Callable]:
    """Function (index, weight) of an epoch's batches -> function step -> the block that holds it.

    Rows in memory are placed on the device once, and an epoch is one block. Of rows on disk a
    block is read when it is asked for, in their order there; all blocks have one shape.
    """
    if not on_disk.folder_of(*rows.values()):
        data = run.place(rows, "replicated")

        def whole_epoch(index: np.ndarray, weight: np.ndarray) -> Callable[[int], Block]:
            block = Block(data, run.place(index, "index"), run.place(weight, "weight"), 0)
            return lambda step: block

        return whole_epoch

    def from_disk(index: np.ndarray, weight: np.ndarray) -> Callable[[int], Block]:
        members, steps, width = index.shape
        row_bytes = sum(values[:1].nbytes for values in rows.values())
        length = int(np.clip(on_disk.BLOCK_BYTES // (members * width * row_bytes), 1, steps))
        capacity = min(members * length * width, n_rows(rows))

        def filled(values: np.ndarray, n: int, axis: int = 0) -> np.ndarray:
            missing = [(0, n - size if i == axis else 0) for i, size in enumerate(values.shape)]
            return np.pad(values, missing)

        def block(step: int) -> Block:
            first = step // length * length
            here = slice(first, first + length)
            needed, local = np.unique(index[:, here], return_inverse=True)
            local = local.astype(np.int32).reshape(index[:, here].shape)
            return Block(
                run.place({k: filled(a[needed], capacity) for k, a in rows.items()}, "replicated"),
                run.place(filled(local, length, axis=1), "index"),
                run.place(filled(weight[here], length), "weight"),
                first,
            )

        return block

    return from_disk
