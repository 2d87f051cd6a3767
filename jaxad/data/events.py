"""The user's own events: npz, npy or HDF5 files of particles, images or features.

Which array is what is said by settings alone, so that any experiment can be pointed at new files
from the command line:

    --config.data.name=events --config.data.source=jets.h5 --config.data.x_key=constituents
    --config.data.label_key=label --config.data.background=0,1 --config.data.signals=t=4,W=2,Z=3

or the columns of a table, of any kind of file (`jaxad.data.named`):

    --config.data.name=events --config.data.source=table.csv --config.data.features=mj1,mj2,tau*

Signals are labels of the source, files of their own (`--config.data.signals=top=top.h5`), or both.
"""

import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import assembled, checks, event_weights, kept, named, named_table
from jaxad.data.array_files import chosen_rows, fill_rows
from jaxad.data.dataset import Dataset, Rows, as_mapping, concatenate, take
from jaxad.data.labels import labels_of, limited, parts_of, signals_of
from jaxad.data.layout import FORMATS, PARTICLES, Layout
from jaxad.data.particles import JET_BASELINES, JET_LABELS, jet_observables
from jaxad.data.places import open_places
from jaxad.data.raw_events import require_events
from jaxad.data.rows import Events, file_of, files_of
from jaxad.data.selected import cut, passed
from jaxad.data.splits import hold_out, split_indices
from jaxad.data.table import Everything, Origin
from jaxad.data.window import searched, window_of
from jaxad.errors import UserError
from jaxad.storage import cache, on_disk

UNITS = {"GeV": 1.0, "MeV": 1e-3}

DEFAULTS = {
    "format": "ptetaphi",
    "features": "",  # "mj1,mj2,tau*": columns of a table, in this order
    "mass": "",  # of a table: the column of the mass, in the unit of mass_unit
    "mass_unit": "GeV",  # GeV, TeV or MeV
    "weight": "",  # of a table, as are the next three: the column of the weights
    "label": "",  # the column of the truth
    "id": "",  # "run,event": columns of whole numbers that say which event it is
    "missing": "",  # "tau21:-999": values that stand for none
    "preset": "",  # of `jaxad data list`, or FILE.toml: filled in before any reading
    "x_key": "x",  # an array, or columns, of one "X[2],X[0],X[1]" or of several "pt,eta,phi"
    "mask_key": "",  # (N, n) of 0 and 1: where there is a particle; "": where x is not 0
    "jet_pt_key": "",  # (N,): what the relative pT of particles are multiplied with
    "particle_weight_key": "",  # (N, n): what momenta of particles are multiplied with
    "log_pt": False,  # the files hold the natural logarithm of pT
    "sort_pt": False,  # particles by falling pT, where the files have another order
    "label_key": "",  # "": the whole source is background; several columns: one-hot
    "mass_key": "",  # of features: the resonant mass, in the units of `units`
    "weight_key": "",
    "selection": "",  # "FatJet_pt[0] > 300 & nMuon == 2": see `jaxad.data.expression`
    "negative_weights": "",  # where methods learn: absolute | drop | clip_zero; "": refused
    "id_key": "",
    "background": "0",  # labels: "0,1"
    "signals": "",  # "t=4,W=2": labels; "t=FILE": a file or glob of its own
    "observables": "",  # "mass=jet_mass,...": field = key in the files, (N,)
    "units": "GeV",  # of momenta, mass and pt in the files; or MeV
    "n_events": 0,  # at most so many random events of each class; 0: all
    "val_fraction": 0.16,
    "test_fraction": 0.2,
    "supervised": False,  # also hold out events of all classes that supervised methods train on
    "supervised_fraction": 0.5,  # of the test events and the signals
    "window": "",  # LOW-HIGH [TeV]: the signal region of a search in the mass; "": none
    "inject": 0,  # signal events in the data of a search
    "on_disk": False,  # x lies in files of the cache folder, not in memory
}
WHOLE = {"n_events": 0, "supervised": False}
"""Settings where no event is set apart or left out."""


