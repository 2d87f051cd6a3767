"""The ADC2021 challenge: collision events as a 40 MHz trigger sees them (arXiv:2107.02157).

HDF5 files with `Particles` (N, 19, 4) = (pT [GeV], eta, phi, class): row 0 is the missing
transverse momentum (class 1), rows 1-4 electrons or photons (2), 5-8 muons (3), 9-18 jets (4), zero
padded with class 0. Background from Zenodo 5046389, four signals from 5046446, 5055454, 5061633,
5061688; file names come with and without `_filtered`. The class column is checked, then dropped.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad.data import checks, download, simulated
from jaxad.data.array_files import opened, stored_array
from jaxad.data.dataset import Dataset, Rows, as_mapping, take
from jaxad.data.layout import Layout
from jaxad.data.raw_events import require_events
from jaxad.data.rows import Events
from jaxad.data.splits import choose, split_indices
from jaxad.errors import UserError
from jaxad.observables.trigger import CLASS, JETS, LEPTONS, N_OBJECTS, object_names
from jaxad.storage import cache
from jaxad.storage.paths import expanded

KEY = "Particles"
NAMES = ("Pt", "Eta", "Phi", "Class")
BACKGROUND = "background_for_training"
SIGNALS = {
    "A4l": "Ato4l_lepFilter_13TeV",
    "LQ": "leptoquark_LOWMASS_lepFilter_13TeV",
    "h0": "hToTauTau_13TeV_PU20",
    "hch": "hChToTauNu_13TeV_PU20",
}
BLOCK = 1 << 16  # events read together
LAYOUT = Layout("ptetaphi", (N_OBJECTS, 3), objects=object_names())

DEFAULTS = {
    "signals": "",  # "": the four of the challenge; "NAME=FILE,..." for others of this layout
    "n_events": 1_000_000,  # at most so many random background events; 0: all
    "n_signal": 0,  # at most so many of each signal; 0: all
    "val_fraction": 0.16,
    "test_fraction": 0.2,
    "n_simulated": 5_000,  # background events
    "simulation_seed": 0,
    "workers": 0,  # 0: all cores
}
WHOLE = {"n_events": 0, "n_signal": 0}
"""Settings where no event is left out."""


idle = simulated.idle


def load(config: ConfigDict) -> Dataset:
    """The cocktail in three parts, and the signals.

    Rows: x (N, 19, 3) float32 (pT [GeV], eta, phi), zero padded; met, ht (sum of jet pT), sum_pt
    (of jets and leptons), leading_pt (of all), lepton_pt (leading electron, photon or muon) [GeV],
    n_leptons, multiplicity (objects without the MET).
    """
    background, signals = _files(config)
    rows = read_events(background, config.n_events, [config.seed, 0])
    fractions = {
        "train": 1 - config.val_fraction - config.test_fraction,
        "val": config.val_fraction,
        "test": config.test_fraction,
    }
    split = split_indices(len(rows["x"]), fractions, [config.seed, 1])
    return Dataset(
        **{name: take(rows, index) for name, index in split.items()},
        signals={
            name: read_events(path, config.n_signal, [config.seed, 2, number])
            for number, (name, path) in enumerate(signals.items())
        },
        layout=LAYOUT,
        labels={
            "sum_pt": ("sum of pT", "GeV"),
            "met": ("missing pT", "GeV"),
            "n_leptons": ("number of leptons", ""),
            "ht": ("HT", "GeV"),
            "leading_pt": ("leading pT", "GeV"),
            "lepton_pt": ("leading lepton pT", "GeV"),
            "multiplicity": ("number of objects", ""),
        },
        baselines=("sum_pt", "met", "n_leptons"),
        info={
            "name": "adc2021",
            "source": config.source,
            "files": [str(background), *map(str, signals.values())],
            "tested_files": [*map(str, signals.values())],
            "selection": "13 TeV, one electron or muon above 23 GeV",
            "seed": config.seed,
        },
    )


def _files(config: ConfigDict) -> tuple[Path, dict[str, Path]]:
    """The background's file and the signals' files."""
    own = {
        name: _one_file(file, "data.signals")
        for name, file in as_mapping(config.signals, "data.signals").items()
    }
    if config.source == "download":
        folder = cache.root(config.cache) / "download"
        names = [BACKGROUND, *([] if own else SIGNALS.values())]
        paths = [download.fetch("adc2021", f"{name}.h5", folder) for name in names]
        return paths[0], own or dict(zip(SIGNALS, paths[1:], strict=True))
    if config.source == "simulation":
        folder = simulated.simulated("adc2021", config)[0].parent
    else:
        folder = expanded(config.source)
    if folder.is_dir():
        background = _in_folder(folder, BACKGROUND)
        own = own or {name: _in_folder(folder, stem) for name, stem in SIGNALS.items()}
    else:
        background = _one_file(folder, "data.source")
    for name, path in own.items():
        if path.resolve() == background.resolve():
            raise UserError(
                f"data.signals: {name}: {path} is also the background; give another file"
            )
    return background, own


def _one_file(source: str | Path, setting: str) -> Path:
    """The file of a sample, of which this reader takes no more than one."""
    path, *others = checks.resolve(source, setting=setting)
    if others:
        raise UserError(
            f"{setting}: expected one file, found {1 + len(others)} as {source}: put their events "
            "into one file"
        )
    return path


def _in_folder(folder: Path, stem: str) -> Path:
    """The file of a sample, plain or `_filtered`."""
    names = (f"{stem}.h5", f"{stem}_filtered.h5")
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) == 1:
        return found[0]
    state = "neither is there" if not found else "both are there"
    raise UserError(
        f"{folder}: expected {names[0]} or {names[1]}, {state}; "
        "name the files you want by data.source and data.signals=NAME=FILE,..."
    )


def read_events(path: Path, limit: int, seed: int | list[int]) -> Rows:
    """At most `limit` random events of a file (0: all), in file order, checked.

    Raises:
      UserError: another layout, a class or value that cannot be, pT in MeV.
    """
    with ExitStack() as stack:
        stored = _Particles(stack.enter_context(opened(path)), path)
        index = choose(len(stored), min(limit, len(stored)), seed)
        if len(index) == 0:
            raise UserError(f"{path}: {KEY}: no events")
        x = np.empty((len(index), N_OBJECTS, 3), np.float32)
        with tqdm(total=len(index), unit="event", desc=path.name, delay=2, leave=False) as bar:
            for start in range(0, len(stored), BLOCK):
                low, high = np.searchsorted(index, (start, start + BLOCK))
                if low == high:
                    continue
                x[low:high] = stored.chosen(start, index[low:high])
                bar.update(high - low)
    checks.require_gev(x[..., 0].max(axis=1), path, KEY)
    return {
        "x": x,
        "met": x[:, 0, 0].copy(),
        "ht": x[:, JETS, 0].sum(axis=1),
        "sum_pt": x[:, 1:, 0].sum(axis=1),
        "leading_pt": x[:, 1:, 0].max(axis=1),
        "lepton_pt": x[:, LEPTONS, 0].max(axis=1),
        "n_leptons": (x[:, LEPTONS, 0] > 0).sum(axis=1).astype(np.float32),
        "multiplicity": (x[:, 1:, 0] > 0).sum(axis=1).astype(np.float32),
    }


class _Particles:
    """Raw events of a published file, row by row, without the class column."""

    def __init__(self, file: Mapping, path: Path):
        self._path, self._stored = path, stored_array(file, KEY, path)
        checks.require_shape(self._stored.shape, (None, N_OBJECTS, 4), path, KEY)
        _check_names(file, path)

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        return self.chosen(start, np.arange(start, stop))

    def chosen(self, start: int, index: np.ndarray) -> np.ndarray:
        """The rows `index` of the block that starts at `start`."""
        if not len(index):
            return np.zeros((0, N_OBJECTS, 3), np.float32)
        with checks.reading(self._path, KEY):
            events = self._stored[start : index[-1] + 1][index - start]
        with np.errstate(over="ignore", invalid="ignore"):  # refused next
            events = events.astype(np.float32)
        checks.require_filled(events, self._path, KEY, index)
        _check_events(events, self._path, index)
        return events[..., :3]


def rows_of(path: Path, config: ConfigDict, stack: ExitStack) -> Events | None:
    """The events of a published file, open while `stack` is; None of any other file."""
    file = stack.enter_context(opened(path))
    own = KEY in file and stored_array(file, KEY, path).shape[2:] == (len(NAMES),)
    return _Particles(file, path) if own else None


def _check_names(file, path: Path) -> None:
    with checks.reading(path, f"{KEY}_Names"):
        if f"{KEY}_Names" not in file:
            return
        names = tuple(np.char.decode(np.asarray(file[f"{KEY}_Names"][:], "S")).tolist())
    if names != NAMES:
        raise UserError(f"{path}: {KEY}_Names: expected {', '.join(NAMES)}, found {names}")


def _check_events(events: np.ndarray, path: Path, index: np.ndarray) -> None:
    pt, phi, classes = events[..., 0], events[..., 2], events[..., 3]
    problems = (
        (~np.isfinite(events).all(axis=-1), "a NaN or infinity"),
        ((classes != 0) & (classes != CLASS), "a class that does not belong to its row"),
        (pt < 0, "a pT below 0"),
        ((np.abs(phi) > checks.MAX_PHI) & (pt > 0), "a phi beyond 4 pi"),
    )
    for bad, what in problems:
        if bad.any():
            event, row = np.argwhere(bad)[0]
            raise UserError(
                f"{path}: {KEY}[{index[event]}, {row}]: found {what}: {events[event, row]}; "
                "expected (pT, eta, phi, class) of MET, 4 e/gamma, 4 mu, 10 jets"
            )
    require_events(LAYOUT, events[..., :3], path, KEY, index)
