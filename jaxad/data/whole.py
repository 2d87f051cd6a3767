"""Whether all of an array is there: what was never written, or is lost elsewhere, reads as zeros.

HDF5 says nothing of chunks that a dying writer left out, of raw data in another file that is too
short, and of parts of a virtual dataset whose file is missing: it returns fill values.
"""

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxad.errors import UserError

FILTERS = {
    **{305: "lzo", 307: "bzip2", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle"},
    **{32013: "zfp", 32015: "zstd", 32017: "sz", 32026: "blosc2"},
}
"""Registered compressions, for messages."""

UNLIMITED = h5py.h5s.UNLIMITED
MAX_LISTED = 3

Span = tuple[int, int, int]  # first row, row after the last, numbers of each row that are there


def filters_of(dataset: h5py.Dataset) -> list[int]:
    """Numbers of the filters that the chunks of a dataset went through."""
    plist = dataset.id.get_create_plist()
    return [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]


def require_filters(dataset: h5py.Dataset) -> None:
    """Refuses a dataset compressed by what this HDF5 library cannot undo."""
    for number in filters_of(dataset):
        if not h5py.h5z.filter_avail(number):
            name = FILTERS.get(number, "another program")
            raise UserError(
                f"{dataset.file.filename}: {dataset.name}: compressed by {name} (HDF5 filter "
                f"{number}), which is not installed here: set HDF5_PLUGIN_PATH to plugins that "
                "have it (those of pip install hdf5plugin), or repack it: ptrepack --complib=zlib "
                "--complevel=4 IN OUT"
            )


def require_whole(dataset: h5py.Dataset) -> None:
    """Refuses an HDF5 dataset of which rows were declared but are not there."""
    shape = dataset.shape
    if not shape or not dataset.size:
        return
    if dataset.is_virtual:
        _require_rows(dataset, _virtual(dataset), math.prod(shape[1:]), "no file holds them")
    elif dataset.external:
        have = list(_external(dataset))
        _require_rows(dataset, have, 1, "the files of its raw data end before")
    elif dataset.chunks:
        counts = (-(-n // chunk) for n, chunk in zip(shape, dataset.chunks, strict=True))
        n_rows, *others = counts
        if dataset.id.get_num_chunks() < n_rows * math.prod(others):
            _require_rows(dataset, _chunks(dataset), math.prod(others), "they were never written")
    elif dataset.id.get_storage_size() < dataset.nbytes:
        _require_rows(dataset, (), 1, "they were never written")


def _require_rows(dataset: h5py.Dataset, spans: Iterable[Span], needed: int, why: str) -> None:
    """Refuses a dataset with rows of which the spans hold fewer than `needed` numbers."""
    gaps = _gaps(spans, len(dataset), needed)
    if gaps:
        raise missing(dataset.file.filename, dataset.name, len(dataset), gaps, why)


def require_bytes(
    path: Path, field: str, shape: tuple[int, ...], dtype: np.dtype, n_bytes: int, ordered: bool
) -> None:
    """Refuses a NumPy array whose content has other than the `n_bytes` that its header declares.

    Args:
        ordered: the rows lie one after the other.
    """
    expected = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or not shape:
        return
    if n_bytes > expected:
        raise UserError(
            f"{path}: {field}: expected {expected:,} bytes of shape {shape}, found {n_bytes:,}: "
            "another array follows, which would be left out; save each under a name of its own"
        )
    if n_bytes < expected:
        first = n_bytes * shape[0] // expected if ordered else 0
        why = f"only {n_bytes:,} of {expected:,} bytes are here"
        raise missing(path, field, shape[0], [(first, shape[0])], why)


def missing(
    path: str | Path, field: str, n_rows: int, gaps: list[tuple[int, int]], why: str
) -> UserError:
    """The error for rows (first, last + 1) of a file that are not there."""
    listed = ", ".join(
        f"{low}" if high == low + 1 else f"{low} to {high - 1}" for low, high in gaps[:MAX_LISTED]
    )
    more = f" and {len(gaps) - MAX_LISTED} more stretches" if len(gaps) > MAX_LISTED else ""
    n_missing = sum(high - low for low, high in gaps)
    return UserError(
        f"{path}: {field}: {n_missing:,} of {n_rows:,} rows are missing, {listed}{more} ({why}): "
        "write, copy or download the file again"
    )


def _gaps(spans: Iterable[Span], n_rows: int, needed: int) -> list[tuple[int, int]]:
    """Stretches of rows, (first, last + 1), with fewer than `needed` numbers in the spans."""
    steps: Counter[int] = Counter()
    for first, end, weight in spans:
        steps[min(first, n_rows)] += weight
        steps[min(end, n_rows)] -= weight
    gaps: list[tuple[int, int]] = []
    begin = there = 0
    for row in sorted({n_rows, *steps}):
        if row > begin and there < needed:
            if gaps and gaps[-1][1] == begin:
                begin = gaps.pop()[0]
            gaps.append((begin, row))
        there += steps[row]
        begin = row
    return gaps


def _chunks(dataset: h5py.Dataset) -> list[Span]:
    """A span a chunk that was written."""
    firsts: list[int] = []
    dataset.id.chunk_iter(lambda chunk: firsts.append(chunk.chunk_offset[0]))
    return [(first, first + dataset.chunks[0], 1) for first in firsts]


def _external(dataset: h5py.Dataset) -> Iterator[Span]:
    """Spans of the rows whose raw data are in other files."""
    path = Path(dataset.file.filename)
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "").replace("${ORIGIN}", str(path.parent))
    row_bytes, begin, at = dataset.nbytes // len(dataset), 0, 0
    for name, offset, size in dataset.external:
        raw = Path(prefix) / name
        if not raw.is_file():
            raise UserError(
                f"{path}: {dataset.name}: its raw data lie in {name}, which is not in "
                f"{raw.parent.absolute()}: copy it there"
            )
        size = dataset.nbytes - at if size == h5py.h5f.UNLIMITED else size
        found = min(size, max(raw.stat().st_size - offset, 0))
        if found < size and at + found < dataset.nbytes:
            yield -(-begin // row_bytes), (at + found) // row_bytes, 1
            begin = at + size
        at += size
    yield -(-begin // row_bytes), at // row_bytes, 1


def _virtual(dataset: h5py.Dataset) -> Iterator[Span]:
    """Spans of the rows whose sources are there, whole and large enough."""
    path = Path(dataset.file.filename)
    for part in dataset.virtual_sources():
        first, stride, count, block, width = _rows_of(part.vspace, len(dataset))
        numbered = "%b" in part.file_name or "%b" in part.dset_name
        for number in range(count):
            span = first + number * stride, min(first + number * stride + block, len(dataset))
            names = (text.replace("%b", str(number)) for text in (part.file_name, part.dset_name))
            if number == 0 or numbered:
                _require_source(path, dataset, span, *names, part)
            yield *span, width or math.prod(dataset.shape[1:])


def _is_regular(space: h5py.h5s.SpaceID) -> bool:
    return space.get_select_type() == h5py.h5s.SEL_HYPERSLABS and space.is_regular_hyperslab()


def _is_unlimited(space: h5py.h5s.SpaceID) -> bool:
    if not _is_regular(space):
        return False
    _, _, count, block = space.get_regular_hyperslab()
    return UNLIMITED in (*count, *block)


def _rows_of(space: h5py.h5s.SpaceID, n_rows: int) -> tuple[int, int, int, int, int]:
    """First row, stride, number and length of the stretches of rows of a selection, and the numbers
    that it takes of each row, 0 for all of them."""
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return 0, n_rows, 1, n_rows, 0
    if not _is_regular(space):
        low, high = (corner[0] for corner in space.get_select_bounds())
        return low, 1, 1, high - low + 1, space.get_select_npoints() // (high - low + 1)
    start, stride, count, block = space.get_regular_hyperslab()
    width = 0 if _is_unlimited(space) else math.prod(count[1:]) * math.prod(block[1:])
    if block[0] == UNLIMITED:
        return start[0], 1, 1, n_rows - start[0], width
    n_stretches = -(-(n_rows - start[0]) // stride[0]) if count[0] == UNLIMITED else count[0]
    return start[0], stride[0], n_stretches, block[0], width


def _require_source(
    path: Path,
    dataset: h5py.Dataset,
    span: tuple[int, int],
    file_name: str,
    name: str,
    part: Any,
) -> None:
    """Refuses a virtual dataset whose rows lie in another one that is not there or not whole."""
    rows = f"its rows {span[0]} to {span[1] - 1} lie in {file_name}: {name}"
    if file_name == ".":
        source_path = path
    else:
        prefix = os.environ.get("HDF5_VDS_PREFIX", "").replace("${ORIGIN}", str(path.parent))
        places = itertools.chain([Path(prefix)] if prefix else [], [path.parent, Path()])
        there = [place / file_name for place in places if (place / file_name).is_file()]
        if not there:
            raise UserError(
                f"{path}: {dataset.name}: {rows}, and that file is not there: copy it beside this"
            )
        source_path = there[0]
    try:
        with h5py.File(source_path, "r") as file:
            source = file[name]
            require_filters(source)
            require_whole(source)
            shape = source.shape
    except (OSError, KeyError) as error:
        reason = str(error).strip("'\"").split("(")[0].strip()
        raise UserError(
            f"{path}: {dataset.name}: {rows}, which cannot be read ({reason}): copy it again"
        ) from None
    if not _fits(shape, part):
        raise UserError(
            f"{path}: {dataset.name}: {rows}, which is too short with its shape {shape}: copy it "
            "again"
        )


def _fits(shape: tuple[int, ...], part: Any) -> bool:
    """Whether a source of this shape holds all that a part of a virtual dataset takes of it."""
    if _is_unlimited(part.vspace) or _is_unlimited(part.src_space):
        return True  # a virtual dataset is as long as such sources are
    if part.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        return math.prod(shape) >= part.vspace.get_select_npoints()
    _, last = part.src_space.get_select_bounds()
    return len(last) == len(shape) and all(i < n for i, n in zip(last, shape, strict=True))