def idle(config: ConfigDict) -> dict[str, str]:
    """Settings that change nothing with the others as they are, and why."""
    found = {}
    if config.features:
        for name in ("label", "mass", "weight", "id"):
            found[f"{name}_key"] = f"beside data.features it is data.{name}: set that"
        why = "data.features names columns"
        found["on_disk"] = why
        if not named.maybe_particles(config):
            found |= dict.fromkeys(("x_key", "units", "observables", *assembled.BESIDE), why)
            found |= {} if config.format == "features" else {"format": why}
        if not config.mass:
            found["mass_unit"] = "data.mass is not set: set it"
    else:
        found |= dict.fromkeys(named.SETTINGS, "no columns are named: set data.features")
        if config.format == "image" or (config.format == "features" and not _in_units(config)):
            found["units"] = f"nothing of data.format={config.format} has a unit: leave it out"
        if config.format not in PARTICLES:
            found |= dict.fromkeys(assembled.BESIDE, f"data.format={config.format}: no particles")
    if config.format == "epxpypz":
        why = "data.format=epxpypz holds momenta, not pT: leave it out"
        found |= dict.fromkeys(("jet_pt_key", "log_pt"), why)
    if not (config.weight if config.features else config.weight_key):
        found["negative_weights"] = "no weights are named: set data.weight_key"
    if not (config.label if config.features else config.label_key):
        key = "data.label" if config.features else "data.label_key"
        found["background"] = f"without {key} the whole source is background: set it"
    if config.window:
        why = "the parts of a search are 1/2, 1/6 and 1/3 of the events: leave it out"
        found |= dict.fromkeys(("val_fraction", "test_fraction"), why)
    if not config.supervised:
        found["supervised_fraction"] = "data.supervised is False: set it to True"
    return found


def _in_units(config: ConfigDict) -> bool:
    """Whether features have a mass, or observables that `units` scales."""
    fields = as_mapping(config.observables, "data.observables")
    return bool(config.mass_key) or bool({"mass", "pt"} & set(fields))


def load(config: ConfigDict) -> Dataset:
    """Background and signals from the user's files.

    Rows: x float32, in shape and unit of the files (with `mass_key` the mass before the features;
    particles of files with fewer slots than others are padded to as many);
    the named observables; label; "weight" and "event" where `weight_key` and `id_key` name them;
    for particles also mass, pt [GeV] and multiplicity, unless named. With `features` x holds the
    mass, where there is one, and the named columns. With a window the events are
    those of a search (`jaxad.data.window`).

    Raises:
      UserError: no such file, key, label or format; a wrong shape, a value that cannot be (NaN,
        negative pT, angles in degrees, energy below momentum, pT in MeV), an empty class.
    """
    _check_settings(config)
    classes = named.classes if config.features else _classes
    background, signals, about = classes(config)
    if "pt" in background:
        of_classes = {"background": background, **signals}
        medians = {name: float(np.median(part["pt"])) for name, part in of_classes.items()}
        checks.require_one_unit(medians, str(config.source))
    about["info"] |= {"name": "events", "source": str(config.source), "seed": config.seed}
    if config.window:
        window = window_of(config.window)
        return searched(background, signals, window, config.inject, config.seed, **about)
    fractions = {
        "train": 1 - config.val_fraction - config.test_fraction,
        "val": config.val_fraction,
        "test": config.test_fraction,
    }
    split = split_indices(len(background["x"]), fractions, [config.seed, 0])
    parts = {name: take(background, index) for name, index in split.items()}
    if config.supervised:
        about["layout"] = replace(about["layout"], classes=("background", *signals))
        extra, parts["test"], signals = hold_out(
            parts["test"], signals, config.supervised_fraction, config.seed
        )
        about["extra"] = extra
    return Dataset(**parts, signals=signals, **about)


