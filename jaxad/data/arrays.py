"""The user's own events: npz, npy or HDF5 files of particles, images or features.

Which array is what is said by settings alone, so that any experiment can be pointed at new files
from the command line:

    --config.data.name=arrays --config.data.source=jets.h5 --config.data.x_key=constituents
    --config.data.label_key=label --config.data.background=0,1 --config.data.signals=t=4,W=2,Z=3

Signals are labels of the source, files of their own (`--config.data.signals=top=top.h5`), or both.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import cache, checks, on_disk
from jaxad.data.array_files import chosen_rows, n_events_in, opened, stored_array
from jaxad.data.dataset import Dataset, Rows, as_mapping, concatenate, take
from jaxad.data.particles import jet_observables
from jaxad.data.splits import choose, split_indices
from jaxad.errors import UserError

FORMATS = {
    "ptetaphi": ((None, None, 3), "(pT, eta, phi) of each particle"),
    "epxpypz": ((None, None, 4), "(E, px, py, pz) of each particle"),
    "image": ((None, None, None), "one image an event, or (N, ny, nx, channels)"),
    "features": ((None, None), "one row of features an event"),
}
PARTICLES = ("ptetaphi", "epxpypz")
UNITS = {"GeV": 1.0, "MeV": 1e-3}

DEFAULTS = {
    "format": "ptetaphi",
    "x_key": "x",
    "label_key": "",  # "": the whole source is background
    "background": "0",  # labels: "0,1"
    "signals": "",  # "t=4,W=2": labels; "t=FILE": a file or glob of its own
    "observables": "",  # "mass=jet_mass,...": field = key in the files, (N,)
    "units": "GeV",  # of momenta in the files; "MeV" divides by 1000
    "n_events": 0,  # at most so many random events of each class; 0: all
    "val_fraction": 0.16,
    "test_fraction": 0.2,
    "on_disk": False,  # x lies in files of the cache folder, not in memory
}


def load(config: ConfigDict) -> Dataset:
    """Background and signals from the user's files.

    Rows: x float32, in the shape of the files (particles in GeV); the named observables; label;
    for particles also mass, pt and multiplicity, unless named.

    Raises:
      UserError: no such file, key, label or format; a wrong shape, a value that cannot be (NaN,
        negative pT, phi beyond 2 pi, energy below momentum, pT in MeV), an empty class.
    """
    _check_settings(config)
    paths = checks.resolve(config.source)
    keys = {"x": config.x_key, **_observable_keys(config)}
    by_label, by_file = _signals(config, paths)
    parts, labels = _parts_of_source(paths, by_label, config)
    read = np.unique(np.concatenate(list(parts.values())))
    rows = _read(paths, keys, read, config)
    rows["label"] = labels[read].astype(np.float32)
    parts = {name: take(rows, np.searchsorted(read, index)) for name, index in parts.items()}
    del rows
    background, signals = parts.pop("background"), parts
    for number, (name, files) in enumerate(by_file.items(), 1 + len(by_label)):
        index = _limited(_all_events(files, config), config, number)
        signals[name] = _read(files, keys, index, config)
        signals[name]["label"] = np.ones(len(signals[name]["x"]), np.float32)
    if "pt" in background:
        classes = {"background": background, **signals}
        medians = {name: float(np.median(part["pt"])) for name, part in classes.items()}
        checks.require_one_unit(medians, str(config.source))
    fractions = {
        "train": 1 - config.val_fraction - config.test_fraction,
        "val": config.val_fraction,
        "test": config.test_fraction,
    }
    split = split_indices(len(background["x"]), fractions, [config.seed, 0])
    files = [*paths, *itertools.chain(*by_file.values())]
    return Dataset(
        **{name: take(background, index) for name, index in split.items()},
        signals=signals,
        info={
            "name": "arrays",
            "source": str(config.source),
            "files": [str(path) for path in files],
            "format": config.format,
            "units": "GeV" if config.format in PARTICLES else "",
            "seed": config.seed,
        },
    )


def _check_settings(config: ConfigDict) -> None:
    if config.source in ("simulation", "download", ""):
        raise UserError(
            f"data.source={config.source!r}: data.name=arrays reads your own files: "
            "set data.source to a file or glob"
        )
    if config.format not in FORMATS:
        raise UserError(
            f"data.format: expected one of {', '.join(FORMATS)}, found {config.format!r}"
        )
    if config.units not in UNITS:
        raise UserError(f"data.units: expected {' or '.join(UNITS)}, found {config.units!r}")
    if not 0 < config.val_fraction + config.test_fraction < 1 or not (
        config.val_fraction > 0 and config.test_fraction > 0
    ):
        raise UserError(
            "data.val_fraction, data.test_fraction: expected positive numbers that leave some "
            f"events to train, found {config.val_fraction} and {config.test_fraction}"
        )


def _parts_of_source(
    paths: list[Path], by_label: Mapping[str, int], config: ConfigDict
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Row numbers of the background and of each labelled signal, and all labels."""
    if not config.label_key:
        index = _all_events(paths, config)
        return {"background": _limited(index, config, 0)}, np.zeros(len(index))
    labels = np.concatenate([_labels(path, config) for path in paths])
    wanted = {"background": _label_list(config.background)}
    wanted |= {name: [label] for name, label in by_label.items()}
    parts = {}
    for number, (name, values) in enumerate(wanted.items()):
        index = _with_labels(labels, values, name, config)
        parts[name] = _limited(index, config, number)
    return parts, labels


