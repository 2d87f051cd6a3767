"""Products kept between runs, each under a key of every setting that made it.

An entry is one HDF5 file with the settings as JSON in an attribute, written to a temporary name and
renamed, so that a killed run leaves no half entry; its arrays carry checksums (Fletcher-32), so
that a damaged one is found when it is read, reported, and made again.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np

from jaxad.errors import DAMAGED, UserError
from jaxad.storage.atomic import replacing
from jaxad.storage.paths import expanded

ENVIRONMENT = "JAXAD_CACHE"
UNFINISHED = re.compile(r"\.(\w+-)?[0-9a-f]{16}(\.cut)?\.(h5|npy)\.(?P<process>\d+)\.tmp")
"""Temporary names of entries, see `jaxad.storage.atomic.replacing`."""
LEFT_AFTER = 3600.0  # seconds without a change: what another machine writes changes all the time


def root(folder: str = "") -> Path:
    """The cache folder, created: the one given, else $JAXAD_CACHE, else ./cache.

    Raises:
      UserError: it cannot be made or written to.
    """
    path = expanded(folder or os.environ.get(ENVIRONMENT) or "cache")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{path}: the cache folder cannot be written ({error.strerror}); "
            f"set data.cache or ${ENVIRONMENT} to a folder of yours"
        ) from None
    remove_orphans(path)
    return path


def remove_orphans(folder: Path) -> None:
    """Removes unfinished entries that killed processes left in a folder of the cache.

    Those alone that nothing has changed for an hour, and whose process is not there.
    """
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            name = UNFINISHED.fullmatch(path.name)
            if name is None or _is_there(int(name["process"])) or path.is_symlink():
                continue
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > LEFT_AFTER and path.is_file():
                    path.unlink()


def _is_there(process: int) -> bool:
    """Whether a process of this number runs, anybody's."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def disk(config: Mapping) -> Path | None:
    """The cache folder of a section `data` whose events lie on disk; None: in memory.

    Raises:
      UserError: as `root`.
    """
    return root(config["cache"]) if config.get("on_disk") else None


def key(settings: Mapping) -> str:
    """Short digest of JSON-able settings; the order of the keys does not matter."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cached(
    folder: Path,
    name: str,
    settings: Mapping,
    make: Callable[[], Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """The arrays of `make()`, from the entry of these settings if there is one.

    Args:
      folder: the cache, as from `root`.
      name: what the product is ("images"), the first part of the file's name.
      settings: every setting that decides the arrays, JSON-able.
      make: makes the arrays; called when there is no sound entry.

    Raises:
      UserError: the disk is full or the folder cannot be written.
    """
    path = Path(folder) / f"{name}-{key(settings)}.h5"
    if path.exists():
        try:
            return _read(path)
        except DAMAGED as error:
            print(f"{path}: damaged cache entry ({error}): made again", file=sys.stderr)
    arrays = dict(make())
    _write(path, arrays, settings)
    return arrays


def _read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: array[()] for name, array in file.items()}


def _write(path: Path, arrays: Mapping[str, np.ndarray], settings: Mapping) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        n_bytes = sum(np.asarray(array).nbytes for array in arrays.values())
        with (
            replacing(path, n_bytes, shared=True) as temporary,
            h5py.File(temporary, "w", libver="latest") as file,
        ):
            file.attrs["settings"] = json.dumps(settings, sort_keys=True)
            for name, array in arrays.items():
                checked = {"fletcher32": True} if np.size(array) and np.ndim(array) else {}
                file.create_dataset(name, data=array, **checked)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free some space or set data.cache "
            f"or ${ENVIRONMENT} to another folder"
        ) from None
