"""Raw events as `data.x_key` and the settings beside it put them together from arrays of a file.

Columns of arrays are put in the order of `data.format`; what stands in the slots is then made plain
pT, or (E, px, py, pz): masked slots emptied, logarithms undone, relative pT multiplied with the
jet's, particles weighted and sorted.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.layout import COLUMNS, PARTICLES
from jaxad.data.places import Beside, open_places
from jaxad.errors import UserError

MEANING = {
    "ptetaphi": ((None, None, 3), "(events, particles, 3), the 3 being pT, eta, phi"),
    "epxpypz": ((None, None, 4), "(events, particles, 4), the 4 being E, px, py, pz"),
    "image": ((None, None, None), "(events, ny, nx) or (events, ny, nx, channels)"),
    "features": ((None, None), "(events, features)"),
}
BESIDE = ("mask_key", "jet_pt_key", "particle_weight_key", "log_pt", "sort_pt")
"""Settings of particles beside `x_key`."""
MAX_RELATIVE = 5.0
"""The relative pT of a jet's particles sum to about 1."""


@contextlib.contextmanager
def open_events(path: Path, config: ConfigDict) -> Iterator[Any]:
    """The raw events of a file, with shape and dtype, sliceable; the stored array where it is them.

    Raises:
        UserError: as `jaxad.data.places.open_places`; arrays beside the particles that do not fit.
    """
    with contextlib.ExitStack() as stack:
        x = stack.enter_context(open_places(path, config.x_key, "data.x_key"))
        particles = config.format in PARTICLES
        if particles and isinstance(x, Beside) and len(x.shape) == 2:
            x = _Folded(x, path, config)
        if not particles or not any(config[name] for name in BESIDE) or len(x.shape) != 3:
            yield x
            return
        beside = {
            name: stack.enter_context(open_places(path, config[name], f"data.{name}"))
            for name in ("mask_key", "jet_pt_key", "particle_weight_key")
            if config[name]
        }
        yield _Particles(x, beside, path, config)


class _Folded:
    """A table (N, n * c), all numbers of a particle side by side, as particles (N, n, c)."""

    def __init__(self, table: Beside, path: Path, config: ConfigDict):
        n_events, width = table.shape
        n_columns = len(COLUMNS[config.format])
        if width % n_columns:
            names = ", ".join(name for name, _ in COLUMNS[config.format])
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
        self.dtype = np.result_type(np.float32, x.dtype, *(a.dtype for a in beside.values()))
        for name, array in beside.items():
            slots = x.shape[:2] if name != "jet_pt_key" else x.shape[:1]
            if tuple(array.shape) not in (slots, (*slots, 1)):
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
        there = x.any(axis=-1)
        if "mask_key" in self._beside:
            there = self._read("mask_key", start, x.shape[:2])
            x[~there] = 0
        if self._config.log_pt:
            with np.errstate(over="ignore"):  # infinities are refused later
                x[..., 0] = np.where(there, np.exp(x[..., 0]), 0)
        momenta = x[..., :1] if self._config.format == "ptetaphi" else x
        if "jet_pt_key" in self._beside:
            self._require_relative(x[..., 0], start)
            momenta *= self._read("jet_pt_key", start, (len(x), 1, 1))
        if "particle_weight_key" in self._beside:
            momenta *= self._read("particle_weight_key", start, (*x.shape[:2], 1))
        if self._config.sort_pt:
            pt = x[..., 0] if x.shape[-1] == 3 else np.hypot(x[..., 1], x[..., 2])
            order = np.argsort(-pt, axis=1, kind="stable")
            x = np.take_along_axis(x, order[..., None], axis=1)
        return x

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


def hint(shape: tuple[int, ...], format: str) -> str:
    """How an array of another shape might have been meant; "" where nothing suggests itself."""
    n = MEANING[format][0][-1]
    other = {width: name for name, ((*_, width), _) in MEANING.items() if width and width != n}
    if n and len(shape) == 3 and shape[1] == n:
        return ": are the last two axes exchanged? save x.transpose(0, 2, 1)"
    if n and len(shape) == 3 and shape[2] in other:
        return f": set data.format={other[shape[2]]}"
    if n and len(shape) == 2 and shape[1] % n == 0:
        return f": save x.reshape(len(x), -1, {n})"
    if format == "image" and len(shape) == 2:
        return ": save x.reshape(len(x), ny, nx)"
    if format == "features" and len(shape) > 2:
        return ": another data.format, or save x.reshape(len(x), -1)"
    return ""


def warn_of_relative(pt: np.ndarray, path: Path, config: ConfigDict) -> None:
    """Tells of jets (N,) whose pT, in the unit of the files, is about 1, as relative ones are."""
    if config.jet_pt_key or not len(pt):
        return
    median = float(np.median(pt))
    if 0.5 < median < 1.1:
        print(
            f"warning: {path}: {config.x_key}: a median jet pT of {median:.3g}: if the pT of "
            "particles are relative to the jet's, set data.jet_pt_key to the array of these",
            file=sys.stderr,
        )
