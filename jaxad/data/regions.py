"""Calorimeter regions of the CMS Level-1 trigger, in the layout of CICADA's files.

HDF5 files with `CaloRegions` (N, 18, 14), transverse energies in (phi, eta) as 10-bit counts of
0.5 GeV, and perhaps `AcceptanceFlag` (N,) (arXiv:2310.06047, CMS-DP-2024-121). A folder holds
`zero_bias.h5`, the background, and one file a signal; what `jaxad simulate regions` writes is one.
Of signals those events alone are read whose flag is 1, where there is one.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
from ml_collections import ConfigDict

from jaxad.data import checks, simulated
from jaxad.data.array_files import opened, stored_array
from jaxad.data.dataset import Dataset, Rows, as_mapping, take
from jaxad.data.layout import Layout
from jaxad.data.rows import Events
from jaxad.data.splits import choose, split_indices
from jaxad.errors import UserError
from jaxad.storage.paths import expanded

KEY, FLAG = "CaloRegions", "AcceptanceFlag"
SHAPE, HIGHEST = (18, 14), 1023
BACKGROUND = "zero_bias.h5"
UNIT = 0.5  # GeV of a count
BLOCK = 1 << 16  # events read together

LAYOUT = Layout(
    "image",
    SHAPE,
    unit=UNIT,
    picture={"extent": (-7, 7, 0, 18), "labels": ("region in η", "region in φ"), "unit": "counts"},
    periodic=True,
    energies=True,
)
LABELS = {
    "sum": ("sum of counts", ""),
    "largest": ("largest count", ""),
    "n_regions": ("regions with a count", ""),
}

DEFAULTS = {
    "signals": "",  # "": all other files of the folder; "NAME=FILE,..." for others
    "n_events": 0,  # at most so many random background events; 0: all
    "n_signal": 0,  # at most so many accepted events of each signal; 0: all
    "val_fraction": 0.16,
    "test_fraction": 0.2,
    "n_simulated": 20_000,  # background events, and a tenth as many of each signal
    "simulation_seed": 0,
    "workers": 0,  # 0: all cores
}
WHOLE = {"n_events": 0, "n_signal": 0}
"""Settings where no event is left out."""

idle = simulated.idle


def load(config: ConfigDict) -> Dataset:
    """Zero bias in three parts, and the signals.

    Rows: x (N, 18, 14) float32, counts; sum and largest of them, and n_regions above 0.

    Raises:
        UserError: no such files, another layout, or counts that 10 bits do not hold.
    """
    background, signals = _files(config)
    rows, _ = read_events(background, config.n_events, [config.seed, 0])
    fractions = {
        "train": 1 - config.val_fraction - config.test_fraction,
        "val": config.val_fraction,
        "test": config.test_fraction,
    }
    split = split_indices(len(rows["x"]), fractions, [config.seed, 1])
    chosen, left_out = {}, {}
    for number, (name, paths) in enumerate(signals.items()):
        seed = [config.seed, 2, number]
        chosen[name], left_out[name] = read_events(paths, config.n_signal, seed, accepted=True)
    if any(left_out.values()):
        listed = ", ".join(f"{n:,} of {name}" for name, n in left_out.items() if n)
        print(f"note: signal events with {FLAG} 0 are left out: {listed}", file=sys.stderr)
    tested = [str(path) for paths in signals.values() for path in paths]
    return Dataset(
        **{name: take(rows, index) for name, index in split.items()},
        signals=chosen,
        layout=LAYOUT,
        labels=LABELS,
        baselines=tuple(LABELS),
        info={
            "name": "regions",
            "source": config.source,
            "files": [*map(str, background), *tested],
            "tested_files": tested,
            "selection": "zero bias; signals that are accepted",
            "not_accepted": left_out,
            "seed": config.seed,
        },
    )


def _files(config: ConfigDict) -> tuple[list[Path], dict[str, list[Path]]]:
    """Files of the background, and of each signal."""
    own = {
        name: checks.resolve(file, setting="data.signals")
        for name, file in as_mapping(config.signals, "data.signals").items()
    }
    if config.source == "download":
        raise UserError(
            "data.source: calorimeter regions have no record to download: take "
            "data.source=simulation, or give a folder or file of CaloRegions"
        )
    if config.source == "simulation":
        folder = simulated.simulated("regions", config)[0].parent
    else:
        folder = expanded(config.source)
    if not folder.is_dir():
        background = checks.resolve(config.source)
    elif not (folder / BACKGROUND).is_file():
        raise UserError(
            f"{folder}: expected {BACKGROUND}, which is not there: name the background's file by "
            "data.source, and the signals by data.signals=NAME=FILE,..."
        )
    else:
        background = [folder / BACKGROUND]
        others = (path for path in sorted(folder.glob("*.h5")) if path.name != BACKGROUND)
        own = own or {path.stem: [path] for path in others}
    known = {path.resolve() for path in background}
    for name, paths in own.items():
        for path in paths:
            if path.resolve() in known:
                raise UserError(
                    f"data.signals: {name}: {path} is also the background; give another file"
                )
    return background, own


def read_events(
    paths: Sequence[Path], limit: int, seed: int | list[int], accepted: bool = False
) -> tuple[Rows, int]:
    """At most `limit` random events of files (0: all), in their order, and how many are left out.

    Args:
        accepted: leave out events whose `AcceptanceFlag` is 0, before any are drawn.

    Raises:
        UserError: another layout, a count or flag that cannot be, no events.
    """
    with ExitStack() as stack:
        files = [_Regions(stack.enter_context(opened(path)), path) for path in paths]
        good = [file.accepted() if accepted else np.arange(len(file)) for file in files]
        ends = np.cumsum([0, *map(len, good)])
        n = int(ends[-1])
        if n == 0:
            what = f"with {FLAG} 1" if accepted and any(map(len, files)) else "in it"
            raise UserError(f"{paths[0]}: {KEY}: no events {what}")
        index = choose(n, min(limit, n), seed)
        parts = [
            file.chosen(rows[index[(index >= first) & (index < last)] - first])
            for file, rows, first, last in zip(files, good, ends[:-1], ends[1:], strict=True)
        ]
        return rows_from(np.concatenate(parts)), sum(map(len, files)) - n


def rows_from(x: np.ndarray) -> Rows:
    """Rows of regions (n, 18, 14) float32, see `load`."""
    axes = (1, 2)
    return {
        "x": x,
        "sum": x.sum(axes),
        "largest": x.max(axes),
        "n_regions": (x > 0).sum(axes).astype(np.float32),
    }


class _Regions:
    """Raw events of a file, row by row."""

    def __init__(self, file: Mapping, path: Path):
        self._path, self._stored = path, stored_array(file, KEY, path)
        checks.require_shape(self._stored.shape, (None, *SHAPE), path, KEY)
        self._flag = stored_array(file, FLAG, path) if FLAG in file else None
        if self._flag is not None:
            checks.require_shape(self._flag.shape, (len(self),), path, FLAG)

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        return self._block(np.arange(start, stop))

    def accepted(self) -> np.ndarray:
        """Numbers of the events whose flag is 1; all where there are no flags."""
        if self._flag is None:
            return np.arange(len(self))
        with checks.reading(self._path, FLAG):
            flag = np.asarray(self._flag[:])
        checks.require_labels(flag, self._path, FLAG, (0, 1))
        return np.flatnonzero(flag)

    def chosen(self, rows: np.ndarray) -> np.ndarray:
        """The events of these numbers, which ascend, read block by block."""
        cuts = np.searchsorted(rows, np.arange(BLOCK, len(self), BLOCK))
        return np.concatenate([self._block(part) for part in np.split(rows, cuts)])

    def _block(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros((0, *SHAPE), np.float32)
        with checks.reading(self._path, KEY):
            stored = self._stored[int(rows[0]) : int(rows[-1]) + 1][rows - rows[0]]
        x = checks.finite_float32(stored, self._path, KEY, rows)
        odd = ((x < 0) | (x > HIGHEST) | (x != np.rint(x))).any(axis=(1, 2))
        if odd.any():
            event = int(np.argmax(odd))
            bad = x[event][(x[event] < 0) | (x[event] > HIGHEST) | (x[event] != np.rint(x[event]))]
            raise UserError(
                f"{self._path}: {KEY}: expected whole counts from 0 to {HIGHEST}, found "
                f"{bad[0]:g} at row {rows[event]}: write counts of {UNIT} GeV, at most "
                f"{HIGHEST}"
            )
        return x


def rows_of(path: Path, config: ConfigDict, stack: ExitStack) -> Events | None:
    """The events of a file of this layout, accepted or not; None of any other file."""
    file = stack.enter_context(opened(path))
    if KEY not in file:
        return None
    if isinstance(file, h5py.File) and not isinstance(file[KEY], h5py.Dataset):
        return None
    return _Regions(file, path)
