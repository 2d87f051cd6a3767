"""Which events of files a selection keeps, and how many pass each of its terms: the cut flow."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.array_files import in_blocks
from jaxad.data.assembled import objects_of
from jaxad.data.columns import no_column, open_columns
from jaxad.data.expression import SETTING, Selection, absent, parsed
from jaxad.data.links import Objects
from jaxad.data.lists import Lists, is_lists
from jaxad.data.places import names_in, open_named, open_objects, open_places
from jaxad.errors import UserError
from jaxad.storage import blockwise, cache, on_disk

AT_ONCE = 1 << 16
"""Rows that are looked at together."""


class Passed(NamedTuple):
    """What a selection says of the events of some files, (N,) in all.

    Attributes:
        terms: of the selection.
        number: (N,) uint8, how many of them, from the first on, each event passes.
    """

    terms: tuple[str, ...]
    number: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Which events pass all, (N,) bool."""
        return on_disk.mapped(partial(np.equal, len(self.terms)), self.number)

    def flow(self, index: np.ndarray | None, weight: np.ndarray | None) -> list[dict[str, Any]]:
        """The cut flow of the events `index`, None for all: {"term", "events", perhaps "weight"}.

        weight: (N,) of all events; sums of it are "weight".
        """
        number = self.number if index is None else on_disk.take(self.number, index)
        lines: list[dict[str, Any]] = [{"term": term} for term in ("read", *self.terms)]
        for i, line in enumerate(lines):
            line["events"] = blockwise.count(partial(np.less_equal, i), number)
        if weight is not None:
            own = weight if index is None else on_disk.take(weight, index)
            for i, line in enumerate(lines):
                passing = on_disk.mapped(lambda w, n, i=i: w[n >= i], own, number)
                line["weight"] = blockwise.total(passing)
        return lines


def passed(files: Sequence[str | Path], config: ConfigDict) -> Passed | None:
    """What `data.selection` says of the events of the files; None without one.

    Raises:
        UserError: as `jaxad.data.expression.parsed` and `Selection.passed`; a file that lacks a
            column, with the nearest names; columns of different lengths.
    """
    if not config.selection:
        return None
    selection, folder = parsed(config.selection), cache.disk(config)
    numbers: list[np.ndarray] = []
    for i, file in enumerate(files):
        before = [str(other) for other in files[:i]]
        opened = (
            _of_columns(str(file), selection, before)
            if config.features
            else _of_arrays(str(file), selection, before, objects_of(config))
        )
        with opened as parts:
            numbers.append(on_disk.joined(parts, folder))
    return Passed(selection.terms, on_disk.concatenate(numbers, folder))


def cut(
    files: Sequence[str | Path], config: ConfigDict, classes: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, list[dict[str, Any]]]]:
    """The events of each class, numbers among all of the files, that pass, and the cut flows.

    All of them and {} without a selection.

    Raises:
        UserError: as `passed`; none of a class passes.
    """
    found = passed(files, config)
    if found is None:
        return dict(classes), {}
    weight = _weights(files, config)
    kept = found.kept
    chosen = {
        name: on_disk.take(index, on_disk.take(kept, index)) for name, index in classes.items()
    }
    for name, index in chosen.items():
        if not len(index):
            flow = found.flow(classes[name], None)
            listed = ", ".join(f"{line['term']} {line['events']:,}" for line in flow)
            raise UserError(f"{config.source}: {SETTING}: no event of {name} passes: {listed}")
    return chosen, {name: found.flow(index, weight) for name, index in classes.items()}


def _weights(files: Sequence[str | Path], config: ConfigDict) -> np.ndarray | None:
    """Weights of all events of the files, float32; None without."""
    parts: list[np.ndarray] = []
    for file in files:
        if config.features and config.weight:
            with open_columns(file) as columns:
                if config.weight not in columns.names:
                    raise no_column(str(file), config.weight, columns.names, "data.weight")
                parts.append(columns.read([config.weight], ())[config.weight].astype(np.float32))
        elif config.weight_key and not config.features:
            places = Path(file), config.weight_key, "data.weight_key", objects_of(config)
            with open_places(*places) as stored:
                blocks = (block.astype(np.float32).reshape(-1) for _, block in in_blocks(stored))
                parts.append(on_disk.joined(blocks, cache.disk(config)))
    return on_disk.concatenate(parts, cache.disk(config)) if parts else None


@contextlib.contextmanager
def _of_columns(
    file: str, selection: Selection, before: Sequence[str]
) -> Iterator[Iterator[np.ndarray]]:
    """Of a table, whose columns are numbers."""
    with open_columns(file) as columns:
        _require_names(file, selection, list(columns.names), before)
        values = columns.read(selection.names, ())
    yield _numbers(file, selection, values)


@contextlib.contextmanager
def _of_arrays(
    file: str, selection: Selection, before: Sequence[str], objects: Objects | None
) -> Iterator[Iterator[np.ndarray]]:
    """Of arrays, branches and lists, of each event or of each of `objects`."""
    path = Path(file)
    _require_names(file, selection, names_in(path), before)
    with contextlib.ExitStack() as stack:
        rows = open_objects(path, SETTING, objects, stack)
        arrays = {
            name: stack.enter_context(open_named(path, name, SETTING, rows))
            for name in selection.names
        }
        yield _numbers(file, selection, arrays)


def _require_names(
    file: str, selection: Selection, found: Sequence[str], before: Sequence[str]
) -> None:
    for name in selection.names:
        if name not in found:
            raise absent(file, name, found, before)


def _numbers(file: str, selection: Selection, arrays: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """`Selection.passed` of all events of a file, block by block."""
    if not arrays:
        raise UserError(f"{SETTING}: names no column, found {' & '.join(selection.terms)}")
    lengths = {name: len(array) for name, array in arrays.items()}
    n = lengths[selection.names[0]]
    for name, length in lengths.items():
        if length != n:
            raise UserError(
                f"{file}: {SETTING}: {name}: expected {n:,} rows as in {selection.names[0]}, found "
                f"{length:,}"
            )
    if not n:
        yield np.empty(0, np.uint8)
    step = min(_rows(array) for array in arrays.values())
    for start in range(0, n, step):
        stop = min(start + step, n)
        read = {name: _read(array, start, stop) for name, array in arrays.items()}
        try:
            yield selection.passed(read, stop - start, start)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None


def _rows(array: Any) -> int:
    return AT_ONCE if is_lists(array) else min(AT_ONCE, on_disk.rows_at_once(array))


def _read(array: Any, start: int, stop: int) -> np.ndarray | Lists:
    return array.read(start, stop) if is_lists(array) else np.asarray(array[start:stop])
