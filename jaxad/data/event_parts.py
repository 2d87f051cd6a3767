"""Which events train, choose epochs and test: by a hash of their ids, by a column, or by files.

`data.split` is random; id; or train=...,val=...,test=..., patterns of files or, with
`data.split_key`, values of a column. Of labelled signals the events of the test part alone are
tested; with id, events of one id never stand in two parts.
"""

import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import checks
from jaxad.data.columns import as_integers
from jaxad.data.dataset import as_mapping
from jaxad.data.folds import fractions, keys_of
from jaxad.data.rows import file_of
from jaxad.errors import UserError

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
            return signal[self.part[signal] == TEST]
        learned = np.unique(self.key[background[self.part[background] != TEST]])
        return signal[~np.isin(self.key[signal], learned)]


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
    if config.split == "id":
        if not id_key:
            raise UserError(
                "data.split=id: needs the ids of events, such as run, luminosity block and event: "
                f"set data.{'id' if config.features else 'id_key'}"
            )
        key = _keys(paths, read, id_key)
        edges = np.cumsum([config.test_fraction, config.val_fraction])
        at = np.digitize(fractions(key, config.seed), edges)
        return Parts(np.array([TEST, VAL, TRAIN], np.int8)[at], key)
    wanted = as_mapping(config.split, "data.split")
    odd = sorted(set(wanted) - set(PARTS))
    if odd or not {"train", "test"} <= set(wanted):
        raise UserError(
            "data.split: expected random, id, or train=...,val=...,test=..., found "
            f"{config.split!r}"
        )
    of_part = {name: [v.strip() for v in value.split("+")] for name, value in wanted.items()}
    if config.split_key:
        columns = [
            _parts_of_values(_values(path, read, config.split_key), of_part, config.split_key)
            for path in paths
        ]
    else:
        columns = [
            np.full(n, _part_of_file(path, of_part), np.int8)
            for path, n in zip(paths, sizes, strict=True)
        ]
    part = np.concatenate(columns)
    for name in wanted:
        if not (part == PARTS.index(name)).any():
            what = f"no event has {config.split_key}" if config.split_key else "no file fits"
            raise UserError(f"{config.source}: data.split: {name}: {what} {wanted[name]}")
    if "val" not in wanted:
        place = np.flatnonzero(part == TRAIN)
        key = _keys(paths, read, id_key)[place] if id_key else place
        _, number = np.unique(key, return_inverse=True)
        n = int(number.max()) + 1
        order = np.random.default_rng([config.seed, 4]).permutation(n)
        part[place[np.isin(number, order[: round(config.val_fraction * n)])]] = VAL
    return Parts(part)


def _keys(paths: Sequence[Path], read: Read, name: str) -> np.ndarray:
    """The key (N,) uint64 of the id of each event."""
    parts = []
    for path in paths:
        ids = read(path, name)
        columns = ids.reshape(len(ids), -1).T
        parts.append(np.column_stack([as_integers(column, str(path), name) for column in columns]))
    return keys_of(np.concatenate(parts))


def _values(path: Path, read: Read, key: str) -> np.ndarray:
    """The column that says which part an event is of.

    Raises:
        UserError: as `read`, which says of a CSV file that its columns are numbers.
    """
    try:
        return read(path, key)
    except UserError as error:
        if path.suffix != ".csv" or checks.is_of_no_such_name(error):
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
