"""All data of a search as one table: events by features, a mass, and what decides their folds.

No event is put aside and none is dropped; no search reads the label, where there is one, so that it
is not in the digest either.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxad.data.dataset import Rows, cut_flow_lines
from jaxad.data.folds import fold_sizes, folds, keys_of
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.storage.digest import digest

GEV = {"GeV": 1.0, "TeV": 1e3, "MeV": 1e-3}
"""GeV of each unit in which a mass may be given."""
MAX_MASS = 1e8  # GeV, as of any energy in an event
SPIKE = 0.01  # of the rows share one value: a spike
SENTINEL = 0.001  # of the rows share one value: a sentinel, if it is far from the rest
FAR = 5.0  # spreads of the rest
FEWEST = 3  # rows that share a value by no chance
FLAG = "_missing"


class Table(NamedTuple):
    """All data of a search: nothing is put aside. N events, F features.

    Attributes:
        x: (N, F) float32, finite, no column constant.
        mass: (N,) float64 [GeV], above 0, whatever `mass_unit` says.
        fold_key: (N,) uint64: of the id, or the number of the row. Equal keys share a fold.
        weight: (N,) float64 above 0; None: every event counts once.
        label: (N,) float32, 1 for signal, which no search reads; None: unknown.
        ids: (N, K) int64 as in the file; None: no id was named.
        names: of the features, F of them.
        units: of the features, "" where there is none or it is not known.
        integer: (F,) bool: columns of whole numbers.
        spikes: (F,) float32: the value that more than 1 % of the rows share, NaN where there is
            none and of integer columns.
        spike_widths: (F,) float32: how far above its spike `dequantised` spreads it; NaN likewise.
        mass_name: what the user calls the mass.
        mass_unit: the unit of the mass in the files, and in tables and figures.
        info: JSON-able: "name", "source", "files", "digest" of the content without the label,
            perhaps "missing", feature -> number of rows that were filled, and "left_out".
    """

    x: np.ndarray
    mass: np.ndarray
    fold_key: np.ndarray
    weight: np.ndarray | None
    label: np.ndarray | None
    ids: np.ndarray | None
    names: tuple[str, ...]
    units: tuple[str, ...]
    integer: np.ndarray
    spikes: np.ndarray
    spike_widths: np.ndarray
    mass_name: str
    mass_unit: str
    info: dict[str, Any]


class Origin(NamedTuple):
    """Where each row of a table stands in the files, for messages.

    Attributes:
        files: their names.
        starts: number of the first row of each file among all rows.
        rows: (N,) number of each row of the table among all rows of the files; None: 0 ... N - 1.
    """

    files: tuple[str, ...]
    starts: tuple[int, ...] = (0,)
    rows: np.ndarray | None = None

    def of(self, row: int) -> tuple[str, int]:
        """(file, row in it) of a row of the table."""
        row = row if self.rows is None else int(self.rows[row])
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.files[number], row - self.starts[number]

    def refused(self, column: str, bad: np.ndarray, what: str, mend: str) -> None:
        """Refuses rows where `bad` (N,) is true, by the first of them."""
        if bad.any():
            file, row = self.of(int(np.argmax(bad)))
            n = int(bad.sum())
            others = f" and {n - 1:,} more" if n > 1 else ""
            raise UserError(f"{file}: {column}: {what} at row {row}{others}: {mend}")


class Everything(NamedTuple):
    """All raw events of a search, whose features are still to be computed.

    Attributes:
        rows: "x" raw events (N, ...), "mass" (N,) [GeV] where there is one, perhaps "weight" and
            "event".
        layout: what one event is.
        label: (N,) bool; None: unknown.
        origin: where each event stands.
        info: JSON-able: "name", "source", perhaps "left_out", and "cut_flow" as of a `Dataset`.
    """

    rows: Rows
    layout: Layout
    label: np.ndarray | None
    origin: Origin
    info: dict[str, Any]


def make_table(
    features: Mapping[str, np.ndarray],
    mass: np.ndarray,
    origin: Origin,
    *,
    units: Sequence[str] = (),
    mass_name: str = "mass",
    mass_unit: str = "GeV",
    weight: np.ndarray | None = None,
    label: np.ndarray | None = None,
    ids: np.ndarray | None = None,
    row_keys: np.ndarray | None = None,
    missing: Mapping[str, Sequence[float]] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Table:
    """The table of some columns, checked; see `Table`.

    Args:
        features: name -> (N,) numbers, in the order of the columns.
        mass: (N,) in `mass_unit`.
        weight, label: (N,); the label 0 or 1.
        ids: (N, K) whole numbers.
        row_keys: (N,) whole numbers that decide the folds without ids; default: those of `origin`.
        missing: feature -> the values that stand for "there is none". They become the median of
            the other rows, and a column of 0 and 1, NAME_missing, behind the features says where.

    Raises:
        UserError: no feature, no row, NaN or infinity, a constant column, a sentinel, a mass or
            weight that is not above 0, or an event that is there twice.
    """
    n, missing = len(mass), missing or {}
    if not features:
        raise UserError(f"{origin.files[0]}: no feature to search in: name some in data.features")
    if n == 0:
        raise UserError(f"{origin.files[0]}: no events")
    in_gev = _checked_mass(np.asarray(mass, np.float64), origin, mass_name, mass_unit)
    if weight is not None:
        weight = np.asarray(weight, np.float64)
        what = "a weight that is not above 0"
        bad = ~(np.isfinite(weight) & (weight > 0))
        origin.refused("weight", bad, what, "a search counts events: leave such rows out")
    columns, filled = {}, {}
    for name, values in features.items():
        values = np.asarray(values)
        columns[name] = values
        if name in missing:
            columns[name], flag = _filled(values, missing[name], name, origin)
            filled[name + FLAG] = flag
        _check_feature(columns[name], name, origin, name in missing)
    if taken := set(filled) & set(features):
        raise UserError(f"data.missing: {taken.pop()!r} is also a feature: rename that column")
    x = np.empty((n, len(columns) + len(filled)), np.float32)
    for place, values in enumerate((*columns.values(), *filled.values())):
        x[:, place] = values
    _check_varied(x, (*columns, *filled), origin)
    keys = _keys(ids, row_keys, origin, n)
    if ids is not None:
        ids = np.asarray(ids, np.int64).reshape(n, -1)
        _check_copies(keys, x, in_gev, origin)
    integer, spikes, widths = marks(x)
    units = (*units, *[""] * (x.shape[1] - len(units)))
    names = (*columns, *filled)
    about = {"names": names, "units": units, "mass_name": mass_name, "mass_unit": mass_unit}
    content = {"x": x, "mass": in_gev, "fold_key": keys}
    content |= {} if weight is None else {"weight": weight}
    more = {"digest": digest(about, content)}
    if filled:
        more["missing"] = {
            name.removesuffix(FLAG): int(flag.sum()) for name, flag in filled.items()
        }
    return Table(
        x=x,
        mass=in_gev,
        fold_key=keys,
        weight=weight,
        label=None if label is None else np.asarray(label, np.float32),
        ids=ids,
        names=names,
        units=units,
        integer=integer,
        spikes=spikes,
        spike_widths=widths,
        mass_name=mass_name,
        mass_unit=mass_unit,
        info={**(info or {}), **more},
    )


def _checked_mass(mass: np.ndarray, origin: Origin, name: str, unit: str) -> np.ndarray:
    """The mass [GeV]."""
    if unit not in GEV:
        raise UserError(f"data.mass_unit: expected one of {', '.join(GEV)}, found {unit!r}")
    mend = "remove such events before giving the file"
    origin.refused(name, ~np.isfinite(mass), "NaN or infinity", mend)
    origin.refused(name, mass <= 0, "a mass that is not above 0", mend)
    in_gev = mass if unit == "GeV" else mass * GEV[unit]
    mend = f"is it in {unit}? set data.mass_unit"
    origin.refused(name, in_gev > MAX_MASS, "a mass beyond 1e8 GeV", mend)
    return in_gev


def is_value(values: np.ndarray, value: float) -> np.ndarray:
    """Which values (N,) are `value`, which may be NaN, as their type stores it."""
    if np.isnan(value):
        return np.isnan(values)
    here = values == value
    return here | (values == np.float32(value)) if values.dtype == np.float32 else here


def _filled(
    values: np.ndarray, absent: Sequence[float], name: str, origin: Origin
) -> tuple[np.ndarray, np.ndarray]:
    """The values with the median where they are `absent`, and where that is, bool (N,)."""
    flag = np.zeros(len(values), bool)
    for value in absent:
        here = is_value(values, value)
        if not here.any():
            raise UserError(
                f"data.missing: {name}: {value:g} stands in no row of {origin.files[0]}: leave it "
                "out, or mend the value"
            )
        flag |= here
    if flag.all():
        raise UserError(f"data.missing: {name}: every row is missing: leave the column out")
    filled = values.astype(np.float64)
    filled[flag] = np.median(filled[~flag])
    return filled, flag


def _check_feature(values: np.ndarray, name: str, origin: Origin, is_filled: bool) -> None:
    """Refuses what is not finite, and a sentinel."""
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(np.asarray(values, np.float32))
    mend = "remove such events, or leave the column out"
    if np.isnan(values[~finite]).any():
        mend = f"where it says that there is no value, set data.missing={name}:nan"
    origin.refused(name, ~finite, "NaN or infinity", mend)
    found = sentinel(values if not is_filled else values[values != np.median(values)])
    if found is not None:
        value, distance = found
        what = f"{value:.10g}, {distance:.0f} spreads of the other values away from them,"
        mend = f"declare what is no value, data.missing={name}:{value:.10g}, or leave the rows out"
        origin.refused(name, values == value, what, mend)


def sentinel(values: np.ndarray) -> tuple[float, float] | None:
    """A value that can only stand for "there is none", and how many spreads off it lies.

    It is shared by more than 0.1 % of the rows, and by 3, and lies more than 5 standard deviations
    from the mean of the rest: of the rows whose values are not shared by so many, where there are
    such, else of all other rows. Among whole numbers, whose tails share values, it must also be
    farther from all others than they are from one another.

    Args:
        values: (N,) finite.

    Examples:
        >>> sentinel(np.append(np.linspace(0, 1, 997), [-999, -999, -999]))
        (-999.0, 3458.9)
        >>> sentinel(np.repeat([0, 1, 2], [990, 7, 3])) is None
        True
    """
    if not len(values):
        return None
    unique, counts = np.unique(values, return_counts=True)
    shared = unique[counts >= max(FEWEST, SENTINEL * len(values) * (1 + 1e-12))]
    if not len(shared) or len(unique) < 3:
        return None
    alone = unique[~np.isin(unique, shared)]
    is_alone = np.isin(values, alone) if len(alone) >= FEWEST else None
    for value in (float(shared[0]), float(shared[-1])):
        others = values != value
        rest = values[others if is_alone is None else is_alone].astype(np.float64)
        distance = abs(value - rest.mean())
        if not distance > FAR * rest.std() > 0:
            continue
        if _is_integer(unique):
            left = unique[unique != value].astype(np.float64)
            if abs(left - value).min() <= np.ptp(left):
                continue
        return value, round(float(distance / rest.std()), 1)
    return None


def _check_varied(x: np.ndarray, names: Sequence[str], origin: Origin) -> None:
    constant = np.flatnonzero(x.min(axis=0) == x.max(axis=0))
    if len(constant):
        column = int(constant[0])
        raise UserError(
            f"{origin.files[0]}: {names[column]}: every row has {x[0, column]:g} (in single "
            "precision): leave the column out of data.features"
        )


def _is_integer(values: np.ndarray) -> bool:
    """Whether all are whole numbers that single precision holds."""
    if values.dtype.kind in "iub":
        return True
    return bool((values == np.rint(values)).all() and np.abs(values).max() <= 2**24)


def marks(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`integer`, `spikes` and `spike_widths` (F,) of a `Table` whose features are `x` (N, F)."""
    integer = np.array([_is_integer(column) for column in x.T])
    return integer, *_spikes(x, integer)


