"""Which events train, choose epochs and test: by a hash of their ids, by a column, or by files.

`data.split` is random; id; or train=...,val=...,test=..., patterns of files or, with
`data.split_key`, values of a column. Of labelled signals the events of the test part alone are
tested; with id, events of one id never stand in two parts.
"""

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import checks
from jaxad.data.columns import as_integers
from jaxad.data.dataset import as_mapping
from jaxad.data.folds import fractions, keys_of
from jaxad.data.kinds import inner
from jaxad.data.rows import file_of
from jaxad.errors import UserError
from jaxad.storage import blockwise, cache, on_disk

PARTS = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
NONE = -1
Read = Callable[[Path, str], np.ndarray]
"""The values (n,), or (n, k), of a column of a file."""


class Parts(NamedTuple):
    """Where the events of all files belong.

    Attributes:
        part: (N,) number in `PARTS`, or NONE.
        key: (N,) uint64 of their ids; None where these do not decide.
    """

    part: np.ndarray
    key: np.ndarray | None = None

    def tested(self, signal: np.ndarray, background: np.ndarray) -> np.ndarray:
        """Which events of a signal are tested: those of the test part; with ids, those of which no
        event of the background trains or validates.

        Args:
            signal, background: numbers of events.
        """
        if self.key is None:
            return self._where(signal, lambda part: part == TEST)
        learned = on_disk.take(self.key, self._where(background, lambda part: part != TEST))
        own = blockwise.among(on_disk.take(self.key, signal), [learned])
        return on_disk.take(signal, on_disk.rows_where(np.logical_not, own))

    def known(self, index: np.ndarray) -> np.ndarray:
        """Those of numbers of events that are of a part."""
        return self._where(index, lambda part: part != NONE)

    def _where(self, index: np.ndarray, fits: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return on_disk.mapped(lambda rows: rows[fits(self.part[rows])], index)


def parts_in(
    paths: Sequence[Path], sizes: Sequence[int], config: ConfigDict, read: Read, id_key: str
) -> Parts | None:
    """The parts of the events of files, of `sizes`; None: they are drawn at random.

    Args:
        read: a column of a file.
        id_key: the setting's value that names the ids, events of which stay together; or "".

    Raises:
        UserError: no ids, a part without files or values, or one that is none of `PARTS`.
    """
    if config.split == "random":
        return None
    folder = cache.disk(config)
    if config.split == "id":
        if not id_key:
            raise UserError(
                "data.split=id: needs the ids of events, such as run, luminosity block and event: "
                f"set data.{'id' if config.features else 'id_key'}"
            )
        key = _keys(paths, read, id_key, folder)
        edges = np.cumsum([config.test_fraction, config.val_fraction])
        numbers = np.array([TEST, VAL, TRAIN], np.int8)

        def part_of(block: np.ndarray) -> np.ndarray:
            return numbers[np.digitize(fractions(block, config.seed), edges)]

        return Parts(on_disk.mapped(part_of, key), key)
    wanted = as_mapping(config.split, "data.split")
    odd = sorted(set(wanted) - set(PARTS))
    if odd or not {"train", "test"} <= set(wanted):
        raise UserError(
            "data.split: expected random, id, or train=...,val=...,test=..., found "
            f"{config.split!r}"
        )
    of_part = {name: [v.strip() for v in value.split("+")] for name, value in wanted.items()}
    if config.split_key:
        of_values = partial(_parts_of_values, of_part=of_part, key=config.split_key)
        columns = [
            on_disk.mapped(of_values, _values(path, read, config.split_key), folder=folder)
            for path in paths
        ]
    else:
        columns = [on_disk.zeros((n,), np.int8, folder) for n in sizes]
        for path, column in zip(paths, columns, strict=True):
            column[...] = _part_of_file(path, of_part)
            on_disk.release(column)
    part = on_disk.concatenate(columns, folder)
    for name in wanted:
        if not blockwise.count(partial(np.equal, PARTS.index(name)), part):
            what = f"no event has {config.split_key}" if config.split_key else "no file fits"
            raise UserError(f"{config.source}: data.split: {name}: {what} {wanted[name]}")
    if "val" not in wanted:
        key = _keys(paths, read, id_key, folder) if id_key else None
        for (rows,) in on_disk.blocks(_validating(part, key, config)):
            part[rows] = VAL
            on_disk.release(part)
    return Parts(part)


def _validating(part: np.ndarray, key: np.ndarray | None, config: ConfigDict) -> np.ndarray:
    """Numbers of a random `val_fraction` of the training events, or of their ids."""
    place = on_disk.rows_where(partial(np.equal, TRAIN), part)
    own = place if key is None else on_disk.take(key, place)
    units = own if key is None else blockwise.unique(own)
    order = on_disk.numbered(len(units), cache.disk(config))
    on_disk.shuffle(order, np.random.default_rng([config.seed, 4]))
    chosen = on_disk.take(units, order[: round(config.val_fraction * len(units))])
    if key is None:
        return chosen
    return on_disk.take(place, blockwise.among(own, [chosen]))


def _keys(paths: Sequence[Path], read: Read, name: str, folder: Path | None) -> np.ndarray:
    """The key (N,) uint64 of the id of each event."""

    def parts(path: Path) -> Iterator[np.ndarray]:
        start = 0
        for (ids,) in on_disk.blocks(read(path, name)):
            columns = ids.reshape(len(ids), -1).T
            whole = [as_integers(column, str(path), name, start) for column in columns]
            yield keys_of(np.column_stack(whole))
            start += len(ids)

    return on_disk.concatenate([on_disk.joined(parts(path), folder) for path in paths], folder)


def _values(path: Path, read: Read, key: str) -> np.ndarray:
    """The column that says which part an event is of.

    Raises:
        UserError: as `read`, which says of a CSV file that its columns are numbers.
    """
    try:
        return read(path, key)
    except UserError as error:
        if inner(path) != ".csv" or checks.is_of_no_such_name(error):
            raise
        raise UserError(
            f"{error}; of CSV data.split_key takes whole numbers: write 0, 1 and 2 for texts, or "
            "split by names of files"
        ) from None


def _parts_of_values(values: np.ndarray, of_part: dict[str, list[str]], key: str) -> np.ndarray:
    """The part (n,) of each value of the column `key`: numbers, or texts.

    Raises:
        UserError: a value is of two parts.
    """
    values = values.reshape(len(values))
    if values.dtype.kind in "SO":
        values = np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values])
    part = np.full(len(values), NONE, np.int8)
    for name, wanted in of_part.items():
        if values.dtype.kind != "U":
            wanted = [float(value) if _is_number(value) else np.nan for value in wanted]
        here = np.isin(values, wanted)
        if (both := here & (part != NONE)).any():
            raise UserError(
                f"data.split: expected {key}={values[both][0]} in one part, found it in {name} "
                f"and in {PARTS[part[both][0]]}: take it out of one of them"
            )
        part[here] = PARTS.index(name)
    return part


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _part_of_file(path: Path, of_part: dict[str, list[str]]) -> int:
    """The part of a file, by patterns of its name, or, with a slash, of the end of its path.

    Raises:
        UserError: it is of two parts.
    """
    file = file_of(str(path))[0]
    fitting = [
        name
        for name, patterns in of_part.items()
        if any(
            fnmatch.fnmatch(str(file), f"*/{p}") if "/" in p else fnmatch.fnmatch(file.name, p)
            for p in patterns
        )
    ]
    if len(fitting) > 1:
        raise UserError(
            f"{path}: data.split: expected a file of one part, found {' and '.join(fitting)}: "
            "make the patterns narrower"
        )
    return PARTS.index(fitting[0]) if fitting else NONE
