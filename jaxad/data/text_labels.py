"""Labels that are texts: "QCD", b"top"."""

import contextlib
from pathlib import Path

import h5py
import numpy as np

from jaxad.data import checks, event_text
from jaxad.data.array_files import opened
from jaxad.data.jagged import PARQUET
from jaxad.data.parquet_rows import ParquetRows
from jaxad.data.rows import file_of
from jaxad.errors import UserError


def texts_of(path: Path, key: str) -> np.ndarray | None:
    """The texts (N,) of an array or column; None where it holds something else, or is none."""
    if file_of(str(path))[1] is not None or not path.is_file() or path.suffix == ".npy":
        return None
    if event_text.is_event_text(path):
        return event_text.column(path, key) if key == "process" else None
    if path.suffix in PARQUET:
        with contextlib.ExitStack() as stack:
            return ParquetRows([path], stack).texts(key)
    if path.suffix not in (".h5", ".hdf5", ".npz"):
        return None
    with checks.reading(path, key), opened(path) as file:
        stored = None
        with contextlib.suppress(ValueError):  # of npz: objects, which are refused as numbers
            stored = file.get(key)
        if isinstance(stored, h5py.Dataset):
            if h5py.check_string_dtype(stored.dtype) is None:
                return None
            stored = stored.asstr()[()]
        if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "SUO":
            return None
        values = stored.reshape(len(stored))
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values])


def numbers(texts: np.ndarray, names: str, path: Path, key: str, n_events: int) -> np.ndarray:
    """The place (N,) int64 of each text in "QCD,top".

    Raises:
        UserError: another number of texts, no names, or a text that is none of them.
    """
    found, index = np.unique(texts, return_inverse=True)
    known = [name.strip() for name in names.split(",") if name.strip()]
    odd = [name for name in found if name not in known]
    if odd or len(texts) != n_events:
        listed = ", ".join(map(repr, map(str, (odd or found)[:5])))
        raise UserError(
            f"{path}: {key}: expected the label of each of {n_events} events, one of "
            f"data.label_names={names}, found {listed} ({len(texts)} texts)"
            if known
            else f"{path}: {key}: labels are texts, {listed}: set data.label_names="
            f"{','.join(map(str, found[:5]))}, whose labels are 0, 1, ..."
        )
    return np.array([known.index(name) for name in found])[index]
