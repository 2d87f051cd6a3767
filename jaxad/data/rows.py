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
from jaxad.data.array_files import header_of, opened, stored_array
from jaxad.data.kinds import require_kind
from jaxad.data.whole import missing
from jaxad.errors import UserError
from jaxad.storage.paths import expanded


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
def open_array(path: Path, key: str, setting: str = "") -> Iterator[Any]:
    """The array `key` of an HDF5, npz or npy file, sliceable; npz files are streamed.

    Args:
        setting: that names the key, for messages.

    Raises:
        UserError: no such file or array, a damaged file, missing rows, or no array of numbers.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with contextlib.ExitStack() as stack:
        with checks.reading(path, key):
            array = _zipped(path, key, stack) if path.suffix == ".npz" else None
            if array is None:
                array = stored_array(stack.enter_context(opened(path)), key, path, setting)
        yield array


def _zipped(path: Path, key: str, stack: contextlib.ExitStack) -> _ZippedArray | None:
    """The array as a stream; None where it has to be read whole, or is refused there."""
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        member = archive.getinfo(f"{key}.npy")
        stream = stack.enter_context(archive.open(member))
        shape, fortran, dtype = header_of(stream, path, key, member.file_size)
    except (KeyError, ValueError, zipfile.BadZipFile):
        return None
    plain = not fortran and dtype.kind in "fiub" and bool(shape)
    return _ZippedArray(stream, shape, dtype) if plain else None


class _Tree:
    """Branches of a ROOT tree: particles where they are jagged, else one column a branch."""

    def __init__(self, tree: Any, branches: Mapping[str, str], path: str):
        self._tree, self._branches, self._path = tree, branches, path
        self._n = int(tree.num_entries)
        for branch in branches.values():
            n = int(getattr(tree[branch], "num_entries", self._n))
            if n < self._n:
                raise missing(path, branch, self._n, [(n, self._n)], "other branches have them")

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, rows: slice) -> Any:
        import awkward as ak

        start, stop, _ = rows.indices(len(self))
        with reading_root(self._path):
            columns = {
                name: self._tree[branch].array(entry_start=start, entry_stop=stop, library="ak")
                for name, branch in self._branches.items()
            }
        jagged = [name for name, column in columns.items() if column.ndim > 1]
        if not jagged:
            return np.ma.stack([ak.to_numpy(column) for column in columns.values()], axis=-1)
        counts = {name: ak.to_numpy(ak.num(columns[name])) for name in jagged}
        for name in jagged[1:]:
            odd = counts[name] != counts[jagged[0]]
            if odd.any():
                row = int(np.argmax(odd))
                raise UserError(
                    f"{self._path}: {self._branches[name]}: expected as many values as in "
                    f"{self._branches[jagged[0]]}, {counts[jagged[0]][row]}, found "
                    f"{counts[name][row]} at row {start + row}: name branches of one collection"
                )
        return ak.zip(columns)


@contextlib.contextmanager
def reading_root(path: str) -> Iterator[None]:
    """Turns what uproot raises while it reads a file into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise _damaged(path, error) from None


def _damaged(path: str, error: Exception) -> UserError:
    """For uproot, which raises whatever damaged bytes lead to."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(f"{path}: cannot be read as a ROOT file ({reason})")


def file_of(path: str) -> tuple[Path, str | None]:
    """The file of "FILE" or "FILE:TREE", and the tree, "" for any; None of files that are not ROOT.

    A file that is there is ROOT by its first bytes, and a damaged or missing one by the end of its
    name.

    Examples:
        >>> file_of("jets.root:Events/jets")[1], file_of("jets.root")[1], file_of("x.root.h5")[1]
        ('Events/jets', '', None)
    """
    whole = expanded(path)
    if whole.is_file():
        return whole, "" if _is_root(whole) else None
    colons = [place for place, letter in enumerate(path) if letter == ":"]
    for place in reversed(colons):
        file = expanded(path[:place])
        if file.is_file() and _is_root(file):
            return file, path[place + 1 :]
    match = re.fullmatch(r"(.+?\.root)(?::(.*))?", path)
    return (expanded(match[1]), match[2] or "") if match else (whole, None)


def files_of(source: str, setting: str = "data.source") -> list[str]:
    """The files of a file name, folder or glob, sorted; of "FILE.root:TREE" each with its tree.

    Args:
        setting: that names them, for the message.

    Raises:
        UserError: there is none.
    """
    path, tree = file_of(source)
    found = checks.resolve(path if tree else source, setting=setting)
    return [f"{file}:{tree}" if tree else str(file) for file in found]


def _is_root(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            head = stream.read(4)
    except OSError:
        head = b""
    others = (checks.HDF5_MAGIC[:4], b"PK\x03\x04", b"\x93NUM")
    return head == b"root" or (file.suffix == ".root" and head not in others)


@contextlib.contextmanager
def opened_tree(path: str) -> Iterator[Any]:
    """The tree of "FILE.root[:TREE]", as uproot has it.

    Raises:
        UserError: uproot is missing, no such file or tree, or a damaged one.
    """
    file_name, tree_name = file_of(path)
    if not file_name.is_file():
        raise UserError(f"{file_name}: no such file")
    require_kind(file_name, "a ROOT file")
    try:
        import awkward  # noqa: F401
        import uproot
    except ImportError:
        raise UserError(f"{path}: ROOT files need uproot: pip install 'jaxad[root]'") from None
    with contextlib.ExitStack() as stack:
        with reading_root(path):
            # Without caches: what was read is not kept.
            opened = uproot.open(file_name, object_cache=None, array_cache=None)
            file = stack.enter_context(opened)
            trees = file.keys(filter_classname=["TTree", "ROOT::RNTuple"], cycle=False)
            chosen = [tree for tree in trees if tree_name in ("", tree)]
            tree = file[chosen[0]] if len(chosen) == 1 else None
        if tree is None:
            raise UserError(f"{path}: expected FILE.root:TREE, one of {', '.join(trees) or 'none'}")
        yield tree


@contextlib.contextmanager
def open_tree(path: str, branches: Mapping[str, str]) -> Iterator[Events]:
    """The events of "FILE.root[:TREE]", one branch a column.

    Args:
        branches: column -> branch, in the order of the columns; pt, eta, phi or E, px, py, pz
            [GeV] for particles.

    Raises:
        UserError: as `opened_tree`, or no such branch.
    """
    with contextlib.ExitStack() as stack:
        tree = stack.enter_context(opened_tree(path))
        if not branches:
            raise UserError(
                f"{path}: name the branches, such as --branches pt=Jet_pt,eta=Jet_eta,..."
            )
        with reading_root(path):
            found = tree.keys()
            absent = [name for name in branches.values() if name not in tree]
            events = None if absent else _Tree(tree, branches, path)
        if absent:
            near = checks.nearest(absent[0], found)
            raise UserError(f"{path}: no branch {absent[0]!r}; found {', '.join(found[:20])}{near}")
        yield events