def _classes(config: ConfigDict) -> tuple[Rows, dict[str, Rows], dict[str, Any]]:
    """Background, signals, and further fields of the data set, of whole arrays."""
    paths = [*map(Path, files_of(config.source))]
    by_label, files_of_signals = signals_of(config, paths)
    by_file = {name: [*map(Path, files)] for name, files in files_of_signals.items()}
    labels: np.ndarray | None = None
    if config.label_key:
        parts = [labels_of(path, config, _n_events(path, config)) for path in paths]
        labels = np.concatenate(parts)
    n_events = len(_all_events(paths, config)) if labels is None else len(labels)
    index, left_out, flows = parts_of(paths, n_events, labels, by_label, config)
    wanted = np.zeros(n_events, bool)
    for place in index.values():
        wanted[place] = True
    read = np.flatnonzero(wanted)
    n_particles = _n_particles([*paths, *itertools.chain(*by_file.values())], config)
    rows = _read(paths, read, config, n_particles)
    rows["label"] = np.zeros(len(read), np.float32)
    if labels is not None:
        rows["label"] = labels[read].astype(np.float32)
    signals = {name: take(rows, np.searchsorted(read, place)) for name, place in index.items()}
    del rows
    background = signals.pop("background")
    for number, (name, files) in enumerate(by_file.items(), 1 + len(by_label)):
        own, flow = cut(files, config, {name: _all_events(files, config)})
        flows |= flow
        signals[name] = _read(files, limited(own[name], config, number), config, n_particles)
        signals[name]["label"] = np.ones(len(signals[name]["x"]), np.float32)
    jets = config.format in PARTICLES
    fields = {name: JET_LABELS.get(name, (name, "")) for name in _observable_keys(config)}
    own = [str(file_of(str(path))[0]) for path in itertools.chain(*by_file.values())]
    return (
        background,
        signals,
        {
            "layout": _layout(background["x"].shape[1:], config),
            "labels": (JET_LABELS if jets else {}) | fields,
            "baselines": tuple(dict.fromkeys((*(JET_BASELINES if jets else ()), *fields))),
            "info": {
                "files": [*(str(file_of(str(path))[0]) for path in paths), *own],
                "tested_files": own,
                "left_out": left_out,
                **({"cut_flow": flows} if flows else {}),
            },
        },
    )


search_table = named_table.search_table


def everything(config: ConfigDict) -> Everything:
    """All events of arrays for a search, whatever their label; see `named_table.search_table`.

    Raises:
        UserError: as `load`.
    """
    _check_settings(config)
    named_table.require_all(config)
    paths = [*map(Path, files_of(config.source))]
    by_label, by_file = signals_of(config, paths)
    files = [*paths, *(Path(file) for group in by_file.values() for file in group)]
    sizes = [_n_events(path, config) for path in files]
    n_source, n_events = sum(sizes[: len(paths)]), sum(sizes)
    rows = _read(files, np.arange(n_events), config, _n_particles(files, config))
    layout = _layout(rows["x"].shape[1:], config)
    origin = Origin(tuple(map(str, files)), tuple(int(n) for n in np.cumsum([0, *sizes[:-1]])))
    labels: np.ndarray | None = None
    if config.label_key:
        parts = zip(paths, sizes, strict=False)
        labels = np.concatenate([labels_of(path, config, n) for path, n in parts])
    kept, truth, left_out = named_table.data_among(
        labels, n_source, n_events, by_label, config, passed(files, config)
    )
    return Everything(
        rows if kept is None else take(rows, kept),
        layout,
        truth,
        origin._replace(rows=kept),
        {"name": "events", "source": str(config.source), "left_out": left_out},
    )


def rows_of(path: Path, config: ConfigDict, stack: ExitStack) -> Events:
    """The raw events of a file, open while `stack` is."""
    if config.features:
        rows, _ = named.rows([str(path)], config, labelled=False)
        return rows["x"]
    return stack.enter_context(_opened(path, config))


class _Rows:
    """Raw events of a file, as float32; the mass, where there is one, before the features."""

    def __init__(self, stored: Mapping[str, Any], path: Path, config: ConfigDict, n_particles: int):
        self._stored, self._path, self._config = stored, path, config
        self._n_particles = n_particles
        self._layout = _layout(stored["x"].shape[1:], config, n_masses="mass" in stored)

    def __len__(self) -> int:
        return len(self._stored["x"])

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.chosen(np.arange(*rows.indices(len(self))), None)

    def chosen(
        self, index: np.ndarray, folder: Path | None, empty: kept.Empty = on_disk.empty
    ) -> np.ndarray:
        """The events `index`, sorted, checked, in memory or on the disk of a folder."""
        keys = _keys(self._config)
        with checks.reading(self._path, ", ".join(keys[name] for name in self._stored)):
            stored = self._stored["x"]
            if "mass" in self._stored:
                x = empty((len(index), 1 + stored.shape[1]), np.float32, folder)
                x[:, 0] = chosen_rows(self._stored["mass"], index).reshape(len(index))
                fill_rows(x[:, 1:], stored, index)
            elif stored.shape[1] < self._n_particles:
                shape = len(index), self._n_particles, stored.shape[2]
                x = empty(shape, np.float32, folder)
                fill_rows(x[:, : stored.shape[1]], stored, index)
                x[:, stored.shape[1] :] = 0
            else:
                x = empty((len(index), *stored.shape[1:]), np.float32, folder)
                fill_rows(x, stored, index)
        step, zeros = on_disk.rows_at_once(x), []
        for start in range(0, len(index), step):
            block, rows = x[start : start + step], index[start : start + step]
            require_events(self._layout, block, self._path, keys["x"], rows)
            zeros += rows[checks.zeros(block)].tolist()
            on_disk.release(x)
        if zeros:
            print(
                f"warning: {self._path}: {keys['x']}: only zeros in {len(zeros):,} of "
                f"{len(index):,} events, first at row {zeros[0]}: were they ever written?",
                file=sys.stderr,
            )
        return x


