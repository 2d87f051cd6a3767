"""What readers ask of files, each refusal one line: file, field, expected, found, the mend.

Nothing here repairs anything; nothing here loads a pickle.
"""

import contextlib
import difflib
import errno
import glob
import itertools
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from jaxad.data import kinds
from jaxad.data.dataset import first_not_finite
from jaxad.data.whole import require_filters, require_whole
from jaxad.errors import DAMAGED, UserError
from jaxad.storage import blockwise
from jaxad.storage.paths import expanded

MAX_JET_PT = 14_000.0  # GeV: a median jet above this was written in MeV
MAX_RATIO = 100.0  # between the median pT of two classes of one data set
MAX_PHI = 4 * math.pi  # an angle may go round, but one beyond this is in degrees, or no angle
HDF5_MAGIC = kinds.HDF5


def resolve(source: str | Path, pattern: str = "*", setting: str = "data.source") -> list[Path]:
    """Files meant by a file name, a glob, or a folder (its files matching `pattern`), sorted.

    What exists is meant as it is written, brackets included; only the rest of a name is a glob.
    `setting` is what says so, for the message.
    """
    looked_for = path = expanded(source)
    try:
        if path.is_file():
            found = [path]
        elif path.is_dir():
            looked_for = path / pattern
            found = sorted(path.glob(pattern))
        else:
            folder = next((parent for parent in path.parents if parent.is_dir()), Path())
            rest = path.relative_to(folder) if folder != Path() else path
            names = glob.glob(str(Path(glob.escape(str(folder)), rest)), recursive=True)
            found = [Path(name) for name in sorted(names)]
        found = [path for path in found if path.is_file()]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not found:
        raise UserError(f"{looked_for}: no such file; give {setting} a file, a folder or a glob")
    return found


