"""Raw events as `data.x_key` and the settings beside it put them together from arrays of a file.

Columns of arrays are put in the order of `data.format`; what stands in the slots is then made plain
pT, or (E, px, py, pz): masked slots emptied, logarithms undone, relative pT multiplied with the
jet's, angles counted from its axis, particles weighted, made four-momenta, sorted and cut.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.beside import Beside
from jaxad.data.coordinates import COORDINATES, four_vectors
from jaxad.data.hardest import Hardest, by_pt, emptied
from jaxad.data.jagged import PARQUET
from jaxad.data.layout import COLUMNS, PARTICLES
from jaxad.data.links import Objects
from jaxad.data.places import open_places
from jaxad.data.slots import is_slots, open_slots
from jaxad.errors import UserError
from jaxad.observables.momenta import wrap_phi

ARRAYS = ("mask_key", "jet_pt_key", "axis_key", "particle_weight_key")
BESIDE = (*ARRAYS, "log_pt", "sort_pt", "coordinates")
"""Settings of particles beside `x_key`."""
UNITS = {"GeV": 1.0, "MeV": 1e-3}
MAX_RELATIVE = 5.0
"""The relative pT of a jet's particles sum to about 1."""


@contextlib.contextmanager
def open_events(path: Path, config: ConfigDict) -> Iterator[Any]:
    """The raw events of a file, with shape and dtype, sliceable; the stored array where it is them.

    Raises:
        UserError: as `jaxad.data.places.open_places`; arrays beside the particles that do not fit.
    """
    objects, particles = objects_of(config), config.format in PARTICLES
    with contextlib.ExitStack() as stack:
        if particles and is_slots(config.x_key):
            yield stack.enter_context(open_slots(path, config.x_key, objects))
            return
        is_table = config.format == "features" and path.suffix in (".csv", *PARQUET)
        setting = "data.features" if is_table else "data.x_key"
        x = stack.enter_context(open_places(path, config.x_key, setting, objects))
        if particles and isinstance(x, Beside) and len(x.shape) == 2:
            x = _Folded(x, path, config)
        if not particles or len(x.shape) != 3:
            yield x
            return
        beside = {
            name: stack.enter_context(open_places(path, config[name], f"data.{name}", objects))
            for name in ARRAYS
            if config[name]
        }
        if any(config[name] for name in BESIDE):
            x = _Particles(x, beside, path, config)
        yield Hardest(x, config.n_particles) if config.n_particles else x


def objects_of(config: ConfigDict) -> Objects | None:
    """The collection of which each object is a row; None where each event is."""
    return Objects(config.objects, config.links) if config.objects else None


def _columns_in(config: ConfigDict) -> tuple[str, ...]:
    """What the numbers of a particle are in the files."""
    if config.coordinates:
        return tuple(COORDINATES[config.coordinates].split(", "))
    return tuple(name for name, _ in COLUMNS[config.format])


