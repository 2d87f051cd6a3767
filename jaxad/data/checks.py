"""What readers ask of files, each refusal one line: file, field, expected, found, the mend.

Nothing here repairs anything; nothing here loads a pickle.
"""

import contextlib
import glob
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from jaxad.data.dataset import first_not_finite
from jaxad.errors import DAMAGED, UserError

MAX_JET_PT = 14_000.0  # GeV: a median jet above this was written in MeV
MAX_RATIO = 100.0  # between the median pT of two classes of one data set
MAX_PHI = 4 * math.pi  # an angle may go round, but one beyond this is in degrees, or no angle


def resolve(source: str | Path, pattern: str = "*") -> list[Path]:
    """Files meant by a file name, a glob, or a folder (its files matching `pattern`), sorted."""
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            looked_for = path / pattern
            found = sorted(path.glob(pattern))
        else:
            looked_for = path
            found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
        found = [path for path in found if path.is_file()]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not found:
        raise UserError(f"{looked_for}: no such file; give data.source a file, a folder or a glob")
    return found


def open_hdf5(path: str | Path) -> h5py.File:
    """The open file, or a UserError for one that is missing, truncated or not HDF5."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not head:
        raise UserError(f"{path}: the file is empty; download or copy it again")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            size = path.stat().st_size
            raise UserError(
                f"{path}: truncated: only {size:,} bytes are here; download or copy it again"
            ) from None
        if head.lstrip()[:1] == b"<":
            found = "a web page"
        elif head.startswith(b"version https://git-lfs"):
            found = "a Git LFS pointer, not its content"
        else:
            found = f"a file that starts with {head[:8]!r}"
        raise UserError(f"{path}: expected an HDF5 file, found {found}") from None


@contextlib.contextmanager
def reading(path: str | Path, field: str) -> Iterator[None]:
    """Turns the errors of a damaged file, while its data are read, into a UserError."""
    try:
        yield
    except DAMAGED as error:
        reason = str(error).strip("'").split("(")[0].strip() or type(error).__name__
        raise UserError(
            f"{path}: {field}: the data cannot be read ({reason}); the file is damaged: "
            "download or copy it again"
        ) from None


def require(file: h5py.File, key: str) -> h5py.Dataset:
    """The HDF5 dataset at `key`, or a UserError that lists what there is."""
    names: list[str] = []
    with reading(file.filename, key):
        if key in file and isinstance(file[key], h5py.Dataset):
            require_written(file[key])
            return file[key]
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    raise UserError(
        f"{file.filename}: no dataset {key!r}; found {', '.join(map(str, names[:20])) or 'none'}"
    )


def require_written(dataset: h5py.Dataset) -> None:
    """Refuses an HDF5 dataset of which some part was declared but never written: it reads as 0."""
    if not dataset.size or dataset.is_virtual or dataset.external:
        return
    if dataset.chunks:
        expected = math.prod(
            -(-n // chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True)
        )
        found, what = dataset.id.get_num_chunks(), "chunks"
    else:
        expected, found, what = dataset.nbytes, dataset.id.get_storage_size(), "bytes"
    if found < expected:
        raise UserError(
            f"{dataset.file.filename}: {dataset.name}: {found:,} of {expected:,} {what} of shape "
            f"{dataset.shape} were ever written: download or copy it again"
        )


def require_numbers(stored: h5py.Dataset | np.ndarray, path: str | Path, field: str) -> None:
    """Refuses what is no array of real numbers."""
    if stored.dtype.kind not in "fiub" or stored.ndim == 0:
        raise UserError(
            f"{path}: {field}: expected an array of numbers, found {stored.dtype} {stored.shape}"
        )


def finite_float32(
    values: np.ndarray, path: str | Path, field: str, rows: int | np.ndarray = 0
) -> np.ndarray:
    """The values as float32; refuses NaN and what is infinite there, see `require_finite`."""
    require_numbers(values, path, field)
    with np.errstate(over="ignore", invalid="ignore"):
        values = values.astype(np.float32, copy=False)
    require_finite(values, path, field, rows)
    return values


def require_shape(
    shape: Sequence[int], expected: Sequence[int | None], path: str | Path, field: str
) -> None:
    """Refuses a shape that differs from `expected`, where None stands for any length."""
    fits = len(shape) == len(expected) and all(
        want is None or want == have for want, have in zip(expected, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("N" if want is None else str(want) for want in expected)
        raise UserError(f"{path}: {field}: expected shape ({wanted}), found {tuple(shape)}")


def require_finite(
    values: np.ndarray, path: str | Path, field: str, rows: int | np.ndarray = 0
) -> None:
    """Refuses NaN and infinity, naming the row; `rows`: row numbers in the file, or the first."""
    row = first_not_finite(values)
    if row is not None:
        row = rows + row if isinstance(rows, int) else int(rows[row])
        raise UserError(
            f"{path}: {field}: NaN or infinity at row {row}; "
            "remove such events before giving the file"
        )


def require_gev(pt: np.ndarray, path: str | Path, field: str) -> None:
    """Refuses transverse momenta (N,) of jets that can only have been written in MeV."""
    median = float(np.median(pt))
    if median > MAX_JET_PT:
        raise UserError(
            f"{path}: {field}: expected GeV, found a median jet pT of {median:.3g}: "
            "this looks like MeV; convert the file, or set data.units=MeV where the reader has it"
        )


def require_one_unit(medians: dict[str, float], what: str) -> None:
    """Refuses classes whose median pT differ as MeV and GeV do."""
    low, high = min(medians, key=medians.get), max(medians, key=medians.get)
    if medians[low] > 0 and medians[high] > MAX_RATIO * medians[low]:
        raise UserError(
            f"{what}: mixed units? the median pT of {high} is {medians[high]:.3g}, of {low} "
            f"{medians[low]:.3g}; write all files in the same unit"
        )
