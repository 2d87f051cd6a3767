"""Particles of ROOT, Parquet and text files, padded, in the cache folder: one file for each.

They are made block by block, once, and taken again by the next run, and by one that goes on: an
entry is known by the file, its size and time, every setting that says what is read of it, and which
rows. It is written under another name and renamed, so that a killed run leaves whole ones, and what
it was at, which a later one removes.
"""

import contextlib
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.assembled import BESIDE
from jaxad.data.jagged import PARQUET
from jaxad.data.rows import file_of
from jaxad.data.text_file import is_text
from jaxad.errors import DAMAGED
from jaxad.storage import cache, on_disk
from jaxad.storage.atomic import replacing
from jaxad.storage.digest import digest

Empty = Callable[[tuple[int, ...], Any, Path | None], np.ndarray]
"""As `jaxad.storage.on_disk.empty`."""

COPIES = 3
"""The events of all files, joined, and cut into parts."""
FOLDER = "events"


class Events(Protocol):
    """Events of one file, whose `chosen` fills an array that `empty` makes.

    Attributes:
        cuts: whether it leaves particles out of events that have more than slots.
    """

    cuts: bool

    def chosen(
        self, index: np.ndarray, folder: Path | None, empty: Empty
    ) -> tuple[np.ndarray, int | None]: ...


def events(
    path: Path,
    config: ConfigDict,
    n_particles: int,
    index: np.ndarray,
    folder: Path | None,
    opened: Events,
) -> tuple[np.ndarray, int | None]:
    """The events `index` of a file, kept where they are of lists, on disk; and of how many of them
    particles are left out, None where all slots are kept.

    Args:
        path: of the file, with its tree.
        n_particles: slots for particles.
        index: rows of the file, sorted.
        folder: the cache; None: events are in memory.
        opened: the file.

    Raises:
        UserError: as `opened.chosen`; no room on the disk.
    """
    file, tree = file_of(str(path))
    if folder is None or (tree is None and file.suffix not in PARQUET and not is_text(file)):
        return opened.chosen(index, folder, on_disk.empty)
    entry = folder / FOLDER / f"{_key(file, tree, config, n_particles, index)}.npy"
    cut_entry = entry.with_suffix(".cut.npy")
    with contextlib.suppress(FileNotFoundError):
        try:
            x = np.load(entry, mmap_mode="r")
            return x, int(np.load(cut_entry).sum()) if opened.cuts else None
        except FileNotFoundError:
            raise
        except DAMAGED as error:
            print(f"{entry}: damaged cache entry ({error}): made again", file=sys.stderr)
    entry.parent.mkdir(exist_ok=True)
    cache.remove_orphans(entry.parent)
    with replacing(entry, shared=True) as temporary:

        def empty(shape: tuple[int, ...], dtype: Any, _: Path | None) -> np.ndarray:
            n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
            on_disk.require_free(folder, COPIES * n_bytes, f"the events of {path}")
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(shape)}
            with temporary.open("wb") as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                start = stream.tell()
                # A full disk is reported here: written through a mapping, it ends the process.
                getattr(os, "posix_fallocate", _extend)(stream.fileno(), start, n_bytes)
            return np.memmap(temporary, dtype, "r+", offset=start, shape=tuple(shape))

        x, n_cut = opened.chosen(index, folder, empty)
        x.flush()
        if opened.cuts:
            with replacing(cut_entry, shared=True) as beside, beside.open("wb") as stream:
                np.save(stream, n_cut)
    return np.load(entry, mmap_mode="r"), n_cut


def _extend(file: int, start: int, n_bytes: int) -> None:
    os.ftruncate(file, start + n_bytes)


def _key(
    file: Path, tree: str | None, config: ConfigDict, n_particles: int, index: np.ndarray
) -> str:
    status = file.stat()
    names = ("format", "x_key", "mass_key", "units", "objects", "links", *BESIDE)
    return cache.key(
        {
            "file": [str(file.resolve()), tree, status.st_size, status.st_mtime_ns],
            "settings": {name: config[name] for name in names},
            "n_particles": [n_particles, config.n_particles],
            "rows": digest({}, {"index": index}),
        }
    )