class _Folded:
    """A table (N, n * c), all numbers of a particle side by side, as particles (N, n, c)."""

    def __init__(self, table: Beside, path: Path, config: ConfigDict):
        n_events, width = table.shape
        n_columns = len(_columns_in(config))
        if width % n_columns:
            names = ", ".join(_columns_in(config))
            raise UserError(
                f"{path}: {config.x_key}: data.format={config.format}: expected {n_columns} "
                f"numbers a particle, {names}, found {width} columns, which is no multiple: name "
                "those of the particles, such as KEY[:2100]"
            )
        self._table, self.dtype = table, table.dtype
        self.shape = (n_events, width // n_columns, n_columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._table[rows].reshape(-1, *self.shape[1:])


class _Particles:
    """Particles (N, n, 3 or 4) in their format, of what is stored."""

    def __init__(self, x: Any, beside: dict[str, Any], path: Path, config: ConfigDict):
        self._x, self._beside, self._path, self._config = x, beside, path, config
        self.shape = x.shape
        if config.coordinates and x.shape[2] != 4:
            raise UserError(
                f"{path}: {config.x_key}: data.coordinates={config.coordinates}: expected four "
                f"numbers a particle, {COORDINATES[config.coordinates]}, found shape {x.shape}"
            )
        self.dtype = np.result_type(np.float32, x.dtype, *(a.dtype for a in beside.values()))
        for name, array in beside.items():
            slots = x.shape[:1] if name in ("jet_pt_key", "axis_key") else x.shape[:2]
            if name == "axis_key":
                if tuple(array.shape) != (*slots, 2):
                    raise UserError(
                        f"{path}: {config.axis_key}: data.axis_key: expected eta and phi of each "
                        f"jet, shape {(*slots, 2)}, found {tuple(array.shape)}"
                    )
            elif tuple(array.shape) not in (slots, (*slots, 1)):
                what = "particle" if len(slots) == 2 else "event"
                raise UserError(
                    f"{path}: {config[name]}: data.{name}: expected one number for each "
                    f"{what}, shape {slots}, found {tuple(array.shape)}"
                )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        stop = max(start, stop)
        x = np.asarray(self._x[start:stop]).astype(self.dtype)  # a copy
        x = emptied(x, zero_is_none=not self._config.log_pt)
        there = x.any(axis=-1)
        if "mask_key" in self._beside:
            there = self._read("mask_key", start, x.shape[:2])
            x[~there] = 0
        if self._config.log_pt:
            with np.errstate(over="ignore"):  # infinities are refused later
                x[..., 0] = np.where(there, np.exp(x[..., 0]), 0)
        pt_first = _columns_in(self._config)[0] == "pt"
        momenta = x[..., :1] if pt_first else x
        if "axis_key" in self._beside:
            axis = np.asarray(self._beside["axis_key"][start:stop])
            x[..., 1:3] += axis[:, None] * there[..., None]
            x[..., 2] = np.where(abs(x[..., 2]) > np.pi, wrap_phi(x[..., 2]), x[..., 2])
        if self._config.coordinates:
            x = four_vectors(x, self._config.coordinates, UNITS[self._config.units])
            momenta = x
        if "jet_pt_key" in self._beside:
            self._require_relative(x[..., 0], start)
            momenta *= self._read("jet_pt_key", start, (len(x), 1, 1))
        if "particle_weight_key" in self._beside:
            momenta *= self._read("particle_weight_key", start, (*x.shape[:2], 1))
        return by_pt(x) if self._config.sort_pt and not self._config.n_particles else x

    def _read(self, name: str, start: int, shape: tuple[int, ...]) -> np.ndarray:
        """What stands beside the events from `start`; a mask as bool.

        Raises:
            UserError: a mask other than 0 and 1, a pT of a jet or a weight below 0 or not finite.
        """
        values = np.asarray(self._beside[name][start : start + shape[0]]).reshape(shape)
        odd = ~((values == 0) | (values == 1)) if name == "mask_key" else ~(values >= 0)
        odd |= np.isinf(values)
        if odd.any():
            row = int(np.argmax(odd.reshape(len(odd), -1).any(axis=1)))
            wanted = "0 or 1, 1 where there is a particle" if name == "mask_key" else "0 or more"
            raise UserError(
                f"{self._path}: {self._config[name]}: data.{name}: expected {wanted}, found "
                f"{values[odd][0]:g} at row {start + row}"
            )
        return values.astype(bool) if name == "mask_key" else values

    def _require_relative(self, pt: np.ndarray, start: int) -> None:
        total = float(np.median(pt.sum(axis=1))) if len(pt) else 0.0
        if total > MAX_RELATIVE:
            raise UserError(
                f"{self._path}: {self._config.x_key}: data.jet_pt_key: expected pT relative to the "
                f"jet's, which sum to about 1, found a median of {total:.4g} from row {start} on: "
                "leave data.jet_pt_key out"
            )


def warn_of_relative(median: float, path: Path, config: ConfigDict) -> None:
    """Tells of jets whose pT, in the unit of the files, is about 1, as relative ones are.

    A median of 1 MeV or 1 GeV is no jet that a detector has seen.
    """
    if not config.jet_pt_key and 0.5 < median < 1.1:
        print(
            f"warning: {path}: {config.x_key}: a median jet pT of {median:.3g}: if the pT of "
            "particles are relative to the jet's, set data.jet_pt_key to the array of these",
            file=sys.stderr,
        )