@contextmanager
def _opened(path: Path, config: ConfigDict, n_particles: int = 0) -> Iterator[_Rows]:
    keys = _keys(config)
    with ExitStack() as stack:
        stored = {"x": stack.enter_context(assembled.open_events(path, config))}
        if config.mass_key:
            mass = open_places(path, config.mass_key, "data.mass_key")
            stored["mass"] = stack.enter_context(mass)
        _check_shapes(stored, keys, path, config.format)
        yield _Rows(stored, path, config, n_particles)


def _layout(shape: tuple[int, ...], config: ConfigDict, n_masses: int = 0) -> Layout:
    if config.format != "features":
        return Layout(config.format, tuple(shape), unit=UNITS[config.units])
    width, mass = shape[0] + n_masses, "mass" if config.mass_key else ""
    names = [(f"x[{i}]", "") for i in range(width - bool(mass))]
    columns = ((mass, config.units), *names) if mass else tuple(names)
    return Layout("features", (width,), unit=UNITS[config.units], columns=columns, mass=mass)


def _check_settings(config: ConfigDict) -> None:
    if config.source in ("simulation", "download", ""):
        raise UserError(
            f"data.source={config.source!r}: data.name=events reads your own files: "
            "set data.source to a file or glob"
        )
    if config.format not in FORMATS:
        raise UserError(
            f"data.format: expected one of {', '.join(FORMATS)}, found {config.format!r}"
        )
    if config.units not in UNITS:
        raise UserError(f"data.units: expected {' or '.join(UNITS)}, found {config.units!r}")
    if config.mass_key and config.format != "features" and not config.features:
        raise UserError(
            f"data.mass_key: a mass stands beside features, found data.format={config.format}; "
            "of particles the invariant mass is computed"
        )
    event_weights.require_choice(config.negative_weights)
    if config.supervised and not config.signals:
        raise UserError("data.supervised: needs classes to tell apart: name some in data.signals")
    if config.inject and not config.window:
        raise UserError("data.inject: events are injected into a search: set data.window")
    if config.window and config.supervised:
        raise UserError("data.supervised: is not for a search: leave out data.window")
    if config.val_fraction + config.test_fraction >= 1:
        raise UserError(
            "data.val_fraction, data.test_fraction: expected positive numbers that leave some "
            f"events to train, found {config.val_fraction} and {config.test_fraction}"
        )


def _observable_keys(config: ConfigDict) -> dict[str, str]:
    keys = as_mapping(config.observables, "data.observables")
    own = {"x", "label", "weight", "event", *(["mass"] if config.mass_key else [])}
    if config.window and config.format in PARTICLES and "mass" in keys:
        raise UserError(
            "data.observables: mass: of particles a search takes the invariant mass: leave it out"
        )
    if taken := own & set(keys):
        raise UserError(f"data.observables: {taken.pop()!r} has a setting of its own, *_key")
    return keys


def _keys(config: ConfigDict) -> dict[str, str]:
    """Field of the rows -> key in the files, of all arrays but the label."""
    own = {"mass": config.mass_key, "weight": config.weight_key, "event": config.id_key}
    own = {field: key for field, key in own.items() if key}
    return {"x": config.x_key, **own, **_observable_keys(config)}


def _n_events(path: Path, config: ConfigDict) -> int:
    with assembled.open_events(path, config) as stored:
        return len(stored)


def _n_particles(paths: list[Path], config: ConfigDict) -> int:
    """The largest number of slots for particles in an event of the files; 0 of other events."""
    most = 0
    for path in paths if config.format in PARTICLES else ():
        with assembled.open_events(path, config) as stored:
            most = max(most, *stored.shape[1:2])
    return most


