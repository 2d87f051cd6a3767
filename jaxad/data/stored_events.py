"""Raw events of the user's files of arrays, and the numbers beside them, checked."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import assembled, checks, event_weights, kept
from jaxad.data.array_files import chosen_blocks, chosen_rows, fill_rows
from jaxad.data.assembled import UNITS
from jaxad.data.axes import require_shapes
from jaxad.data.columns import as_integers
from jaxad.data.dataset import Rows, concatenate
from jaxad.data.event_settings import keys_of
from jaxad.data.hardest import emptied, require_kept
from jaxad.data.jet_sums import warn_of_other_sums
from jaxad.data.layout import PARTICLES, Layout
from jaxad.data.particles import jet_observables
from jaxad.data.places import open_places
from jaxad.data.raw_events import require_events
from jaxad.errors import UserError
from jaxad.storage import cache, on_disk


class _Rows:
    """Raw events of a file, as float32; the mass, where there is one, before the features."""

    def __init__(self, stored: Mapping[str, Any], path: Path, config: ConfigDict, n_particles: int):
        self._stored, self._path, self._config = stored, path, config
        self._n_particles = n_particles
        self._layout = layout_of(stored["x"].shape[1:], config, n_masses="mass" in stored)

    def __len__(self) -> int:
        return len(self._stored["x"])

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.chosen(np.arange(*rows.indices(len(self))), None)[0]

    @property
    def cuts(self) -> bool:
        """Whether particles are left out of events that have more than slots."""
        return hasattr(self._stored["x"], "cut")

    def chosen(
        self, index: np.ndarray, folder: Path | None, empty: kept.Empty = on_disk.empty
    ) -> tuple[np.ndarray, int | None]:
        """The events `index`, sorted, checked, in memory or on the disk of a folder; and of how
        many of them particles are left out, None where all are kept."""
        keys = keys_of(self._config)
        with checks.reading(self._path, ", ".join(keys[name] for name in self._stored)):
            x, n_cut = self._filled(index, folder, empty)
        step, zeros = on_disk.rows_at_once(x), []
        for start in range(0, len(index), step):
            block, rows = x[start : start + step], np.asarray(index[start : start + step])
            if self._config.format in PARTICLES and (clean := emptied(block)) is not block:
                block[...] = clean
            require_events(self._layout, block, self._path, keys["x"], rows)
            zeros += rows[checks.zeros(block)].tolist()
            on_disk.release(x)
        if zeros:
            print(
                f"warning: {self._path}: {keys['x']}: only zeros in {len(zeros):,} of "
                f"{len(index):,} events, first at row {zeros[0]}: were they ever written?",
                file=sys.stderr,
            )
        return x, n_cut if self.cuts else None

    def _filled(
        self, index: np.ndarray, folder: Path | None, empty: kept.Empty
    ) -> tuple[np.ndarray, int]:
        """The events as they are stored, padded, and how many were cut."""
        stored, n_masses = self._stored["x"], int("mass" in self._stored)
        shape = (stored.shape[1] + n_masses, *stored.shape[2:])
        slots = max(shape[0], self._n_particles)
        x, start, n_cut = empty((len(index), slots, *shape[1:]), np.float32, folder), 0, 0
        for block, place in chosen_blocks(stored, index):
            here = x[start : start + len(place)]
            with np.errstate(over="ignore"):  # infinities are refused later
                here[:, n_masses : shape[0]] = block[place]
            here[:, shape[0] :] = 0
            n_cut += int(np.count_nonzero(stored.cut[place])) if self.cuts else 0
            start += len(place)
            on_disk.release(x)
        if n_masses:
            mass = self._stored["mass"]
            fill_rows(x[:, :1] if len(mass.shape) > 1 else x[:, 0], mass, index)
        return x, n_cut


@contextmanager
def opened(path: Path, config: ConfigDict, n_particles: int = 0) -> Iterator[_Rows]:
    """The events of a file, sliceable, padded to `n_particles` slots.

    Raises:
        UserError: as `assembled.open_events`; arrays whose axes do not fit.
    """
    keys = keys_of(config)
    with ExitStack() as stack:
        stored = {"x": stack.enter_context(assembled.open_events(path, config))}
        if config.mass_key:
            objects = assembled.objects_of(config)
            mass = open_places(path, config.mass_key, "data.mass_key", objects)
            stored["mass"] = stack.enter_context(mass)
        require_shapes(stored, keys, path, config.format)
        yield _Rows(stored, path, config, n_particles)


def layout_of(shape: tuple[int, ...], config: ConfigDict, n_masses: int = 0) -> Layout:
    """Of events of a shape; `n_masses`: 1 where the shape lacks the mass."""
    if config.format != "features":
        return Layout(config.format, tuple(shape), unit=UNITS[config.units])
    width, mass = shape[0] + n_masses, "mass" if config.mass_key else ""
    names, listed = [f"x[{i}]" for i in range(width - bool(mass))], config.x_key.split(",")
    if len(listed) == len(names) == len(set(listed)) > 1:  # a column each
        names = [name.strip() for name in listed]
    features = tuple((name, "") for name in names)
    columns = ((mass, config.units), *features) if mass else features
    return Layout("features", (width,), unit=UNITS[config.units], columns=columns, mass=mass)


def extents(paths: list[Path], config: ConfigDict) -> tuple[list[int], int]:
    """How many events each file has, and the most slots for particles in one, 0 of other events.

    Raises:
        UserError: there is no event in any.
    """
    sizes, slots = [], 0
    for path in paths:
        with assembled.open_events(path, config) as stored:
            sizes.append(len(stored))
            if config.format in PARTICLES:
                slots = max(slots, *stored.shape[1:2])
    if not any(sizes):
        raise UserError(f"{paths[0]}: {config.x_key}: no events")
    return sizes, slots


def read(paths: list[Path], index: np.ndarray, config: ConfigDict, n_particles: int) -> Rows:
    """The events `index` (sorted, counted through all files), checked, particles padded."""
    parts: list[Rows] = []
    n_cut = n_cuttable = first = 0
    folder = cache.disk(config)
    for path in paths:
        with opened(path, config, n_particles) as events:
            n_events = len(events)
            here = _within(index, first, n_events)
            first += n_events
            if not len(here):
                continue
            x, cut_here = kept.events(path, config, n_particles, here, folder, events)
            rows = {"x": x}
            n_cut += cut_here or 0
            n_cuttable += 0 if cut_here is None else len(here)
        for field, key in keys_of(config).items():
            if field != "x":
                rows[field] = _column(path, key, here, n_events, field, config)
        if config.format in PARTICLES:
            jets = _jets(rows["x"], path, config)
            if "pt" in rows:
                warn_of_other_sums(rows["pt"], jets["pt"], path, keys_of(config)["pt"])
            rows = jets | rows
        parts.append(rows)
    setting = "data.n_particles" if config.n_particles else "data.x_key"
    slots = config.n_particles or "their slots'"
    require_kept(n_cut, n_cuttable, slots, config.max_cut, paths, setting)
    if len({part["x"].shape[1:] for part in parts}) > 1:
        shapes = sorted({part["x"].shape[1:] for part in parts})
        raise UserError(f"{paths[0].parent}: {config.x_key}: files of different shapes {shapes}")
    return concatenate(parts)


def _within(index: np.ndarray, first: int, n: int) -> np.ndarray:
    """Those of sorted row numbers of all files that are of the one of `n` rows from `first` on,
    counted from there."""
    edges = np.array((first, first + n), index.dtype)
    here = index[slice(*np.searchsorted(index, edges))]
    return on_disk.mapped(lambda block: block - edges[0], here) if first else here


def _column(
    path: Path, key: str, index: np.ndarray, n_events: int, field: str, config: ConfigDict
) -> np.ndarray:
    """One number an event, float32; mass and pt in GeV; of "event" the numbers as they are."""
    setting = {"weight": "data.weight_key", "event": "data.id_key", "mass": "data.mass_key"}
    asked = setting.get(field, "data.observables")
    objects = assembled.objects_of(config)
    lacking, opened = event_weights.for_all_classes(field), open_places(path, key, asked, objects)
    with lacking, opened as stored, checks.reading(path, key):
        several = field == "event" and len(stored) == n_events and len(stored.shape) == 2
        if not several:
            x = np.empty((n_events, 1))
            require_shapes({"x": x, field: stored}, {field: key}, path, "features")
        if field == "event":
            values = on_disk.joined(_ids(stored, index, path, key), cache.disk(config))
            return values if several and values.shape[1] > 1 else values.reshape(len(index))
        values = chosen_rows(stored, index, cache.disk(config)).reshape(len(index))
    checks.require_finite(values, path, key, index)
    if field not in ("mass", "pt") or UNITS[config.units] == 1:
        return values
    return on_disk.mapped(lambda block: block * np.float32(UNITS[config.units]), values)


def _ids(stored: Any, index: np.ndarray, path: Path, key: str) -> Iterator[np.ndarray]:
    """Ids of the events `index`, block by block, as they are stored; of floats as integers."""
    start = 0
    for block, place in chosen_blocks(stored, index):
        if block.dtype.kind == "f":  # as of CSV
            columns, first = block.reshape(len(block), -1).T, int(index[start])
            block = np.stack([as_integers(c, str(path), key, first) for c in columns], -1)
        yield block[place]
        start += len(place)


def _jets(particles: np.ndarray, path: Path, config: ConfigDict) -> Rows:
    """Mass, pT [GeV] and multiplicity of each event's particles."""
    unit, start = UNITS[config.units], 0
    folder, jets = on_disk.folder_of(particles), {}
    for (block,) in on_disk.blocks(particles):
        for name, values in jet_observables(in_gev(block, config.format, unit)).items():
            if not start:
                jets[name] = on_disk.empty((len(particles),), np.float32, folder)
            jets[name][start : start + len(block)] = values
            on_disk.release(jets[name])
        start += len(block)
    median = checks.require_gev(jets["pt"], path, config.x_key)
    assembled.warn_of_relative(median / unit, path, config)
    return jets


def in_gev(particles: np.ndarray, format: str, unit: float) -> np.ndarray:
    """Particles with momenta in GeV and zeros in padded slots, from momenta in `unit` GeV."""
    if format == "epxpypz":
        return particles if unit == 1 else particles * np.float32(unit)
    return np.where(particles[..., :1] > 0, particles * np.float32((unit, 1, 1)), 0)
