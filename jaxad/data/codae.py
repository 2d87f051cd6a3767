"""Event images of dark-shower searches (Anzalone et al., arXiv:2306.12955).

Published npz files of images (N, 72, 58, 3) in (phi, eta), channels (tracker, ECAL, HCAL) [GeV],
and upstream HDF5 files of single cells, pooled to the same images. A folder holds `train` (QCD),
`test` (QCD, SUEP, SVJ) and perhaps `supervised_train` and `supervised_valid`, whose images have
one summed channel. Augmentation runs on the device.
"""

import re
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import checks, image_sums, simulated
from jaxad.data.array_files import opened, stored_array
from jaxad.data.dataset import Dataset, Rows, concatenate, take
from jaxad.data.layout import Layout
from jaxad.data.raw_events import require_events
from jaxad.data.rows import Events
from jaxad.data.splits import choose, split_indices
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.observables.images import from_cells
from jaxad.storage import cache, on_disk
from jaxad.storage.paths import expanded

LABELS = ("QCD", "SUEP", "SVJ")
SVJ_MASS = {5: 2100.0, 6: 3100.0, 7: 4100.0}
MASS_MAPS = {
    "unsupervised": {
        0: {0: 0.0},
        1: {1: 125.0, 2: 200.0, 3: 300.0, 4: 400.0, 5: 700.0, 6: 1000.0},
        2: SVJ_MASS,
    },
    "supervised": {0: {0: 0.0}, 1: {1: 125.0, 2: 400.0, 3: 700.0, 4: 1000.0}, 2: SVJ_MASS},
}
"""Mass [GeV] of (label, mass index); the supervised set numbers its SUEP masses differently."""

KEY = "images"
CELLS = ("ImageTrk_PUcorr", "ImageECAL", "ImageHCAL")
N_TRACKS = "NTrk_PUcorr"
NAME = re.compile(r"(?P<kind>qcd|suep|svj)(?:_gensim)?(?:_h?(?P<mass>\d+))?", re.IGNORECASE)

LAYOUT = Layout(
    "image",
    (72, 58, 3),
    picture={"extent": (-2.5, 2.5, -np.pi, np.pi), "labels": ("η", "φ"), "unit": "GeV"},
    periodic=True,
    energies=True,
    classes=LABELS,
)

DEFAULTS = {
    "n_events": 0,  # at most so many random events of each class, 0: all
    "val_fraction": 0.1,  # of the training background
    "supervised": False,  # also read what the supervised baseline trains on
    "supervised_fraction": 0.5,  # of all test events, where the folder has no supervised set
    "n_simulated": 2000,  # QCD events; see jaxad.simulation
    "simulation_seed": 0,
    "workers": 0,  # 0: all cores
    "on_disk": False,  # images lie in files of the cache folder, not in memory
}
WHOLE = {"n_events": 0, "supervised": False}
"""Settings where no event is set apart or left out."""


def idle(config: ConfigDict) -> dict[str, str]:
    """Settings that change nothing with the others as they are, and why."""
    found = simulated.idle(config)
    if not config.supervised:
        found["supervised_fraction"] = "data.supervised is False: set it to True"
    return found


def load(config: ConfigDict) -> Dataset:
    """QCD in three parts, and one signal a mass: "SUEP_125" ... "SVJ_4100" [GeV].

    Rows: x (N, 72, 58, 3) float32 [GeV]; n_tracks; what `jaxad.data.image_sums` makes of x; label;
    signal_mass [GeV]. With `supervised`, extra parts "supervised_train" and
    "supervised_val" hold all classes in images of one summed channel.
    """
    folder = _folder(config)
    train, test = (
        _limited(_read_folder(folder / part, config), config) for part in ("train", "test")
    )
    if (train["label"] != 0).any():
        raise UserError(f"{folder / 'train'}: labels: expected QCD only (0), found signal events")
    extra = _supervised(folder, config) if config.supervised else {}
    if config.supervised and not extra:
        extra, test = _hold_out(test, config)
    shares = {"val": config.val_fraction, "train": -1}
    index = split_indices(len(train["x"]), shares, config.seed)
    sums = {name: train[name] for name in ("hits", "sum_energy")}
    line = image_sums.hits_line(take(sums, index["train"]))
    train, test = (image_sums.with_hits_at_energy(rows, line) for rows in (train, test))
    background, signals = _by_class(test, folder / "test")
    return Dataset(
        train=take(train, index["train"]),
        val=take(train, index["val"]),
        test=background,
        signals=signals,
        extra=extra,
        layout=LAYOUT,
        labels={
            "n_tracks": ("number of tracks", ""),
            **image_sums.LABELS,
        },
        baselines=("n_tracks", *image_sums.LABELS),
        info={
            "name": "codae",
            "source": config.source,
            "files": [str(path) for part in ("train", "test") for path in _files(folder / part)],
            "tested_files": [str(path) for path in _files(folder / "test")],
            "background": "QCD",
            "selection": "13 TeV, HT > 500 GeV; (phi, eta, [tracker, ECAL, HCAL])",
            "seed": config.seed,
        },
    )