def _observable_keys(config: ConfigDict) -> dict[str, str]:
    keys = as_mapping(config.observables, "data.observables")
    if taken := {"x", "label"} & set(keys):
        raise UserError(f"data.observables: {taken.pop()!r} has a setting of its own, *_key")
    return keys


def _label_list(value: str | int | tuple) -> list[int]:
    items = value.split(",") if isinstance(value, str) else np.atleast_1d(value).tolist()
    try:
        return [int(item) for item in items]
    except ValueError:
        raise UserError(f"data.background: expected labels like 0,1, found {value!r}") from None


def _signals(
    config: ConfigDict, background: list[Path]
) -> tuple[dict[str, int], dict[str, list[Path]]]:
    """Signals that are labels of the source, and signals with files of their own."""
    by_label: dict[str, int] = {}
    by_file: dict[str, list[Path]] = {}
    for name, value in as_mapping(config.signals, "data.signals").items():
        if value.lstrip("-").isdigit():
            by_label[name] = int(value)
        else:
            by_file[name] = checks.resolve(value)
    if by_label and not config.label_key:
        raise UserError(
            f"data.signals: {next(iter(by_label))} is a label, which needs data.label_key"
        )
    if both := set(by_label.values()) & set(_label_list(config.background)):
        raise UserError(f"data.signals: label {both.pop()} is also in data.background")
    same = {path.resolve() for path in background}
    for name, files in by_file.items():
        if any(path.resolve() in same for path in files):
            raise UserError(
                f"data.signals: {name}: {files[0]} is also the background; "
                "give another file, or labels with data.label_key"
            )
    if "background" in by_label or "background" in by_file:
        raise UserError("data.signals: a signal cannot be called 'background'")
    return by_label, by_file


def _all_events(paths: list[Path], config: ConfigDict) -> np.ndarray:
    n_events = sum(n_events_in(path, config.x_key) for path in paths)
    if n_events == 0:
        raise UserError(f"{paths[0]}: {config.x_key}: no events")
    return np.arange(n_events)


def _labels(path: Path, config: ConfigDict) -> np.ndarray:
    key = config.label_key
    if path.suffix == ".npy":
        raise UserError(f"{path}: an npy file has no {key!r}; use npz or HDF5, or a file a class")
    with opened(path) as file, checks.reading(path, key):
        labels = np.asarray(stored_array(file, key, path)[:])
    n_events = n_events_in(path, config.x_key)
    if labels.shape not in ((n_events,), (n_events, 1)):
        raise UserError(
            f"{path}: {key}: expected one label for each of {n_events} events, "
            f"found shape {labels.shape}"
        )
    checks.require_finite(labels, path, key)
    return labels.reshape(-1)


