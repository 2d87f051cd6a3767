"""Large-radius jets of QCD and eight signals of two, three and four prongs (Bradshaw, Chang,
Ostdiek, arXiv:2203.01343; background Zenodo 4641460, signals Zenodo 4614656).

One HDF5 file a kind: `objects/jets/constituents` (events, jets) of variable length, five numbers a
particle (E, px, py, pz, one to ignore), and `objects/jets/obs` (events, jets, 9): pt, eta, phi, m,
tau1 ... tau5. The leading jet of each event is used. `observables` keeps EFPs and tau_N of jets.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad.data import checks, download, simulated
from jaxad.data.dataset import Dataset, Rows, concatenate, n_rows, take
from jaxad.data.layout import Layout
from jaxad.data.particles import JET_BASELINES, JET_LABELS, jet_observables
from jaxad.data.raw_events import require_events
from jaxad.data.rows import Events
from jaxad.data.splits import split_indices
from jaxad.errors import UserError
from jaxad.storage import cache
from jaxad.storage.paths import expanded

BACKGROUND = "qcd_dijet.h5"
SIGNALS = {
    "top_174": "top_100k_01.h5",
    "top_80": "top_m80_100k_01_new.h5",
    "W_59": "W_m59_100k_01.h5",
    "W_80": "W_100k_01.h5",
    "W_120": "W_m120_100k_01.h5",
    "W_174": "W_m174_100k_01.h5",
    "H_174_h_80": "h3_m174_h80_100k_01.h5",
    "H_174_h_20": "h3_m174_h20_100k_01.h5",
}
"""Kinds by prong parent and mass [GeV], and their published files."""

CONSTITUENTS, OBSERVABLES = "objects/jets/constituents", "objects/jets/obs"
TAUS = ("tau1", "tau2", "tau3", "tau4", "tau5")
BLOCK = 10_000  # events read together

DEFAULTS = {
    "pt_min": 550.0,  # GeV, of the summed constituents
    "pt_max": 650.0,
    "n_constituents": 150,  # the hardest are kept
    "n_jets": 0,  # at most so many of each file, from its start; 0: all
    "train_fraction": 2 / 3,  # of the background, in file order
    "val_fraction": 0.1,  # of the training part, random
    "n_simulated": 10_000,  # QCD jets; a fifth as many of each signal
    "simulation_seed": 0,
    "workers": 0,  # 0: all cores
}
WHOLE = {"n_jets": 0}
"""Settings where no event is left out."""


idle = simulated.idle


def load(config: ConfigDict) -> Dataset:
    """QCD jets in three parts, and every signal whose file is there.

    Rows: x (N, n_constituents, 4) float32 (E, px, py, pz) [GeV] by falling pT, zero padded; mass,
    pt [GeV] and multiplicity of all constituents; tau1 ... tau5 as published (kT axes); label
    (0 QCD, 1 signal).

    The first `train_fraction` of the background file trains, less a random `val_fraction` of it
    for validation; the rest is the test part. Signals are only tested on.
    """
    _check_settings(config)
    background, signals = _files(config)
    jets = read_jets(background, config, label=0)
    n_train = round(config.train_fraction * n_rows(jets))
    parts = {"train": 1 - config.val_fraction, "val": config.val_fraction}
    index = split_indices(n_train, parts, config.seed)
    return Dataset(
        **{name: take(jets, np.sort(rows)) for name, rows in index.items()},
        test=take(jets, slice(n_train, None)),
        signals={name: read_jets(path, config, label=1) for name, path in signals.items()},
        layout=Layout("epxpypz", (config.n_constituents, 4)),
        labels=JET_LABELS,
        baselines=JET_BASELINES,
        info={
            "name": "jets",
            "source": config.source,
            "files": [str(path) for path in (background, *signals.values())],
            "tested_files": [*map(str, signals.values())],
            "selection": f"leading anti-kT R=1.0 jet, {config.pt_min:g} <= pT <= "
            f"{config.pt_max:g} GeV of the summed constituents",
            "seed": config.seed,
        },
    )


def read_jets(path: Path, config: ConfigDict, label: int) -> Rows:
    """Rows of the leading jets of a file that pass the cut, in file order.

    Raises:
      UserError: another layout, NaN, momenta that are not five numbers a particle, or in MeV.
    """
    with ExitStack() as stack:
        jets = _LeadingJets(stack.enter_context(checks.open_hdf5(path)), path, config)
        blocks, kept = [], 0
        starts = range(0, len(jets), BLOCK)
        for start in tqdm(starts, path.name, unit="block", delay=2, leave=False):
            rows = jets.rows(start, start + BLOCK)
            if not blocks:
                checks.require_gev(rows["pt"], path, CONSTITUENTS)
            passed = (rows["pt"] >= config.pt_min) & (rows["pt"] <= config.pt_max)
            blocks.append(take(rows, passed))
            kept += int(passed.sum())
            if config.n_jets and kept >= config.n_jets:
                break
    rows = take(concatenate(blocks), slice(0, config.n_jets or None))
    if n_rows(rows) == 0:
        raise UserError(
            f"{path}: no jet with {config.pt_min:g} <= pT <= {config.pt_max:g} GeV; "
            "widen data.pt_min, data.pt_max"
        )
    return {**rows, "label": np.full(n_rows(rows), label, np.float32)}


class _LeadingJets:
    """The leading jet of every event of a published file."""

    def __init__(self, file: h5py.File, path: Path, config: ConfigDict):
        self._path, self._n_constituents = path, config.n_constituents
        self._constituents = checks.require(file, CONSTITUENTS)
        self._observables = checks.require(file, OBSERVABLES)
        _require_layout(self._constituents, self._observables, path)

    def __len__(self) -> int:
        return len(self._observables)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        return self.rows(start, stop)["x"]

    def rows(self, start: int, stop: int) -> Rows:
        """Rows of a block, before any cut."""
        with checks.reading(self._path, CONSTITUENTS):
            ragged = self._constituents[start:stop, 0]
        with checks.reading(self._path, OBSERVABLES):
            obs = self._observables[start:stop, 0]
        obs = checks.finite_float32(obs, self._path, OBSERVABLES, start)
        return _rows(ragged, obs, self._path, start, self._n_constituents)


def rows_of(path: Path, config: ConfigDict, stack: ExitStack) -> Events | None:
    """The leading jets of a published file, open while `stack` is; None of any other file."""
    if path.suffix not in (".h5", ".hdf5"):
        return None
    file = stack.enter_context(checks.open_hdf5(path))
    return _LeadingJets(file, path, config) if CONSTITUENTS in file else None


def _check_settings(config: ConfigDict) -> None:
    if not 0 <= config.pt_min < config.pt_max:
        raise UserError(
            f"data.pt_min: expected 0 <= pt_min < pt_max, found {config.pt_min}, {config.pt_max}"
        )
    if config.n_constituents < 1:
        raise UserError(f"data.n_constituents: expected 1 or more, found {config.n_constituents}")


def _files(config: ConfigDict) -> tuple[Path, dict[str, Path]]:
    """The background file, and the signal files that there are."""
    if config.source == "simulation":
        folder = simulated.simulated("jets", config)[0].parent
    elif config.source == "download":
        folder = cache.root(config.cache) / "download"
        for file in (BACKGROUND, *SIGNALS.values()):
            path = download.fetch("jets", file, folder)
        folder = path.parent
    else:
        folder = expanded(config.source)
        folder = folder.parent if folder.name == BACKGROUND else folder
    (background,) = checks.resolve(folder / BACKGROUND)
    signals = {name: folder / file for name, file in SIGNALS.items()}
    signals = {name: path for name, path in signals.items() if path.is_file()}
    if not signals:
        raise UserError(f"{folder}: no signal file; expected some of {', '.join(SIGNALS.values())}")
    return background, signals


def _require_layout(constituents: h5py.Dataset, observables: h5py.Dataset, path: Path) -> None:
    numbers = h5py.check_vlen_dtype(constituents.dtype)
    if numbers is None or np.dtype(numbers).kind != "f" or constituents.ndim != 2:
        raise UserError(
            f"{path}: {CONSTITUENTS}: expected (events, jets) of variable-length floats, found "
            f"{constituents.shape} {constituents.dtype}"
        )
    checks.require_shape(observables.shape, (None, None, 9), path, OBSERVABLES)
    if observables.shape[:2] != constituents.shape or 0 in constituents.shape:
        raise UserError(
            f"{path}: {OBSERVABLES} {observables.shape}: expected the events and jets of "
            f"{CONSTITUENTS}, {constituents.shape}"
        )


def _rows(ragged: np.ndarray, obs: np.ndarray, path: Path, start: int, n_constituents: int) -> Rows:
    """Rows of one block of jets, all of their particles counted, `n_constituents` kept."""
    lengths = np.array([len(jet) for jet in ragged])
    odd = lengths % 5 != 0
    if odd.any():
        row = int(np.argmax(odd))
        raise UserError(
            f"{path}: {CONSTITUENTS}: expected five numbers a particle, found {lengths[row]} "
            f"numbers at row {start + row}"
        )
    counts = lengths // 5
    empty = (counts == 0) & (obs[:, 0] > 0)
    if empty.any():
        row = int(np.argmax(empty))
        raise UserError(
            f"{path}: {CONSTITUENTS}: no particles at row {start + row}, whose pT in {OBSERVABLES} "
            f"is {obs[row, 0]:g}: they were never written; write, copy or download the file again"
        )
    with np.errstate(over="ignore"):  # infinities are refused below
        flat = np.concatenate(ragged).reshape(-1, 5)[:, :4].astype(np.float32)
    jet = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((-np.hypot(flat[:, 1], flat[:, 2]), jet))
    place = np.arange(len(jet)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.zeros((len(counts), max(n_constituents, counts.max()), 4), np.float32)
    padded[jet, place] = flat[order]
    layout = Layout("epxpypz", padded.shape[1:])
    require_events(layout, padded, path, CONSTITUENTS, start)
    taus: Mapping[str, np.ndarray] = dict(zip(TAUS, obs[:, 4:].T, strict=True))
    jets = jet_observables(padded)
    return {"x": padded[:, :n_constituents].copy(), **jets, **taus}
