"""Events of slots: blocks of several collections, one below the other, each cut to its hardest.

1*(MET,=0,METphi); 10*(j_pt,j_eta,j_phi); 4*(e-_pt,e-_eta,e-_phi)

is (N, 15, 3): the slot says what an object is.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.data.hardest import Hardest
from jaxad.data.links import Objects
from jaxad.data.places import open_places
from jaxad.errors import UserError

_BLOCK = re.compile(r"\s*([1-9]\d*)\s*\*\s*\((.+)\)\s*")


def is_slots(text: str) -> bool:
    """Whether `data.x_key` is written so."""
    return bool(_BLOCK.fullmatch(text.split(";")[0]))


@contextlib.contextmanager
def open_slots(path: Path, text: str, objects: Objects | None) -> Iterator[Any]:
    """The events (N, slots, c) of a file.

    Raises:
        UserError: what cannot be read so; as `jaxad.data.places.open_places`.
    """
    with contextlib.ExitStack() as stack:
        blocks = []
        for item in text.split(";"):
            found = _BLOCK.fullmatch(item)
            if not found:
                raise UserError(
                    f"data.x_key: expected 4*(pt,eta,phi) and more of it, separated by semicolons, "
                    f"found {item.strip()!r}"
                )
            x = stack.enter_context(open_places(path, found[2], "data.x_key", objects))
            blocks.append((int(found[1]), x, found[2]))
        yield _Slots(blocks, path)


class _Slots:
    """Blocks (N, n_i, c) one below the other.

    Attributes:
        cut: (k,) bool, of which of the events read last objects are left out.
    """

    def __init__(self, blocks: list[tuple[int, Any, str]], path: Path):
        self._blocks = []
        first = blocks[0][1].shape
        for n, x, text in blocks:
            if len(x.shape) not in (2, 3) or (len(x), x.shape[-1]) != (first[0], first[-1]):
                raise UserError(
                    f"{path}: {text}: data.x_key: expected {first[0]} events and {first[-1]} "
                    f"numbers an object, as in the first block, found shape {tuple(x.shape)}"
                )
            self._blocks.append(Hardest(_One(x) if len(x.shape) == 2 else x, n))
        self.shape = (first[0], sum(n for n, *_ in blocks), first[-1])
        self.dtype = np.result_type(*(x.dtype for _, x, _ in blocks))

    @property
    def cut(self) -> np.ndarray:
        return np.any([block.cut for block in self._blocks], axis=0)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.concatenate([block[rows] for block in self._blocks], axis=1)


class _One:
    """One object an event, (N, c) as (N, 1, c)."""

    def __init__(self, x: Any):
        self._x, self.shape, self.dtype = x, (len(x), 1, x.shape[1]), x.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.asarray(self._x[rows])[:, None]
