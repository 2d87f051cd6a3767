"""What no raw event can hold, and which unit it is in: one check, of readers and scorers alike."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad.data.checks import MAX_PHI, require_finite
from jaxad.data.layout import COLUMNS, PARTICLES, Layout
from jaxad.errors import UserError
from jaxad.storage.on_disk import folder_of, windows

MAX_ENERGY = 1e8  # GeV: more than a particle of any collider has, be it written in MeV
FAR = 6.0  # |eta| from which energies are looked at
IN_GEV = {"MeV": 1e-3, "GeV": 1.0, "TeV": 1e3}
ORDERS = {
    "ptetaphi": ("(eta, phi, pT), the order of JetNet's files", (2, 0, 1)),
    "epxpypz": ("(px, py, pz, E)", (3, 0, 1, 2)),
}
"""Another order in which particles are often stored, and the one of the columns in it."""
BLOCK = 1 << 18  # values looked at together: they stay in the processor's cache

SAMPLE = 10_000  # events whose unit is looked at
MAX_RATIO = 30.0  # to the range of 98 % of the training events; a wrong unit is 1000 off


def impossible(layout: Layout, x: Array) -> Iterator[tuple[Array, str]]:
    """What no event can hold: of each kind that is there the events (n,) bool, and a text.

    Args:
        x: finite raw events (n, *layout.shape) float32, of NumPy or JAX, n above 0, any number of
            particles.
    """
    for bad, what in _kinds(layout, x):
        bad = _of_events(bad)
        if bad.any():
            yield bad, what


def _of_events(bad: Array) -> Array:
    """Events (n,) in which anything of (n, ...) is true."""
    return bad.any(axis=tuple(range(1, bad.ndim)))


def _kinds(layout: Layout, x: Array) -> Iterator[tuple[Array, str]]:
    """The same of numbers or particles, (n, ...), also of kinds that are not there.

    Left out is what a look at all values can exclude, if they are not traced.
    """
    limit = MAX_ENERGY / layout.unit
    if layout.format == "ptetaphi":
        pt, eta, phi = (x[..., i].copy() for i in range(3))  # side by side in memory
        if _below(pt, 0):
            yield pt < 0, "a pT below 0: are the columns pT, eta, phi?"
        if _beyond(pt, limit):
            yield pt > limit, "a pT above 1e8 GeV: clean or drop it"
        if _beyond(eta, FAR):
            # pT cosh(eta), without its overflow; of no padding.
            xp = jnp if isinstance(eta, jax.core.Tracer) else np
            far = pt > 2 * limit * xp.exp(-abs(eta))
            yield far, "an eta with an energy above 1e8 GeV: are the columns pT, eta, phi?"
        if _beyond(phi, MAX_PHI):
            yield (
                (abs(phi) > MAX_PHI) & (pt > 0),
                "a phi beyond 4 pi: are the columns pT, eta, phi, in radians?",
            )
    elif layout.format == "epxpypz":
        energy, px, py, pz = (x[..., i].copy() for i in range(4))
        if _beyond(energy, limit):
            yield energy > limit, "an energy above 1e8 GeV: clean or drop it"
        below = energy * abs(energy) < 0.81 * (px * px + py * py + pz * pz)
        yield below, "an energy below the momentum: are the columns E, px, py, pz?"
    elif layout.energies:
        if _below(x, 0):
            yield x < 0, "a pixel below 0: are they energies?"
        if _beyond(x, limit):
            yield x > limit, "a pixel above 1e8 GeV: clean or drop it"
    elif layout.format == "features":
        for i, (name, unit) in enumerate(layout.columns):
            if unit in IN_GEV and _beyond(x[:, i].copy(), MAX_ENERGY / IN_GEV[unit]):
                bad = abs(x[:, i]) > MAX_ENERGY / IN_GEV[unit]
                yield bad, f"{name} beyond 1e8 GeV: is it in {unit}?"


def _below(values: Array, limit: float) -> bool:
    """Whether any value may be below, always where values are traced; quick on the host."""
    return isinstance(values, jax.core.Tracer) or bool(values.min(initial=0) < limit)


def _beyond(values: Array, limit: float) -> bool:
    """The same of absolute values above."""
    return _below(values, -limit) or bool(values.max(initial=0) > limit)


def refused(layout: Layout, x: Array) -> Array:
    """Events (n,) bool that are not finite or `impossible`, for compiled functions."""
    columns = [x[..., i] for i in range(x.shape[-1])] if layout.format in PARTICLES else [x]
    masks = [~jnp.isfinite(column) for column in columns]
    masks += [mask for mask, _ in _kinds(layout, x)]
    # What is of one shape is put together first: there is one sum over each event then.
    together: dict[tuple[int, ...], Array] = {}
    for mask in masks:
        together[mask.shape] = together.get(mask.shape, False) | mask
    return jnp.stack([_of_events(mask) for mask in together.values()]).any(axis=0)


def first_impossible(layout: Layout, x: np.ndarray | Array) -> tuple[int, str] | None:
    """An event that is `impossible`, the first of its kind, and what it holds; None: there is none.

    Args:
        x: see `impossible`, n may be 0.
    """
    whole = not isinstance(x, np.ndarray)
    step = max(1, len(x) if whole else BLOCK // max(1, math.prod(x.shape[1:])))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(x), step):
            block = x[start : start + step]
            for bad, what in impossible(layout, block):
                event = int(np.argmax(np.asarray(bad)))
                return start + event, what + _order(layout, block)
    return None


def _order(layout: Layout, x: np.ndarray | Array) -> str:
    """Says in which other order the columns of bad events would make sense; else nothing."""
    name, order = ORDERS.get(layout.format, ("", ()))
    if not order or any(True for _ in impossible(layout, x[..., np.array(order)])):
        return ""
    return f" they look like {name}: reorder them, x[..., {list(order)}]"


def require_events(
    layout: Layout, x: np.ndarray, path: str | Path, field: str, rows: int | np.ndarray = 0
) -> None:
    """Refuses raw events with NaN, infinity or what is `impossible`; `rows`: their numbers."""
    require_finite(x, path, field, rows)
    found = first_impossible(layout, x)
    if found is not None:
        row, what = found
        row = rows + row if isinstance(rows, int) else int(rows[row])
        raise UserError(f"{path}: {field}: found at row {row} {what}")


def _energies(
    layout: Layout, x: np.ndarray | Array, n_most: int
) -> tuple[list[str], str, np.ndarray]:
    """Names, unit and absolute values (n, k) of the energies of some events, the largest last."""
    x = _spaced(x, max(1, len(x) // n_most))
    if layout.format in PARTICLES:
        (name, unit), *_ = COLUMNS[layout.format]
        unit = {scale: unit for unit, scale in IN_GEV.items()}.get(layout.unit, unit)
        return [f"the largest {name}"], unit, np.asarray(x[..., 0]).max(axis=1, initial=0)[:, None]
    columns = [(i, name, unit) for i, (name, unit) in enumerate(layout.columns) if unit in IN_GEV]
    if layout.format != "features" or not columns:
        return [], "", np.zeros((len(x), 0))
    index, names, units = zip(*columns, strict=True)
    scale = np.array([IN_GEV[unit] / IN_GEV[units[0]] for unit in units], np.float32)
    values = abs(np.asarray(x)[:, list(index)]) * scale
    if len(names) > 1:
        names = (*names, f"the largest of {', '.join(names)}")
        values = np.column_stack([values, values.max(axis=1)])
    return list(names), units[0], values


def _spaced(x: np.ndarray | Array, step: int) -> np.ndarray | Array:
    """x[::step], of events on disk block by block."""
    if not isinstance(x, np.ndarray) or folder_of(x) is None:
        return x[::step]
    rows = np.arange(0, len(x), step)
    return np.concatenate([x[rows[part]] for part in windows(x, rows)])


def trained_energies(layout: Layout, x: np.ndarray) -> dict[str, list[float]]:
    """Where the energies of 98 % of the training events lie: name -> (low, high), JSON-able.

    Of single columns, which may come near 0, `low` is 0. Momenta of particles, and features with
    a unit of energy; {} of other events.
    """
    names, _, values = _energies(layout, x, 10 * SAMPLE)
    ranges = {name: [0.0, float(np.quantile(values[:, i], 0.99))] for i, name in enumerate(names)}
    if names and (largest := values[:, -1][values[:, -1] > 0]).size:
        ranges[names[-1]][0] = float(np.quantile(largest, 0.01))
    return ranges


def require_trained_unit(
    layout: Layout, x: np.ndarray | Array, trained: Mapping[str, list[float]], where: str
) -> None:
    """Refuses events whose energies, in their median, are far off those of the training events.

    Args:
        x: finite raw events (n, *layout.shape), n above 0.
        trained: see `trained_energies`.
        where: what the events are, for the refusal.
    """
    names, unit, values = _energies(layout, x, SAMPLE)
    medians = values[0] if len(values) == 1 else np.median(values, axis=0)  # one: in no time
    for name, found in zip(names, medians, strict=True):
        low, high = trained.get(name, (0.0, 0.0))
        if (high > 0 and found > MAX_RATIO * high) or 0 < found < low / MAX_RATIO:
            below = f"{low:.4g} to " if low else "up to "
            raise UserError(
                f"{where}: {name}: expected {below}{high:.4g} {unit}, as of most events that "
                f"trained, found a median of {found:.4g}: give it in {unit}"
            )
