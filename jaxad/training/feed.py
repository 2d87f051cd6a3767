"""Rows on their way to the device: whole, or block by block from disk, in every epoch's order."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxad.data.dataset import Rows, n_rows
from jaxad.storage import on_disk
from jaxad.training import streams
from jaxad.training.step import Block, Programs, make_batches
from jaxad.training.streams import Purpose


class Order(NamedTuple):
    """Which rows each member sees, one after another.

    Attributes:
        n: how many.
        members: how many there are.
        index: (members, n) numbers of rows; None: all, of every member.
        places: of each member (n,) places in its rows, perhaps on disk; () as they are.
    """

    n: int
    members: int
    index: np.ndarray | None = None
    places: tuple[np.ndarray, ...] = ()

    def between(self, start: int, stop: int) -> np.ndarray:
        """Numbers of rows (members, stop - start) int32."""
        here = [place[start:stop] for place in self.places]
        places = np.stack(here or [np.arange(start, stop)] * self.members)
        for place in self.places:
            on_disk.release(place)
        if self.index is None:
            return places.astype(np.int32)
        return np.take_along_axis(self.index, places.astype(np.int64), axis=1)


def order_of(index: np.ndarray | None, rows: Rows, members: int) -> Order:
    """The rows of `index` (members, n), or all, as they are."""
    if index is None:
        return Order(n_rows(rows), members)
    index = np.asarray(index, np.int32)
    return Order(index.shape[1], members, index)


def shuffled(
    order: Order, seeds: Sequence[int], stage: str, epoch: int, folder: Path | None = None
) -> Order:
    """Each member's rows in this epoch's order, which lies on the disk of a folder."""
    drawn = (streams.generator(seed, Purpose.ORDER, stage, epoch) for seed in seeds)
    places = [on_disk.shuffle(on_disk.numbered(order.n, folder), one) for one in drawn]
    return order._replace(places=tuple(places))


def feed(
    run: Programs, rows: Rows, size: int, width: int
) -> Callable[[Order], Callable[[int], Block]]:
    """Function of an epoch's order -> function step -> the block that holds it.

    Rows in memory are placed on the device once, and an epoch is one block. Of rows on disk a
    block is read when it is asked for, in their order there; all blocks have one shape.

    Args:
        size: rows of a batch.
        width: the same with padding.
    """
    if not on_disk.folder_of(*rows.values()):
        data = run.place(rows, "replicated")

        def whole_epoch(order: Order) -> Callable[[int], Block]:
            index, weight = make_batches(order.between(0, order.n), size, width)
            block = Block(data, run.place(index, "index"), run.place(weight, "weight"), 0)
            return lambda step: block

        return whole_epoch

    def from_disk(order: Order) -> Callable[[int], Block]:
        steps, row_bytes = -(-order.n // size), sum(values[:1].nbytes for values in rows.values())
        at_once = min(on_disk.BLOCK_ROWS, on_disk.BLOCK_BYTES // row_bytes)
        length = int(np.clip(at_once // (order.members * width), 1, steps))
        capacity = min(order.members * length * width, n_rows(rows))

        def looked_up(values: np.ndarray, needed: np.ndarray) -> np.ndarray:
            found = np.zeros((capacity, *values.shape[1:]), values.dtype)
            for part in on_disk.windows(values, needed):
                found[part] = values[needed[part]]
            return found

        def filled(values: np.ndarray, axis: int) -> np.ndarray:
            missing = length - values.shape[axis]
            return np.pad(values, [(0, missing * (i == axis)) for i in range(values.ndim)])

        def block(step: int) -> Block:
            first = step // length * length
            here = order.between(first * size, min((first + length) * size, order.n))
            index, weight = make_batches(here, size, width)
            needed, local = np.unique(index, return_inverse=True)
            local = local.astype(np.int32).reshape(index.shape)
            data = {name: looked_up(values, needed) for name, values in rows.items()}
            return Block(
                run.place(data, "replicated"),
                run.place(filled(local, axis=1), "index"),
                run.place(filled(weight, axis=0), "weight"),
                first,
            )

        return block

    return from_disk
