"""Events of one file: things with a length that give their rows slice by slice, in order.

Every reader opens a file of its layout as such a thing, for training and for scoring alike. ROOT
files hold one branch a column, read through uproot, which is optional and imported only here.
"""

import contextlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxad.data import checks
from jaxad.data.array_files import opened, stored_array
from jaxad.errors import UserError


class Events(Protocol):
    """Raw events of one file."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Any:
        """Raw events (n, *shape): NumPy, or awkward for particles of a ROOT file."""


class _ZippedArray:
    """An array of an npz file, unpacked from its beginning to its end."""

    def __init__(self, stream: zipfile.ZipExtFile, shape: tuple[int, ...], dtype: np.dtype):
        self.shape, self.dtype = shape, dtype
        self._stream, self._start = stream, stream.tell()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        size = self.dtype.itemsize * int(np.prod(self.shape[1:]))
        self._stream.seek(self._start + start * size)
        values = np.frombuffer(self._stream.read((stop - start) * size), self.dtype)
        return values.reshape(stop - start, *self.shape[1:])


@contextlib.contextmanager
def open_array(path: Path, key: str) -> Iterator[Any]:
    """The array `key` of an HDF5, npz or npy file, sliceable; npz files are streamed.

    Raises:
        UserError: no such file or array, a damaged file, or what is no array of numbers.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with contextlib.ExitStack() as stack:
        with checks.reading(path, key):
            array = _zipped(path, key, stack) if path.suffix == ".npz" else None
            if array is None:
                array = stored_array(stack.enter_context(opened(path)), key, path)
        yield array


def _zipped(path: Path, key: str, stack: contextlib.ExitStack) -> _ZippedArray | None:
    """The array as a stream; None where it has to be read whole, or is refused there."""
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        stream = stack.enter_context(archive.open(f"{key}.npy"))
        version = np.lib.format.read_magic(stream)
        read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, fortran, dtype = read(stream)
    except (KeyError, ValueError, AttributeError, zipfile.BadZipFile):
        return None
    plain = not fortran and dtype.kind in "fiub" and bool(shape)
    return _ZippedArray(stream, shape, dtype) if plain else None


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


def file_of(path: str) -> tuple[Path, str | None]:
    """The file of "FILE" or "FILE.root[:TREE]", and the tree, "" for any; None of other files.

    Examples:
        >>> file_of("jets.root:Events/jets")[1], file_of("jets.root")[1], file_of("a.rooted.h5")[1]
        ('Events/jets', '', None)
    """
    match = re.fullmatch(r"(.+?\.root)(?::(.*))?", path)
    return (Path(match[1]), match[2] or "") if match else (Path(path), None)


@contextlib.contextmanager
def open_tree(path: str, branches: Mapping[str, str]) -> Iterator[Events]:
    """The events of "FILE.root[:TREE]", one branch a column.

    Args:
        branches: column -> branch, in the order of the columns; pt, eta, phi or E, px, py, pz
            [GeV] for particles.

    Raises:
        UserError: uproot is missing, no such file, tree or branch, or a damaged one.
    """
    try:
        import awkward  # noqa: F401
        import uproot
    except ImportError:
        raise UserError(f"{path}: ROOT files need uproot: pip install 'jaxad[root]'") from None
    file_name, tree_name = file_of(path)
    if not branches:
        raise UserError(f"{path}: name the branches, such as --branches pt=Jet_pt,eta=Jet_eta,...")
    if not file_name.is_file():
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