def _spikes(x: np.ndarray, integer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The spike of each column and the width that it is spread over, (F,) float32, or NaN."""
    spikes, widths = np.full((2, x.shape[1]), np.nan, np.float32)
    for place in np.flatnonzero(~integer):
        values, counts = np.unique(x[:, place], return_counts=True)
        most = int(np.argmax(counts))
        if counts[most] <= SPIKE * len(x) or len(values) < 2:
            continue
        rest = np.repeat(np.delete(values, most), np.delete(counts, most))
        spread = rest.std(dtype=np.float64) or float(np.ptp(values))
        gap = values[most + 1] - values[most] if most + 1 < len(values) else 0.0
        spikes[place], widths[place] = values[most], np.clip(gap, 0.05 * spread, spread)
    return spikes, widths


def _keys(
    ids: np.ndarray | None, row_keys: np.ndarray | None, origin: Origin, n: int
) -> np.ndarray:
    if ids is not None:
        return keys_of(ids)
    keys = row_keys if row_keys is not None else origin.rows
    return np.arange(n, dtype=np.uint64) if keys is None else np.asarray(keys, np.uint64)


def _copies(keys: np.ndarray, x: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of events that are there before, and of their first ones: equal keys, mass, features."""
    order = np.argsort(keys, kind="stable")
    pairs = np.flatnonzero(np.diff(keys[order]) == 0)
    rows = np.flatnonzero(np.isin(keys, keys[order[pairs]]))
    content = np.column_stack([keys[rows], mass[rows].view(np.uint64)])
    content = np.column_stack([content.view(np.uint8), x[rows].view(np.uint8)])
    content = np.ascontiguousarray(content).view([("", content.dtype, content.shape[1])])[:, 0]
    _, first, inverse = np.unique(content, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[inverse] != np.arange(len(rows)))
    return rows[copies], rows[first[inverse[copies]]]


def _check_copies(keys: np.ndarray, x: np.ndarray, mass: np.ndarray, origin: Origin) -> None:
    """Refuses an event that is there twice: the same id, mass and features."""
    copies, firsts = _copies(keys, x, mass)
    if len(copies):
        (file, row), (other, copied) = origin.of(int(firsts[0])), origin.of(int(copies[0]))
        raise UserError(
            f"{other}: row {copied}: the same id, mass and features as row {row} of {file}: "
            f"{len(copies):,} events are there twice: leave the copies out"
        )


def table_summary(table: Table, k: int = 0, salt: int = 0) -> str:
    """Columns, units, ranges, N and, of `k` folds, their sizes, for the terminal."""
    scale = GEV[table.mass_unit]
    kinds = np.where(table.integer, "whole", np.where(np.isnan(table.spikes), "", "spike"))
    lines = [
        f"{table.info.get('name', 'data')} from {table.info.get('source', '?')}: "
        f"{len(table.x):,} events, {len(table.names)} features",
        f"{'':<24}{'unit':<6}{'lowest':>12}{'median':>12}{'highest':>12}",
        _line(table.mass_name, table.mass_unit, table.mass / scale, "the mass"),
    ]
    for name, unit, kind, values in zip(table.names, table.units, kinds, table.x.T, strict=True):
        notes = [str(kind)] if kind else []
        if n := table.info.get("missing", {}).get(name):
            notes.append(f"{n:,} missing")
        lines.append(_line(name, unit, values, ", ".join(notes)))
    if table.weight is not None:
        lines.append(_line("weight", "", table.weight, f"sum {table.weight.sum():.6g}"))
    if table.ids is not None:
        lines.append(f"{len(np.unique(table.fold_key)):,} ids of {table.ids.shape[1]} columns")
    elif n := len(_copies(table.mass.view(np.uint64), table.x, table.mass)[0]):
        lines.append(
            f"{n:,} events are equal to another in the mass and all features, which ids would tell "
            "apart (data.id): copies in several folds are taken for a signal"
        )
    lines += cut_flow_lines(flows) if (flows := table.info.get("cut_flow")) else []
    if left_out := table.info.get("left_out"):
        lines.append(f"left out: {left_out:,} events of other labels")
    if k:
        sizes = fold_sizes(folds(table.fold_key, k, salt), k)
        lines.append(f"folds: {', '.join(f'{size:,}' for size in sizes)} events")
    return "\n".join(lines)


def _line(name: str, unit: str, values: np.ndarray, note: str) -> str:
    low, middle, high = values.min(), np.median(values), values.max()
    return f"{name:<24}{unit:<6}{low:>12.6g}{middle:>12.6g}{high:>12.6g}  {note}".rstrip()