def _folder(config: ConfigDict) -> Path:
    if config.source == "simulation":
        return simulated.simulated("codae", config)[0].parents[1]
    if config.source == "download":
        raise UserError(
            "data.source: the event images have no record to download: clone "
            "github.com/Luca96/dark-autoencoders and give its folder data/n_tracks"
        )
    folder = expanded(config.source)
    for part in ("train", "test"):
        if not (folder / part).is_dir():
            raise UserError(f"{folder}: expected a folder with train and test, found no {part}")
    return folder


def _files(folder: Path) -> list[Path]:
    paths = [path for path in sorted(folder.glob("*")) if path.suffix in (".npz", ".h5", ".hdf5")]
    if not paths:
        raise UserError(f"{folder}: expected .npz or .h5 files of event images, found none")
    return paths


def _read_folder(folder: Path, config: ConfigDict) -> Rows:
    disk = cache.disk(config)
    parts = []
    for path in _files(folder):
        rows = read_file(path)
        parts.append(rows | {"x": on_disk.concatenate([rows["x"]], disk)})
    return concatenate(parts)


def _limited(rows: Rows, config: ConfigDict) -> Rows:
    """At most `n_events` of every class and mass."""
    if not config.n_events:
        return rows
    classes = np.stack([rows["label"], rows["signal_mass"]], axis=1)
    chosen = []
    for number, each in enumerate(np.unique(classes, axis=0)):
        index = np.flatnonzero((classes == each).all(axis=1))
        limit = min(config.n_events, len(index))
        chosen.append(index[choose(len(index), limit, [config.seed, number])])
    return take(rows, np.sort(np.concatenate(chosen)))


def _supervised(folder: Path, config: ConfigDict) -> dict[str, Rows]:
    """The published supervised set, {} where the folder has none."""
    parts = {"supervised_train": "supervised_train", "supervised_val": "supervised_valid"}
    if not all((folder / name).is_dir() for name in parts.values()):
        return {}
    return {
        part: _limited(_read_folder(folder / name, config), config) for part, name in parts.items()
    }


def _hold_out(test: Rows, config: ConfigDict) -> tuple[dict[str, Rows], Rows]:
    """Supervised parts cut from the test events, and the test events that are left."""
    share = config.supervised_fraction
    shares = {"train": 0.8 * share, "val": 0.2 * share, "test": -1}
    index = split_indices(len(test["x"]), shares, config.seed)
    parts = {name: take(test, rows) for name, rows in index.items()}
    extra = {
        f"supervised_{name}": parts[name] | {"x": parts[name]["x"].sum(-1, keepdims=True)}
        for name in ("train", "val")
    }
    return extra, parts["test"]


def _by_class(rows: Rows, folder: Path) -> tuple[Rows, dict[str, Rows]]:
    background = take(rows, rows["label"] == 0)
    if len(background["x"]) == 0:
        raise UserError(f"{folder}: labels: expected QCD events (0) among others, found none")
    signals = {}
    for label in (1, 2):
        for mass in np.unique(rows["signal_mass"][rows["label"] == label]):
            chosen = (rows["label"] == label) & (rows["signal_mass"] == mass)
            signals[f"{LABELS[label]}_{mass:.0f}"] = take(rows, chosen)
    return background, signals


def mass_in_name(path: Path) -> tuple[int, float | None]:
    """(label, mass [GeV] or None) by file name: suep_gensim_h<M>_..., svj_<M>_..., qcd_...

    Raises:
        UserError: a name of no known class.
    """
    match = NAME.match(path.name)
    if not match:
        raise UserError(
            f"{path}: expected a file name that starts with qcd, suep_gensim_h<MASS> or svj_<MASS>"
        )
    label = ("qcd", "suep", "svj").index(match["kind"].lower())
    return label, float(match["mass"]) if label and match["mass"] else None