def _with_labels(
    labels: np.ndarray, wanted: list[int], name: str, config: ConfigDict
) -> np.ndarray:
    index = np.flatnonzero(np.isin(labels, wanted))
    if len(index) == 0:
        found, counts = np.unique(labels, return_counts=True)
        listed = ", ".join(f"{f:g} ({c})" for f, c in zip(found[:10], counts, strict=False))
        raise UserError(
            f"{config.source}: {name}: no event has {config.label_key} in {wanted}; "
            f"found the labels {listed}"
        )
    return index


def _limited(index: np.ndarray, config: ConfigDict, number: int) -> np.ndarray:
    limit = min(config.n_events, len(index))
    return index[choose(len(index), limit, [config.seed, 1, number])]


def _read(
    paths: list[Path], keys: Mapping[str, str], index: np.ndarray, config: ConfigDict
) -> Rows:
    """The events `index` (sorted, counted through all files), checked, momenta in GeV."""
    parts: list[Rows] = []
    folder, first = cache.root(config.cache) if config.on_disk else None, 0
    for path in paths:
        with opened(path) as file:
            stored = {field: stored_array(file, key, path) for field, key in keys.items()}
            n_events = len(stored["x"])
            here = index[(index >= first) & (index < first + n_events)] - first
            first += n_events
            _check_shapes(stored, keys, path, config.format)
            with checks.reading(path, ", ".join(keys.values())):
                rows = {
                    field: chosen_rows(array, here, folder if field == "x" else None)
                    for field, array in stored.items()
                }
        for field, values in rows.items():
            rows[field] = values if field == "x" else values.reshape(len(here))
            checks.require_finite(values, path, keys[field], here)
        if config.format in PARTICLES:
            step = on_disk.rows_at_once(rows["x"])
            jets = [
                _jets(rows["x"][start : start + step], path, here[start:], config)
                for start in range(0, max(len(here), 1), step)
            ]
            rows = {**concatenate(jets), **rows}
        if len(here):
            parts.append(rows)
    if len({part["x"].shape[1:] for part in parts}) > 1:
        shapes = sorted({part["x"].shape[1:] for part in parts})
        raise UserError(f"{paths[0].parent}: {config.x_key}: files of different shapes {shapes}")
    return concatenate(parts)


def _check_shapes(stored: Mapping, keys: Mapping[str, str], path: Path, format: str) -> None:
    expected, meaning = FORMATS[format]
    shape = stored["x"].shape
    if format == "image" and len(shape) == 4:
        expected = (None,) * 4
    if len(shape) != len(expected) or (expected[-1] or shape[-1]) != shape[-1]:
        raise UserError(
            f"{path}: {keys['x']}: data.format={format} expects {len(expected)} axes, {meaning}, "
            f"found shape {shape}"
        )
    for field, array in stored.items():
        if len(array) != shape[0]:
            raise UserError(
                f"{path}: {keys[field]}: expected {shape[0]} rows as in {keys['x']}, "
                f"found {len(array)}"
            )
        if field != "x" and int(np.prod(array.shape)) != shape[0]:
            raise UserError(
                f"{path}: {keys[field]}: expected one value an event, found shape {array.shape}"
            )


def _jets(particles: np.ndarray, path: Path, index: np.ndarray, config: ConfigDict) -> Rows:
    """Scales momenta to GeV in place, refuses what no particle can be, and sums each jet."""
    if config.format == "ptetaphi":
        particles[..., 0] *= UNITS[config.units]
        problems = (
            (particles[..., 0] < 0, "a pT below 0: are the columns pT, eta, phi?"),
            (
                np.abs(particles[..., 2]) > 2 * np.pi + 1e-3,
                "a phi beyond 2 pi: are the columns pT, eta, phi, in radians?",
            ),
        )
    else:
        particles *= UNITS[config.units]
        momentum = np.linalg.norm(particles[..., 1:], axis=-1)
        below = particles[..., 0] < 0.9 * momentum
        problems = ((below, "an energy below the momentum: are the columns E, px, py, pz?"),)
    for bad, what in problems:
        if bad.any():
            row = index[np.argmax(bad.any(axis=1))]
            raise UserError(f"{path}: {config.x_key}: found at row {row} {what}")
    jets = jet_observables(particles)
    if len(particles):
        checks.require_gev(jets["pt"], path, config.x_key)
    return jets
