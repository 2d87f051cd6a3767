"""Events of files larger than memory: things with a length that give their rows slice by slice.

HDF5, npy and npz files hold the array that a scorer takes, pandas files of published layouts one
number of it a column; ROOT files hold one branch a column, read through uproot, which is optional
and imported only here. Slices are asked for in order.
"""

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxad.data import checks, lhco, toptagging
from jaxad.data.array_files import opened, stored_array
from jaxad.data.pandas_table import PandasTable, frames_of
from jaxad.errors import UserError

FRAMES = {
    "published toptagging": (toptagging.MOMENTA, (toptagging.N_STORED, 4)),
    "published lhco": (lhco.JETS, (len(lhco.JETS),)),
}
"""Of the published pandas files: columns, and the shape of an event."""


class Events(Protocol):
    """Rows of one file."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Any:
        """Array of the rows: NumPy, or awkward for particles of a ROOT file."""


class _ZippedArray:
    """An array of an npz file, unpacked from its beginning to its end."""

    def __init__(self, stream: zipfile.ZipExtFile, path: Path, key: str):
        version = np.lib.format.read_magic(stream)
        read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        self.shape, fortran, self.dtype = read(stream)
        if fortran or self.dtype.kind not in "fiub" or not self.shape:
            found = f"{self.dtype} {self.shape}" + (" in Fortran order" if fortran else "")
            raise UserError(f"{path}: {key}: expected an array of numbers, found {found}")
        self._stream, self._start = stream, stream.tell()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        size = self.dtype.itemsize * int(np.prod(self.shape[1:]))
        self._stream.seek(self._start + start * size)
        values = np.frombuffer(self._stream.read((stop - start) * size), self.dtype)
        return values.reshape(stop - start, *self.shape[1:])


class _Frame:
    """Columns of a pandas frame as events of a shape."""

    def __init__(self, table: PandasTable, columns: list[str], shape: tuple[int, ...]):
        table.require(columns)
        self._table, self._columns, self._shape = table, columns, shape

    def __len__(self) -> int:
        return self._table.n_rows

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        values = self._table.read(self._columns, start, stop, np.float32)
        return values.reshape(stop - start, *self._shape)


class _Tree:
    """Branches of a ROOT tree: particles where they are jagged, else one column a branch."""

    def __init__(self, tree: Any, branches: Mapping[str, str], path: str):
        self._tree, self._branches, self._path = tree, branches, path
        self._n = int(tree.num_entries)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, rows: slice) -> Any:
        import awkward as ak

        start, stop, _ = rows.indices(len(self))
        try:
            columns = {
                name: self._tree[branch].array(entry_start=start, entry_stop=stop, library="ak")
                for name, branch in self._branches.items()
            }
        except Exception as error:
            raise _damaged(self._path, error) from None
        if any(column.ndim > 1 for column in columns.values()):
            return ak.zip(columns)
        return np.stack([ak.to_numpy(column) for column in columns.values()], axis=-1)


def _damaged(path: str, error: Exception) -> UserError:
    """For uproot, which raises whatever damaged bytes lead to."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(f"{path}: cannot be read as a ROOT file ({reason})")


@contextlib.contextmanager
def _tree(path: str, branches: Mapping[str, str]) -> Iterator[Events]:
    try:
        import awkward  # noqa: F401
        import uproot
    except ImportError:
        raise UserError(f"{path}: ROOT files need uproot: pip install 'jaxad[root]'") from None
    name, _, inner = path.partition(".root")
    file_name, tree_name = f"{name}.root", inner.removeprefix(":")
    if not branches:
        raise UserError(f"{path}: name the branches, such as --branches pt=Jet_pt,eta=Jet_eta,...")
    if not Path(file_name).is_file():
        raise UserError(f"{file_name}: no such file")
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(uproot.open(file_name))
            trees = file.keys(filter_classname=["TTree", "ROOT::RNTuple"], cycle=False)
            chosen = [tree for tree in trees if tree_name in ("", tree)]
            tree = file[chosen[0]] if len(chosen) == 1 else None
            found = [] if tree is None else tree.keys()
            missing = [name for name in branches.values() if tree is not None and name not in tree]
            events = None if tree is None else _Tree(tree, branches, path)
        except Exception as error:
            raise _damaged(path, error) from None
        if events is None:
            raise UserError(f"{path}: expected FILE.root:TREE, one of {', '.join(trees) or 'none'}")
        if missing:
            raise UserError(f"{path}: no branch {missing[0]!r}; found {', '.join(found[:20])}")
        yield events


@contextlib.contextmanager
def opened_events(path: str, key: str, branches: Mapping[str, str]) -> Iterator[Events]:
    """The events of a file: its array `key`, or of "FILE.root[:TREE]" the `branches`.

    Args:
        key: a key of `FRAMES` is the pandas frame of that layout, in other files the array "x".
        branches: column -> branch, in the order of the columns; pt, eta, phi or E, px, py, pz
            [GeV] for particles. ROOT files only.

    Raises:
        UserError: no such file, array, tree or branch, or a damaged one.
    """
    if ".root" in path:
        with _tree(path, branches) as events:
            yield events
        return
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{path}: no such file")
    frame, key = FRAMES.get(key), "x" if key in FRAMES else key
    with contextlib.ExitStack() as stack:
        with checks.reading(file, key):
            if file.suffix == ".npz":
                archive = stack.enter_context(zipfile.ZipFile(file))
                if f"{key}.npy" not in archive.namelist():
                    found = ", ".join(name.removesuffix(".npy") for name in archive.namelist())
                    raise UserError(f"{path}: no array {key!r}; found {found or 'none'}")
                stream = stack.enter_context(archive.open(f"{key}.npy"))
                events: Events = _ZippedArray(stream, file, key)
            else:
                content = stack.enter_context(opened(file))
                if frame and file.suffix != ".npy" and frames_of(content):
                    events = _Frame(stack.enter_context(PandasTable(file)), *frame)
                else:
                    events = stored_array(content, key, file)
        yield events