def masses_of(label: np.ndarray, index: np.ndarray, path: Path) -> np.ndarray:
    """Masses [GeV] (N,) of (label, mass index), by the index map that agrees with the file's name.

    A name without a mass takes the map of its folder: supervised_... or the other.

    Raises:
        UserError: an unknown pair, or a name that disagrees with the content.
    """
    pairs = [(int(a), int(b)) for a, b in np.unique(np.stack([label, index], 1), axis=0)]
    _, named = mass_in_name(path) if NAME.match(path.name) else (None, None)
    order = ("supervised", "unsupervised") if "supervised" in path.parent.name else MASS_MAPS
    candidates = []
    for name in order:
        found = [MASS_MAPS[name].get(a, {}).get(b) for a, b in pairs]
        if None not in found and (named is None or set(found) <= {named, 0.0}):
            candidates.append(name)
    if not candidates:
        says = f", and a name that says {named:g} GeV" if named is not None else ""
        raise UserError(
            f"{path}: masses: no index map has (label, index) = {pairs}{says}: rename the file or "
            "correct its masses"
        )
    table = MASS_MAPS[candidates[0]]
    pick = np.vectorize(lambda a, b: table[int(a)][int(b)], otypes=[np.float32])
    return pick(label, index) if len(label) else np.zeros(0, np.float32)


def rows_of(path: Path, config: ConfigDict, stack: ExitStack) -> Events | None:
    """The images of a published file, which is read whole; None of any other file."""
    if path.suffix == ".npz":
        with opened(path) as file:
            own = {"images", "labels", "masses"} <= set(file)
    else:
        own = path.suffix in (".h5", ".hdf5") and _has_cells(path)
    return read_file(path)["x"] if own else None


def _has_cells(path: Path) -> bool:
    with checks.open_hdf5(path) as file:
        return CELLS[0] in file


def read_file(path: Path) -> Rows:
    """Rows of one file, npz (images) or HDF5 (cells), see `load`; n_tracks is 0 where absent."""
    rows = _read_npz(path) if path.suffix == ".npz" else _read_cells(path)
    images = rows["x"]
    require_events(LAYOUT, images, path, "images")
    checks.require_filled(images, path, "images")
    return rows | image_sums.of(images)


def _read_npz(path: Path) -> Rows:
    with opened(path) as file:
        keys = ("images", "labels", "masses", *(key for key in ("n_tracks",) if key in file))
        arrays = {key: stored_array(file, key, path) for key in keys}
    images = arrays["images"]
    n = len(images)
    channels = images.shape[-1] if images.ndim == 4 and images.shape[-1] in (1, 3) else 3
    checks.require_shape(images.shape, (None, 72, 58, channels), path, "images")
    arrays.setdefault("n_tracks", np.zeros((n, 1), np.float32))
    for key in ("labels", "masses", "n_tracks"):
        if arrays[key].size != n:
            raise UserError(
                f"{path}: {key}: expected {n} values as in images, found shape {arrays[key].shape}"
            )
        arrays[key] = arrays[key].reshape(n)
    arrays = {key: checks.finite_float32(values, path, key) for key, values in arrays.items()}
    checks.require_labels(arrays["labels"], path, "labels", range(len(LABELS)))
    checks.require_labels(arrays["masses"], path, "masses")
    return {
        "x": arrays["images"],
        "n_tracks": arrays["n_tracks"],
        "label": arrays["labels"],
        "signal_mass": masses_of(arrays["labels"], arrays["masses"], path),
    }


def _read_cells(path: Path) -> Rows:
    """Upstream cells (N, 286, 360) in (eta, phi), pooled 5 x 5; class and mass by file name."""
    label, mass = mass_in_name(path)
    if label and mass is None:
        raise UserError(f"{path}: expected the mass in the file name, as suep_gensim_h400_...")
    with checks.open_hdf5(path) as file:
        stored = [checks.require(file, key) for key in CELLS]
        for key, dataset in zip(CELLS, stored, strict=True):
            checks.require_shape(dataset.shape, (len(stored[0]), 286, 360), path, key)
        with checks.reading(path, ", ".join(CELLS)):
            arrays = [dataset[:] for dataset in stored]
            tracks = np.asarray(checks.require(file, N_TRACKS)).reshape(-1)
    arrays = [checks.finite_float32(a, path, key) for key, a in zip(CELLS, arrays, strict=True)]
    cells, tracks = np.stack(arrays, axis=1), checks.finite_float32(tracks, path, N_TRACKS)
    if len(tracks) != len(cells):
        raise UserError(f"{path}: {N_TRACKS}: expected {len(cells)} values, found {len(tracks)}")
    pooled = in_batches(lambda c: from_cells(c[:, 0], c[:, 1], c[:, 2]), cells, path.name, 256)
    shape = len(cells)
    return {
        "x": pooled,
        "n_tracks": tracks,
        "label": np.full(shape, label, np.float32),
        "signal_mass": np.full(shape, mass or 0.0, np.float32),
    }
