"""The Top Tagging Reference Dataset (Kasieczka et al., Zenodo 2603256; arXiv:1902.09914).

Jets of 14 TeV Pythia 8 + Delphes, anti-kT R = 0.8, 550 < pT < 650 GeV, in pandas HDF5 files of 200
zero-padded constituents E_i PX_i PY_i PZ_i and the class `is_signal_new` (0 QCD, 1 top). Files are
read in blocks and only the chosen jets are kept, so that memory is that of the result.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad.data import checks, download, simulated
from jaxad.data.dataset import Dataset, Rows
from jaxad.data.layout import Layout
from jaxad.data.pandas_table import PandasTable, is_frame
from jaxad.data.particles import JET_BASELINES, JET_LABELS, jet_observables
from jaxad.data.raw_events import require_events
from jaxad.data.rows import Events
from jaxad.data.splits import choose, split_indices
from jaxad.errors import UserError
from jaxad.storage import cache, on_disk
from jaxad.storage.paths import expanded

RECORD = "toptagging"
FILES = ("train.h5", "val.h5", "test.h5")
N_STORED = 200
LABEL = "is_signal_new"
MOMENTA = [f"{name}_{i}" for i in range(N_STORED) for name in ("E", "PX", "PY", "PZ")]
CLASSES = ("QCD", "top")
LAYOUT = Layout("epxpypz", (N_STORED, 4))

DEFAULTS = {
    "split": "random",  # "published": train, validation and test file as they are
    "file": "val.h5",  # the file of the record or folder that split="random" draws from
    "n_jets": 50_000,  # at most so many random jets (a file, with "published"); 0: all
    "train_fraction": 0.8,  # of each class
    "val_fraction": 0.1,  # of the training background
    "n_constituents": N_STORED,
    "reverse": False,  # train on top, flag QCD
    "n_simulated": 12_500,  # jets of each class
    "simulation_seed": 0,
    "workers": 0,  # 0: all cores
    "on_disk": False,  # jets lie in files of the cache folder, not in memory
}
WHOLE = {"n_jets": 0}
"""Settings where no event is left out."""


def idle(config: ConfigDict) -> dict[str, str]:
    """Settings that change nothing with the others as they are, and why."""
    found = simulated.idle(config)
    published = "data.split=published takes the files as they are: leave it out"
    if config.split == "published":
        found |= dict.fromkeys(("file", "train_fraction", "val_fraction"), published)
    elif config.source != "download" and not expanded(config.source).is_dir():
        found["file"] = f"data.source={config.source} says which: leave it out"
    return found


def load(config: ConfigDict) -> Dataset:
    """Background (QCD, or top with `reverse`) in three parts and the other class as signal.

    Rows: x (N, n_constituents, 4) float32 (E, px, py, pz) [GeV] zero padded; mass, pt [GeV] and
    multiplicity of all constituents; label (0 QCD, 1 top).

    split="random" is the exercise: `n_jets` random jets of the validation file, of each class
    `train_fraction` to train and the rest to test; the validation part is cut from the training
    background. Signal jets of the training share are not used.
    """
    _check_settings(config)
    paths = _files(config)
    labels = [_labels(path) for path in paths]
    if config.split == "random":
        parts = _random_parts(np.concatenate(labels), config)
    else:
        parts = _published_parts(labels, config)
    return _dataset(paths, parts, config)


def load_all(config: ConfigDict) -> Dataset:
    """As `load`, with all jets of the other class as signal, whatever the split."""
    _check_settings(config)
    paths = _files(config)
    labels = np.concatenate([_labels(path) for path in paths])
    jets = np.arange(len(labels))
    background, signal = (
        _of_class(labels, jets, label, config.source) for label in _classes(config)
    )
    thirds = dict.fromkeys(("train", "val", "test"), 1 / 3)
    split = split_indices(len(background), thirds, [config.seed, 1])
    parts = {name: background[index] for name, index in split.items()}
    return _dataset(paths, {**parts, "signal": signal}, config)


def _dataset(paths: list[Path], parts: Mapping[str, np.ndarray], config: ConfigDict) -> Dataset:
    folder = cache.disk(config)
    rows = read_jets(paths, parts, config.n_constituents, folder)
    checks.require_gev(rows["train"]["pt"], paths[0], "sum of PX, PY")
    background, signal = _classes(config)
    return Dataset(
        **{name: rows[name] for name in ("train", "val", "test")},
        signals={CLASSES[signal]: rows["signal"]},
        layout=replace(LAYOUT, shape=(config.n_constituents, 4)),
        labels=JET_LABELS,
        baselines=JET_BASELINES,
        info={
            "name": "toptagging",
            "background": CLASSES[background],
            "source": config.source,
            "files": [str(path) for path in paths],
            "selection": "anti-kT R=0.8, 550 < pT < 650 GeV, |eta| < 2, 14 TeV",
            "seed": config.seed,
        },
    )


def _check_settings(config: ConfigDict) -> None:
    if config.split not in ("random", "published"):
        raise UserError(f"data.split: expected random or published, found {config.split!r}")
    if config.file not in FILES:
        raise UserError(f"data.file: expected one of {', '.join(FILES)}, found {config.file!r}")
    if not 1 <= config.n_constituents <= N_STORED:
        raise UserError(
            f"data.n_constituents: expected 1 to {N_STORED}, found {config.n_constituents}"
        )


def _classes(config: ConfigDict) -> tuple[int, int]:
    """Labels of background and signal."""
    return (1, 0) if config.reverse else (0, 1)


def _files(config: ConfigDict) -> list[Path]:
    names = [config.file] if config.split == "random" else list(FILES)
    if config.source == "simulation":
        return simulated.simulated("toptagging", config)
    if config.source == "download":
        folder = cache.root(config.cache) / "download"
        return [download.fetch(RECORD, name, folder) for name in names]
    source = expanded(config.source)
    if source.is_dir():
        return [checks.resolve(source / name)[0] for name in names]
    if config.split == "published":
        raise UserError(
            f"{source}: data.split=published needs a folder with {', '.join(FILES)}; "
            "give the folder, or data.split=random"
        )
    return checks.resolve(source)


def _labels(path: Path) -> np.ndarray:
    with PandasTable(path) as table:
        table.require([*MOMENTA, LABEL])
        labels = table.read([LABEL])[:, 0]
    checks.require_labels(labels, path, LABEL, (0, 1))
    return labels


def _of_class(labels: np.ndarray, index: np.ndarray, label: int, where: str) -> np.ndarray:
    chosen = index[labels[index] == label]
    if len(chosen) == 0:
        raise UserError(f"{where}: no {CLASSES[label]} jets ({LABEL} = {label}) among {len(index)}")
    return chosen


def _random_parts(labels: np.ndarray, config: ConfigDict) -> dict[str, np.ndarray]:
    jets = choose(len(labels), min(config.n_jets, len(labels)), [config.seed, 0])
    background, signal = (
        _of_class(labels, jets, label, config.source) for label in _classes(config)
    )
    train, val = config.train_fraction, config.val_fraction
    fractions = {"train": train * (1 - val), "val": train * val, "test": 1 - train}
    parts = {
        name: background[index]
        for name, index in split_indices(len(background), fractions, [config.seed, 1]).items()
    }
    shares = split_indices(len(signal), {"unused": train, "test": 1 - train}, [config.seed, 2])
    return {**parts, "signal": signal[shares["test"]]}


def _published_parts(labels: list[np.ndarray], config: ConfigDict) -> dict[str, np.ndarray]:
    background, signal = _classes(config)
    parts, first = {}, 0
    for number, (part, values) in enumerate(zip(("train", "val", "test"), labels, strict=True)):
        jets = choose(len(values), min(config.n_jets, len(values)), [config.seed, number])
        where = f"{config.source}: {FILES[number]}"
        parts[part] = first + _of_class(values, jets, background, where)
        if part == "test":
            parts["signal"] = first + _of_class(values, jets, signal, where)
        first += len(values)
    return parts


def read_jets(
    paths: list[Path],
    parts: Mapping[str, np.ndarray],
    n_constituents: int = N_STORED,
    folder: Path | None = None,
) -> dict[str, Rows]:
    """Rows of each part, given as row numbers counted through all files; rows in file order.

    With a `folder`, their constituents lie on its disk.

    Raises:
      UserError: columns missing, NaN or infinity, or a negative energy.
    """
    parts = {name: np.sort(index) for name, index in parts.items()}
    rows = {name: _empty_rows(len(index), n_constituents, folder) for name, index in parts.items()}
    first = 0
    n_jets = max(int(index[-1]) for index in parts.values()) + 1
    with tqdm(total=n_jets, unit="jet", desc="reading", delay=2, leave=False) as progress:
        for path in paths:
            with PandasTable(path) as table:
                for start, values in table.blocks([*MOMENTA, LABEL], np.float32):
                    _check_block(values, path, start)
                    begin = first + start
                    for name, index in parts.items():
                        low, high = np.searchsorted(index, (begin, begin + len(values)))
                        here = index[low:high] - begin
                        _fill(rows[name], slice(low, high), values[here])
                    progress.update(len(values))
                first += table.n_rows
    return rows


class _Jets:
    """Raw jets of a published file, row by row."""

    def __init__(self, table: PandasTable, config: ConfigDict):
        table.require(MOMENTA)
        self._table, self._n_constituents = table, config.n_constituents

    def __len__(self) -> int:
        return self._table.n_rows

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        values = self._table.read(MOMENTA, start, stop, np.float32)
        _check_block(values, self._table.path, start)
        return _momenta(values)[:, : self._n_constituents]


def rows_of(path: Path, config: ConfigDict, stack: ExitStack) -> Events | None:
    """The jets of a published file, open while `stack` is; None of any other file."""
    if not is_frame(path):
        return None
    return _Jets(stack.enter_context(PandasTable(path)), config)


def _momenta(values: np.ndarray) -> np.ndarray:
    return values[:, : 4 * N_STORED].reshape(-1, N_STORED, 4)


def _check_block(values: np.ndarray, path: Path, start: int) -> None:
    checks.require_finite(values, path, "constituents", start)
    checks.require_filled(values[:, : 4 * N_STORED], path, "constituents", start)
    energies = values[:, : 4 * N_STORED : 4]
    if (energies < 0).any():
        row, i = np.argwhere(energies < 0)[0]
        raise UserError(
            f"{path}: E_{i}: expected an energy of 0 or more, found {energies[row, i]} "
            f"at row {start + row}"
        )
    require_events(LAYOUT, _momenta(values), path, "constituents", start)


def _empty_rows(n_jets: int, n_constituents: int, folder: Path | None) -> Rows:
    columns = ("mass", "pt", "multiplicity", "label")
    return {
        "x": on_disk.empty((n_jets, n_constituents, 4), np.float32, folder),
        **{name: np.empty(n_jets, np.float32) for name in columns},
    }


def _fill(rows: Rows, where: slice, values: np.ndarray) -> None:
    if len(values) == 0:
        return
    momenta = _momenta(values)
    rows["x"][where] = momenta[:, : rows["x"].shape[1]]
    rows["label"][where] = values[:, -1]
    for name, observable in jet_observables(momenta).items():
        rows[name][where] = observable