def _all_events(paths: list[Path], config: ConfigDict) -> np.ndarray:
    n_events = sum(_n_events(path, config) for path in paths)
    if n_events == 0:
        raise UserError(f"{paths[0]}: {config.x_key}: no events")
    return np.arange(n_events)


def _read(paths: list[Path], index: np.ndarray, config: ConfigDict, n_particles: int) -> Rows:
    """The events `index` (sorted, counted through all files), checked, particles padded."""
    parts: list[Rows] = []
    folder, first = cache.root(config.cache) if config.on_disk else None, 0
    for path in paths:
        with _opened(path, config, n_particles) as events:
            n_events = len(events)
            low, high = np.searchsorted(index, (first, first + n_events))
            here = index[low:high] - first
            first += n_events
            if not len(here):
                continue
            rows = {"x": kept.events(path, config, n_particles, here, folder, events.chosen)}
        for field, key in _keys(config).items():
            if field != "x":
                rows[field] = _column(path, key, here, n_events, field, config)
        if config.format in PARTICLES:
            rows = _jets(rows["x"], path, config) | rows
        parts.append(rows)
    if len({part["x"].shape[1:] for part in parts}) > 1:
        shapes = sorted({part["x"].shape[1:] for part in parts})
        raise UserError(f"{paths[0].parent}: {config.x_key}: files of different shapes {shapes}")
    return concatenate(parts)


def _column(
    path: Path, key: str, index: np.ndarray, n_events: int, field: str, config: ConfigDict
) -> np.ndarray:
    """One number an event, float32; mass and pt in GeV; of "event" the numbers as they are."""
    setting = {"weight": "data.weight_key", "event": "data.id_key", "mass": "data.mass_key"}
    asked = setting.get(field, "data.observables")
    lacking, opened = event_weights.for_all_classes(field), open_places(path, key, asked)
    with lacking, opened as stored, checks.reading(path, key):
        several = field == "event" and len(stored) == n_events and len(stored.shape) == 2
        if not several:
            x = np.empty((n_events, 1))
            _check_shapes({"x": x, field: stored}, {field: key}, path, "features")
        if field == "event":
            values = np.asarray(stored[0:n_events])[index]
            return values if several and values.shape[1] > 1 else values.reshape(len(index))
        values = chosen_rows(stored, index).reshape(len(index))
    checks.require_finite(values, path, key, index)
    return values * np.float32(UNITS[config.units]) if field in ("mass", "pt") else values


def _check_shapes(stored: Mapping, keys: Mapping[str, str], path: Path, format: str) -> None:
    expected, meaning = assembled.MEANING[format]
    shape = stored["x"].shape
    if format == "image" and len(shape) == 4:
        expected = (None,) * 4
    if len(shape) != len(expected) or (expected[-1] or shape[-1]) != shape[-1]:
        raise UserError(
            f"{path}: {keys['x']}: data.format={format} expects the axes {meaning}; found shape "
            f"{shape}{assembled.hint(shape, format)}"
        )
    for field, array in stored.items():
        if len(array) != shape[0]:
            raise UserError(
                f"{path}: {keys[field]}: expected {shape[0]} rows as in the events, "
                f"found {len(array)}"
            )
        if field != "x" and int(np.prod(array.shape)) != shape[0]:
            raise UserError(
                f"{path}: {keys[field]}: expected one value an event, found shape {array.shape}"
            )


def _jets(particles: np.ndarray, path: Path, config: ConfigDict) -> Rows:
    """Mass, pT [GeV] and multiplicity of each event's particles."""
    step, unit = on_disk.rows_at_once(particles), UNITS[config.units]
    parts = []
    for start in range(0, max(len(particles), 1), step):
        block = particles[start : start + step]
        parts.append(jet_observables(in_gev(block, config.format, unit)))
        on_disk.release(particles)
    jets = concatenate(parts)
    checks.require_gev(jets["pt"], path, config.x_key)
    assembled.warn_of_relative(jets["pt"] / unit, path, config)
    return jets


def in_gev(particles: np.ndarray, format: str, unit: float) -> np.ndarray:
    """Particles with momenta in GeV and zeros in padded slots, from momenta in `unit` GeV."""
    if format == "epxpypz":
        return particles if unit == 1 else particles * np.float32(unit)
    return np.where(particles[..., :1] > 0, particles * np.float32((unit, 1, 1)), 0)
