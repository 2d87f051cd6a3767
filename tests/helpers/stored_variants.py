"""How a sample can be stored: types, orders in memory, containers, files in parts, names, paths."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
from hypothesis import strategies as st

FLOATS = {"f4": "<f4", "f8": "<f8", "big-endian f4": ">f4", "big-endian f8": ">f8"}
HALVES = {"f2": "<f2", "big-endian f2": ">f2"}
WHOLE = {"u1": "u1", "i4": "<i4", "i8": "<i8", "big-endian i2": ">i2"}
LABELS = {"i8": "<i8", "i4": "<i4", "f4": "<f4", "big-endian i2": ">i2"}
ORDERS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "steps": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
}
ARRAYS = ("npz", "deflated npz", "npy", "h5", "hdf5")
HDF5 = {
    "contiguous": {},
    "chunks": {"chunks": True},
    "gzip": {"compression": "gzip"},
    "gzip, shuffle": {"compression": "gzip", "shuffle": True},
    "lzf": {"compression": "lzf"},
    "checksums": {"fletcher32": True},
    "growing": {"growing": True},
    "soft link": {"link": True},
}
STEMS = (
    *("a", "a b", "[a]", "a[1]", "~a", "é☃", "a.root", "a.root.1", "my.root.d/a", "a:b"),
    *("{a}", "a=b", "100%", "$HOME", "#1", "'a'"),
)
WAYS = ("absolute", "relative", "./", "../", "~/", "link", "link to folder")


class Variants:
    """Draws one value of each axis, and remembers which."""

    def __init__(self, draw: Any):
        self._draw, self.chosen = draw, {}

    def pick(self, axis: str, values: Sequence | Mapping) -> Any:
        """One of the values, of a mapping by its name; the first is the plainest."""
        name = self._draw(st.sampled_from(list(values)), label=axis)
        self.chosen[axis] = str(name)
        return values[name] if isinstance(values, Mapping) else name

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self._draw(st.integers(0, 99), label="seed"))

    def typed(self, x: np.ndarray, types: Mapping[str, str]) -> np.ndarray:
        """x in one of the types, and in some order in memory."""
        return self.pick("memory", ORDERS)(x.astype(self.pick("type", types)))


class Place:
    """Files of one sample somewhere below a folder, and how a user names them.

    Attributes:
        paths: of the files, which do not exist yet.
        files: the same, as the user gives them in the folder that `at_home` goes to.
        source: of all files: the only one, or a glob.
    """

    def __init__(self, v: Variants, folder: Path, suffix: str, parts: Sequence[int] = (1, 2, 3)):
        stem, way = v.pick("name", STEMS), v.pick("path", WAYS)
        numbers = range(v.pick("parts", parts))
        self.paths = [folder / f"{stem}{number or ''}.{suffix}" for number in numbers]
        self.paths[0].parent.mkdir(parents=True, exist_ok=True)
        self.files = [said(path, folder, way) for path in self.paths]
        glob = f"{self.paths[0].parent}/*.{suffix}"
        self.source = self.files[0] if len(numbers) == 1 else glob

    def split(self, n: int) -> list[slice]:
        """The rows of each file, of n."""
        edges = np.linspace(0, n, len(self.paths) + 1).astype(int)
        return [slice(low, high) for low, high in itertools.pairwise(edges)]


def said(path: Path, folder: Path, way: str) -> str:
    """`path`, below `folder`, in one of the `WAYS`."""
    inside = path.relative_to(folder)
    if way == "link":
        link = folder / "links" / path.name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(path)
        return str(link)
    if way == "link to folder":
        link = folder.with_name(f"link to {folder.name}")
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
        return str(link / inside)
    before = {"absolute": f"{folder}/", "relative": "", "../": f"../{folder.name}/"}
    return before.get(way, way) + str(inside)


@contextmanager
def at_home(folder: Path) -> Iterator[None]:
    """In `folder`, which is also the user's home."""
    with chdir(folder), patch.dict(os.environ, HOME=str(folder)):
        yield


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], compression: str) -> None:
    """One npz, npy (of the first array) or HDF5 file, the latter stored as one of `HDF5`."""
    if path.suffix == ".npy":
        np.save(path, next(iter(arrays.values())))
    elif path.suffix == ".npz":
        (np.savez_compressed if compression == "deflated" else np.savez)(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for key, values in arrays.items():
                _dataset(file, key, values, dict(HDF5[compression]))


def _dataset(file: h5py.File, key: str, x: np.ndarray, options: dict[str, Any]) -> None:
    if options.pop("link", False):
        file[f"hidden/{key}"] = x
        file[key] = h5py.SoftLink(f"/hidden/{key}")
    elif options.pop("growing", False):
        file.create_dataset(key, (1, *x.shape[1:]), x.dtype, maxshape=(None, *x.shape[1:]))
        file[key].resize(len(x), axis=0)
        file[key][:] = x
    else:
        file.create_dataset(key, data=x, **options)


def container(v: Variants, kinds: Sequence[str] = ARRAYS, of: str = "") -> tuple[str, str]:
    """(suffix, compression) for `write_arrays`; `of` stands before the names of the axes."""
    kind = v.pick(f"{of}container", kinds)
    if kind in ("h5", "hdf5"):
        return kind, v.pick(f"{of}compression", tuple(HDF5))
    return kind.split()[-1], kind.split()[0]