def open_hdf5(path: str | Path) -> h5py.File:
    """The open file, or a UserError for one that is missing, truncated or not HDF5."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    head = kinds.head_of(path)
    if not head:
        raise UserError(f"{path}: the file is empty; download or copy it again")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _not_opened(path, head, error) from None


def _not_opened(path: Path, head: bytes, error: OSError) -> UserError:
    """Why HDF5 could not open a file that starts with `head`, and the mend."""
    text = str(error)
    if "unable to lock file" in text and error.errno in (errno.EAGAIN, errno.EACCES):
        return UserError(
            f"{path}: a program that writes it has it open: wait until it is closed, or copy it"
        )
    if "unable to lock file" in text:
        reason = os.strerror(error.errno) if error.errno else "no reason given"
        return UserError(
            f"{path}: cannot be locked ({reason}), as on some network file systems: "
            "set HDF5_USE_FILE_LOCKING=FALSE"
        )
    if "already open for" in text:
        return UserError(
            f"{path}: a program that writes it has it open, or ended without closing it: close it, "
            "or mend the file with h5clear -s"
        )
    if "truncated" in text:
        size = path.stat().st_size
        return UserError(
            f"{path}: truncated: only {size:,} bytes are here; download or copy it again"
        )
    if head.startswith(HDF5_MAGIC):
        return UserError(f"{path}: damaged ({_reason(error)}): download or copy it again")
    found = kinds.other(path, head) or f"a file that starts with {head[:8]!r}"
    return UserError(f"{path}: expected an HDF5 file, found {found}")


def _reason(error: Exception) -> str:
    """What HDF5, NumPy or zipfile says, without its details."""
    return str(error).strip("'\"").split("(")[0].strip() or type(error).__name__


@contextlib.contextmanager
def reading(path: str | Path, field: str) -> Iterator[None]:
    """Turns the errors of a damaged file, while its data are read, into a UserError."""
    try:
        yield
    except DAMAGED as error:
        raise UserError(
            f"{path}: {field}: the data cannot be read ({_reason(error)}); the file is damaged: "
            "download or copy it again"
        ) from None


def require(file: h5py.File, key: str, setting: str = "") -> h5py.Dataset:
    """The HDF5 dataset at `key`, whole, or a UserError that lists what there is.

    Args:
        setting: that names the key, for the message.
    """
    with reading(file.filename, key):
        found = file.get(key)
        if isinstance(found, h5py.Dataset):
            require_filters(found)
            require_whole(found)
            return found
        _require_links(file, key)
        shapes: dict[str, tuple[int, ...]] = {}
        file.visititems(lambda name, item: shapes.update(_shape(name, item)))
    raise absent(file.filename, "dataset", key, shapes, setting)


def _shape(name: str, item: h5py.Group | h5py.Dataset) -> dict[str, tuple[int, ...]]:
    return {str(name): item.shape or ()} if isinstance(item, h5py.Dataset) else {}


def absent(
    path: str | Path, kind: str, key: str, shapes: Mapping[str, tuple[int, ...]], setting: str = ""
) -> UserError:
    """The error for a file without `key`: what it has instead, and the setting that names it."""
    listed = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:20])
    mend = f"; set {setting} to one of these" if setting and listed else ""
    near = nearest(key, shapes)
    return UserError(f"{path}: no {kind} {key!r}; found {listed or 'none'}{near}{mend}")


def is_of_no_such_name(error: UserError) -> bool:
    """Whether a refusal says that a file has no array, column or branch of a name."""
    return re.search(": no [a-z]+ '", str(error)) is not None


def nearest(name: str, known: Iterable[str]) -> str:
    """The three names most like one that is not there, for messages; "" where there are no more."""
    names = list(known)
    matcher = difflib.SequenceMatcher(b=name.lower())

    def likeness(other: str) -> float:
        matcher.set_seq1(other.lower())
        return matcher.ratio()

    close = sorted(names, key=likeness, reverse=True)[:3]
    return f"; nearest {', '.join(close)}" if len(names) > 3 else ""


def _require_links(file: h5py.File, key: str) -> None:
    """Refuses a key on whose way a link leads to nothing."""
    names = itertools.accumulate(key.strip("/").split("/"), "{}/{}".format)
    for name in names:
        link = file.get(name, getlink=True)
        if link is None or file.get(name) is not None:
            continue
        if isinstance(link, h5py.ExternalLink):
            raise UserError(
                f"{file.filename}: {name}: a link to {link.path} of {link.filename}, which is "
                "not there or cannot be read: copy that file beside this one"
            )
        if isinstance(link, h5py.SoftLink):
            raise UserError(f"{file.filename}: {name}: a link to {link.path}, which is not there")


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


def zeros(x: np.ndarray) -> np.ndarray:
    """Which of the events (n, ...) hold nothing but zeros, as rows that were never written do."""
    return ~x.any(axis=tuple(range(1, x.ndim)))


def require_filled(x: np.ndarray, path: str | Path, field: str, rows: int | np.ndarray = 0) -> None:
    """Refuses events (n, ...) of nothing but zeros, where the published sets have none."""
    empty = zeros(x)
    if empty.any():
        row = int(np.argmax(empty))
        row = rows + row if isinstance(rows, int) else int(rows[row])
        raise UserError(
            f"{path}: {field}: only zeros in {int(empty.sum()):,} events, first at row {row}: they "
            "were never written; write, copy or download the file again"
        )


def require_labels(
    labels: np.ndarray,
    path: str | Path,
    field: str,
    known: Sequence[int] = (),
    rows: int | np.ndarray = 0,
) -> None:
    """Refuses labels (N,) that are none of the `known` ones, or no whole numbers where () is given.

    `rows`: row numbers in the file, or the first.
    """
    whole = np.isfinite(labels) & (labels == np.rint(labels))
    odd = ~np.isin(labels, known) if known else ~whole
    if odd.any():
        where = np.flatnonzero(odd)
        values, first, counts = np.unique(labels[odd], return_index=True, return_counts=True)
        in_file = rows + where if isinstance(rows, int) else rows[where]
        listed = ", ".join(
            f"{value:g} ({n:,} events, first at row {in_file[i]})"
            for value, i, n in zip(values[:5], first, counts, strict=False)
        )
        more = f" and {len(values) - 5} more" if len(values) > 5 else ""
        wanted = " or ".join(map(str, known)) or "whole numbers"
        raise UserError(
            f"{path}: {field}: expected {wanted}, found {listed}{more}: mend these labels, or "
            "leave the events out of the file"
        )


def require_gev(pt: np.ndarray, path: str | Path, field: str) -> float:
    """Their median; refuses transverse momenta (N,) of jets that can only be in MeV."""
    median = blockwise.median(pt)
    if median > MAX_JET_PT:
        raise UserError(
            f"{path}: {field}: expected GeV, found a median jet pT of {median:.3g}: "
            "this looks like MeV; convert the file, or set data.units=MeV where the reader has it"
        )
    return median


def warn_of_units(medians: Mapping[str, float], what: str) -> None:
    """Tells of classes whose median masses differ as MeV and GeV do; a resonance may be so far."""
    low, high = min(medians, key=medians.get), max(medians, key=medians.get)
    if medians[low] > 0 and medians[high] > 3 * MAX_RATIO * medians[low]:
        print(
            f"warning: {what}: mixed units? the median mass of {high} is {medians[high]:.3g}, of "
            f"{low} {medians[low]:.3g} GeV: all files are read in one unit",
            file=sys.stderr,
        )


def require_one_unit(medians: dict[str, float], what: str) -> None:
    """Refuses classes whose median pT differ as MeV and GeV do."""
    low, high = min(medians, key=medians.get), max(medians, key=medians.get)
    if medians[low] > 0 and medians[high] > MAX_RATIO * medians[low]:
        raise UserError(
            f"{what}: mixed units? the median pT of {high} is {medians[high]:.3g}, of {low} "
            f"{medians[low]:.3g}; write all files in the same unit"
        )
