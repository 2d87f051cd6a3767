"""Branches of ROOT trees, columns of Parquet files: numbers, or zero-padded lists of any length.

Each is read whole each time that its file is opened: 20 MB of 100,000 jets of 50 particles.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.data import checks
from jaxad.data.lists import Jagged
from jaxad.data.parquet_rows import ParquetRows
from jaxad.data.rows import opened_tree, reading_root
from jaxad.data.whole import missing
from jaxad.errors import UserError

PARQUET = (".parquet", ".pq")


@contextlib.contextmanager
def open_branch(file: str, name: str, setting: str = "") -> Iterator[np.ndarray | Jagged]:
    """A branch of "FILE.root[:TREE]".

    Args:
        setting: that names it, for messages.

    Raises:
        UserError: as `jaxad.data.rows.opened_tree`; no such branch, or one of other things than
            numbers; events that are missing.
    """
    with opened_tree(file) as tree:
        with reading_root(file):
            found, n = [str(key) for key in tree.keys()], int(tree.num_entries)  # noqa: SIM118
        if name not in found:
            raise absent(file, "branch", name, found, setting)
        with reading_root(f"{file}: {name}"):
            values = tree[name].array(library="ak")
        if len(values) < n:
            raise missing(file, name, n, [(len(values), n)], "the tree has them")
        yield _numbers(values, file, name)


@contextlib.contextmanager
def open_list(path: Path, name: str, setting: str = "") -> Iterator[np.ndarray | Jagged]:
    """A column of a Parquet file.

    Raises:
        UserError: as `ParquetRows`; no such column, or one of other things than numbers.
    """
    with contextlib.ExitStack() as stack:
        rows = ParquetRows([path], stack)
        if name not in rows.names:
            raise absent(str(path), "column", name, rows.names, setting)
        counts, values = rows.lists([name], 0, len(rows))[name]
        yield Jagged(counts, values) if rows.is_nested(name) else values


def absent(file: str, kind: str, name: str, found: list[str], setting: str) -> UserError:
    """The error for a file without a branch or column: what it has instead."""
    listed = ", ".join(found[:20]) + (" ..." if len(found) > 20 else "")
    mend = f"; set {setting} to some of these" if setting else ""
    near = checks.nearest(name, found)
    return UserError(f"{file}: no {kind} {name!r}; found {listed or 'none'}{near}{mend}")


def _numbers(values: Any, file: str, name: str) -> np.ndarray | Jagged:
    import awkward as ak

    if values.ndim == 2 and not values.layout.is_regular:
        flat = ak.flatten(values)
        if flat.layout.is_numpy and flat.layout.dtype.kind in "fiub":
            return Jagged(ak.to_numpy(ak.num(values)), ak.to_numpy(flat))
    elif values.layout.is_numpy or values.layout.is_regular:
        with contextlib.suppress(ValueError, TypeError):
            plain = ak.to_numpy(values)
            if plain.dtype.kind in "fiub":
                return plain
    raise UserError(
        f"{file}: {name}: expected numbers, or lists of numbers, an event, found {values.type}"
    )
