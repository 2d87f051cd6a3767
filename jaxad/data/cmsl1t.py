"""The CMS Level-1 trigger anomaly detection set: zero bias of 2025 as the trigger saw it.

Zenodo 10.5281/zenodo.21787779 (CC0), mirrored as CERN/anomaly_detection_cmsl1t: Parquet files of
the integers of the Global Trigger, in two layouts. Of the mirror a folder holds
`data/SET/SPLIT-NNNNN-of-NNNNN.parquet` with columns such as `muons_muonIEt`; of the record
`KIND/SET/SPLIT/COLLECTION/*.parquet` with columns such as `muonIEt`, joined by row, KIND being
zerobias, signal or background. A row is an event, a collection a list in it, a sum a list of one.

Events become those of a trigger (MET, 4 e/gamma, 4 muons, 10 jets) in GeV, the hardest objects of
each kind. Units: pT 0.5 GeV, that of muons with 1 for 0 GeV; eta 0.0435, muons 0.010875; phi in
144ths of the circle, muons 576ths, of which the middle is taken.
"""

import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad.data.dataset import Dataset, Rows, as_mapping, concatenate
from jaxad.data.lists import Lists
from jaxad.data.parquet_rows import ParquetRows
from jaxad.data.rows import Events
from jaxad.data.splits import choose
from jaxad.data.trigger_rows import BASELINES, LABELS, LAYOUT, trigger_rows
from jaxad.errors import UserError
from jaxad.observables.momenta import wrap_phi
from jaxad.observables.trigger import (
    ETA_BITS,
    ETA_UNIT,
    KINDS,
    N_OBJECTS,
    PHI_COUNTS,
    PT_BITS,
    PT_UNIT,
    object_names,
)
from jaxad.storage.paths import expanded

Column = tuple[str, str]
"""Collection, "" for a plain column, and the name in it."""

OBJECTS = {
    "egamma": (("egammas", "egIEt"), ("egammas", "egIEta"), ("egammas", "egIPhi")),
    "muon": (("muons", "muonIEt"), ("muons", "muonIEtaAtVtx"), ("muons", "muonIPhiAtVtx")),
    "jet": (("jets", "jetIEt"), ("jets", "jetIEta"), ("jets", "jetIPhi")),
}
"""Counts of pT, eta and phi of the objects; of muons where they left the vertex."""
MET = ("MET", "Et"), ("MET", "phi")
FULL: dict[Column, int] = {
    ("ET", "Et"): 4095,
    ("MET", "Et"): 4095,
    ("FET", "Et"): 4095,
    ("egammas", "egIEt"): 511,
    ("muons", "muonIEt"): 511,
    ("taus", "tauIEt"): 511,
    ("jets", "jetIEt"): 2047,
}
"""Counts that say no more than "or above"; events with one are left out."""
SUMS = ("ET", "HT", "MET", "MHT", "FET", "FHT")
COLLECTIONS = ("muons", "jets", "egammas", "taus", *SUMS)
BESIDE = {
    "nPV_True": np.float32,
    "run": np.int64,
    "lumi": np.int64,
    "time": np.float64,
    "L1bit": np.float32,
    "label": np.float32,
}
"""Plain columns that stay beside the events; time [s] is that since the start of the run."""
ORDER = "order"

PART = re.compile(r"(?P<split>\w+)-(?P<number>\d{5})-of-(?P<parts>\d{5})\.parquet")
SPLITS = {"train": "train", "valid": "val", "validation": "val", "val": "val", "test": "test"}
FOLDERS = {"zerobias": 0, "signal": 1, "background": -1}
"""Top folders of the record, and the sign of their label."""
SIGNS = {0: "zero bias", 1: "signal", -1: "simulated background"}
BLOCK = 1 << 16  # events read together

DEFAULTS = {
    "signals": "",  # "": all sets with a label above 0; "NAME=SET,..." for some of the folder
    "n_events": 1_000_000,  # at most so many random zero-bias events of each split; 0: all
    "n_signal": 0,  # at most so many of each signal; 0: all
}
WHOLE = {"n_events": 0, "n_signal": 0}
"""Settings where no event is left out."""

PARTS = ("train", "val", "test")

Files = dict[str, list[Path]]
"""Files of one split of a set, by their collection; "" are those that hold all of an event."""


class _Sample(NamedTuple):
    """A part of the data set, or a signal."""

    name: str
    split: str
    sets: list[str]
    limit: int  # at most so many events; 0: all
    sign: int  # of their label


def idle(config: ConfigDict) -> dict[str, str]:
    """Settings that change nothing with the others as they are: none."""
    return {}


def load(config: ConfigDict) -> Dataset:
    """Zero bias in the published splits, and the test split of the signals.

    Saturated events, and those that the set marks so (order -1), are left out and told. Rows: see
    `trigger_rows`; the columns of `BESIDE` that the files have.

    Raises:
        UserError: pyarrow, a set, a split or a column is missing; counts that cannot be.
    """
    folder = _folder(config)
    sets = _sets(folder)
    signs = {name: _sign(folder / name, splits) for name, splits in sets.items()}
    zero_bias = [name for name, sign in signs.items() if sign == 0]
    if not zero_bias:
        raise UserError(f"{folder}: no set of zero bias (label 0); found {', '.join(sets)}")
    samples = [_Sample(part, part, zero_bias, config.n_events, 0) for part in PARTS]
    samples += [
        _Sample(f"signals.{name}", "test", [each], config.n_signal, signs[each])
        for name, each in _signals(config, signs).items()
    ]
    rows, left_out, paths = {}, {}, {}
    for number, sample in enumerate(samples):
        if empty := [name for name in sample.sets if sample.split not in sets[name]]:
            raise UserError(f"{folder}: {empty[0]}: no files of the split {sample.split}")
        files = [sets[name][sample.split] for name in sample.sets]
        rows[sample.name], left_out[sample.name] = _read(files, sample, [config.seed, number])
        paths[sample.name] = [str(path) for own in files for each in own.values() for path in each]
    if any(left_out.values()):
        listed = ", ".join(f"{n:,} of {name}" for name, n in left_out.items() if n)
        print(f"note: {folder}: saturated events are left out: {listed}", file=sys.stderr)
    signals = [sample.name for sample in samples[len(PARTS) :]]
    beside = {"nPV_True": ("interactions of a crossing", "")} if "nPV_True" in rows["train"] else {}
    return Dataset(
        **{part: rows[part] for part in PARTS},
        signals={name.removeprefix("signals."): rows[name] for name in signals},
        layout=LAYOUT,
        labels=LABELS | beside,
        baselines=BASELINES,
        info={
            "name": "cmsl1t",
            "source": config.source,
            "files": [path for found in paths.values() for path in found],
            "tested_files": [path for name in signals for path in paths[name]],
            "selection": "zero bias of 2025, saturated events left out",
            "saturated": left_out,
            "seed": config.seed,
        },
    )


def _folder(config: ConfigDict) -> Path:
    if config.source in ("simulation", "download"):
        raise UserError(
            "data.source: the CMS L1T set is neither simulated nor downloaded by jaxad: give a "
            "folder of CERN/anomaly_detection_cmsl1t or of the unpacked Zenodo record"
        )
    folder = expanded(config.source)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: give data.source the one that holds the sets")
    return folder


def _sets(folder: Path) -> dict[str, dict[str, Files]]:
    """Files of every set, by "train", "val" and "test".

    Raises:
        UserError: none is there, or a part of a split is missing.
    """
    root = folder / "data" if (folder / "data").is_dir() else folder
    found: dict[str, dict[str, Files]] = {}
    parts: dict[tuple[Path, str], list[re.Match]] = {}
    for path in sorted(root.glob("*/*.parquet")):
        if match := PART.fullmatch(path.name):
            split = _split(match["split"], path)
            found.setdefault(path.parent.name, {}).setdefault(split, {"": []})[""].append(path)
            parts.setdefault((path.parent, match["split"]), []).append(match)
    for (where, split), matches in parts.items():
        expected, numbers = int(matches[0]["parts"]), {int(match["number"]) for match in matches}
        if missing := sorted(set(range(expected)) - numbers):
            raise UserError(
                f"{where}: {split}: expected {expected} files, found {len(numbers)}: number "
                f"{missing[0]} is missing: download it again"
            )
    for path in [] if found else sorted(root.glob("*/*/*/*/*.parquet")):
        kind, name, split, collection, _ = path.relative_to(root).parts
        if kind in FOLDERS:
            files = found.setdefault(f"{kind}/{name}", {}).setdefault(_split(split, path), {})
            files.setdefault(collection, []).append(path)
    if not found:
        raise UserError(
            f"{folder}: expected data/SET/SPLIT-NNNNN-of-NNNNN.parquet or "
            "zerobias/SET/SPLIT/COLLECTION/*.parquet, found none"
        )
    return found


def _split(written: str, path: Path) -> str:
    if written not in SPLITS:
        raise UserError(f"{path}: expected a split train, valid or test, found {written!r}")
    return SPLITS[written]


def _sign(where: Path, splits: dict[str, Files]) -> int:
    """0 of zero bias, 1 of a signal, -1 of simulated background: by the label, or the folder."""
    with ExitStack() as stack:
        events = _Counts(next(iter(splits.values())), stack)
        if ("", "label") in events.columns and len(events):
            return int(np.sign(events.plain("label", 0, 1)[0]))
    if where.parent.name not in FOLDERS:
        raise UserError(f"{where}: no column 'label', which says what is background; see the files")
    return FOLDERS[where.parent.name]


def _signals(config: ConfigDict, signs: dict[str, int]) -> dict[str, str]:
    """Name -> set of every signal."""
    asked = as_mapping(config.signals, "data.signals")
    found = asked or {Path(name).name: name for name, sign in signs.items() if sign > 0}
    for name, each in found.items():
        full = [known for known in signs if each in (known, Path(known).name)]
        if len(full) != 1 or signs[full[0]] == 0:
            others = ", ".join(known for known, sign in signs.items() if sign)
            raise UserError(
                f"data.signals: {name}: expected one of the sets {others or 'none'}, found {each!r}"
            )
        found[name] = full[0]
    return found


def _read(files: Sequence[Files], sample: _Sample, seed: list[int]) -> tuple[Rows, int]:
    """Rows of random events of a sample, files by set, and how many were left out."""
    with ExitStack() as stack:
        opened = [_Counts(own, stack) for own in files]
        ends = np.cumsum([0, *map(len, opened)])
        index = choose(int(ends[-1]), min(sample.limit, int(ends[-1])), seed)
        pieces = []
        with tqdm(total=len(index), unit="event", desc="reading", delay=2, leave=False) as bar:
            for events, first, last in zip(opened, ends[:-1], ends[1:], strict=True):
                own = index[(index >= first) & (index < last)] - first
                for start in range(0, len(events), BLOCK):
                    chosen = own[(own >= start) & (own < start + BLOCK)] - start
                    if len(chosen):
                        pieces.append(events.rows(start, start + BLOCK, chosen, sample.sign))
                        bar.update(len(chosen))
    if not pieces or not any(len(rows["x"]) for rows, _ in pieces):
        raise UserError(f"{next(iter(files[0].values()))[0]}: no events that are not saturated")
    return concatenate([rows for rows, _ in pieces]), sum(n for _, n in pieces)


class _Counts:
    """Events of one split of a set, as the trigger counted them."""

    def __init__(self, files: Files, stack: ExitStack):
        self.tables = {name: ParquetRows(paths, stack) for name, paths in files.items()}
        self.columns: dict[Column, tuple[ParquetRows, str]] = {}
        for folder, table in self.tables.items():
            for name in table.names:
                own = folder if folder in COLLECTIONS else ""
                prefix, _, rest = name.partition("_")
                column = (prefix, rest) if not own and prefix in COLLECTIONS else (own, name)
                self.columns[column] = table, name
        lengths = {name: len(table) for name, table in self.tables.items()}
        first, n = next(iter(lengths.items()))
        for name, other in lengths.items():
            if other != n:
                raise UserError(
                    f"{self.tables[name].paths[0].parent}: expected {n:,} rows as in {first}, "
                    f"found {other:,}: download the files again"
                )
        self.where = next(iter(self.tables.values())).paths[0]

    def __len__(self) -> int:
        return len(next(iter(self.tables.values())))

    def _lists(self, columns: Sequence[Column], start: int, stop: int) -> dict[Column, Lists]:
        found: dict[Column, Lists] = {}
        for table in self.tables.values():
            own = [c for c in columns if c in self.columns and self.columns[c][0] is table]
            names = [self.columns[column][1] for column in own]
            lists = table.lists(names, start, stop) if names else {}
            found |= {column: lists[self.columns[column][1]] for column in own}
        if missing := [column for column in columns if column not in found]:
            name = "_".join(filter(None, missing[0]))
            known = ", ".join("_".join(filter(None, column)) for column in self.columns)
            raise UserError(f"{self.where}: no column {name!r}; found {known}")
        return found

    def plain(self, name: str, start: int, stop: int) -> np.ndarray:
        """A plain column of numbers."""
        return self._one(self._lists([("", name)], start, stop), ("", name), start)

    def _one(self, lists: dict[Column, Lists], column: Column, start: int) -> np.ndarray:
        lengths, values = lists[column]
        if (lengths != 1).any():
            raise self._odd(column, start + int(np.argmax(lengths != 1)), "one number", "a list")
        return values

    def _odd(self, column: Column, row: int, expected: str, found: object) -> UserError:
        name = "_".join(filter(None, column))
        return UserError(f"{self.where}: {name}: row {row}: expected {expected}, found {found}")

    def rows(self, start: int, stop: int, chosen: np.ndarray, sign: int) -> tuple[Rows, int]:
        """Rows of the events `chosen` among `start` to `stop`, and how many were saturated."""
        stop = min(stop, len(self))
        counts = self._counts(start, stop)
        keep = ~self._saturated(counts, start, stop)[chosen]
        kept = chosen[keep]
        rows = trigger_rows(self._events(counts, start)[kept])
        for name, dtype in BESIDE.items():
            if ("", name) in self.columns:
                rows[name] = self.plain(name, start, stop)[kept].astype(dtype)
        odd = np.flatnonzero(np.sign(rows.get("label", np.full(len(kept), sign))) != sign)
        if len(odd):
            label = rows["label"][odd[0]]
            raise self._odd(("", "label"), start + kept[odd[0]], f"that of {SIGNS[sign]}", label)
        return rows, int((~keep).sum())

    def events(self, start: int, stop: int) -> np.ndarray:
        """Events (n, 19, 3) float32, saturated ones at their last count."""
        return self._events(self._counts(start, stop), start)

    def _counts(self, start: int, stop: int) -> dict[Column, Lists]:
        columns = [*FULL, *MET, *(column for own in OBJECTS.values() for column in own)]
        return self._lists(list(dict.fromkeys(columns)), start, stop)

    def _saturated(self, counts: dict[Column, Lists], start: int, stop: int) -> np.ndarray:
        """Events (n,) that the standard cleaning leaves out."""
        found = np.zeros(stop - start, bool)
        for column, full in FULL.items():
            lengths, values = counts[column]
            found[np.repeat(np.arange(len(lengths)), lengths)[values >= full]] = True
        if ("", ORDER) in self.columns:
            found |= self.plain(ORDER, start, stop) == -1
        return found

    def _events(self, counts: dict[Column, Lists], start: int) -> np.ndarray:
        n = len(counts[MET[0]][0])
        x = np.zeros((n, N_OBJECTS, 3), np.float32)
        empty = sum(counts[own[0]][0] for own in OBJECTS.values()) == 0
        x[:, 0] = self._met(counts, empty, start)
        names = np.array([name.rstrip("0123456789") for name in object_names()])
        for kind, columns in OBJECTS.items():
            slots = np.flatnonzero(names == kind)
            lengths = counts[columns[0]][0]
            for column in columns[1:]:
                if (odd := counts[column][0] != lengths).any():
                    row = int(np.argmax(odd))
                    expected = f"{lengths[row]} values as in {columns[0][1]}"
                    raise self._odd(column, start + row, expected, counts[column][0][row])
            values = np.stack([counts[column][1] for column in columns], -1)
            event = np.repeat(np.arange(n), lengths)
            self._require_counts(columns, values, slots[0], start + event)
            # The hardest first; equal ones as they were.
            order = np.lexsort((-values[:, 0], event))
            event, values = event[order], values[order]
            place = np.arange(len(event)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            kept = place < len(slots)
            x[event[kept], slots[place[kept]]] = physical(values[kept], slots[0])
        return x

    def _met(self, counts: dict[Column, Lists], empty: np.ndarray, start: int) -> np.ndarray:
        """MET (n, 3); that of an event without any object may be an empty list, and is none."""
        found = np.zeros((len(empty), 3))
        for position, column in zip((0, 2), MET, strict=True):
            lengths, values = counts[column]
            odd = (lengths != 1) & ~((lengths == 0) & empty)
            if odd.any():
                row = int(np.argmax(odd))
                raise self._odd(column, start + row, "a list of one", f"one of {lengths[row]}")
            found[lengths == 1, position] = values
        columns = MET[0], ("", ""), MET[1]
        self._require_counts(columns, found, 0, start + np.arange(len(empty)))
        return physical(found, 0)

    def _require_counts(
        self, columns: Sequence[Column], values: np.ndarray, slot: int, rows: np.ndarray
    ) -> None:
        """Refuses counts (m, 3) that no object of the slot can have; `rows` (m,) in the files."""
        half = 2.0 ** (ETA_BITS[slot] - 1)
        low, high = (0, -half, 0), (2.0 ** PT_BITS[slot] - 1, half - 1, PHI_COUNTS[slot] - 1)
        odd = (values < low) | (values > high) | (values != np.rint(values))
        if odd.any():
            where, i = np.argwhere(odd)[0]
            expected = f"a count from {low[i]:.0f} to {high[i]:.0f}"
            raise self._odd(columns[i], int(rows[where]), expected, f"{values[where, i]:g}")


def physical(counts: np.ndarray, slot: int) -> np.ndarray:
    """Counts (n, 3) of pT, eta and phi of the objects of a slot -> (pT [GeV], eta, phi) float32.

    Zeros where pT is 0: there is no object.

    Examples:
        >>> physical(np.array([[40, 10, 71]]), slot=9).tolist()[0][0]  # a jet
        20.0
        >>> physical(np.array([[11, 0, 0]]), slot=5).tolist()[0][0]  # a muon
        5.0
    """
    pt, eta, phi = np.asarray(counts, np.float64).T
    if object_names()[slot].startswith(KINDS[2]):
        pt = np.maximum(pt - 1, 0)
    angle = wrap_phi((phi + 0.5) * (2 * np.pi / PHI_COUNTS[slot]))
    x = np.stack([pt * PT_UNIT, eta * ETA_UNIT[slot], angle], -1)
    return np.where(pt[:, None] > 0, x, 0).astype(np.float32)


class _Rows:
    """The events of one file."""

    def __init__(self, counts: _Counts, rows: range):
        self._counts, self._own = counts, rows

    def __len__(self) -> int:
        return len(self._own)

    def __getitem__(self, rows: slice) -> np.ndarray:
        own = self._own[rows]
        return self._counts.events(own.start, own.stop)


def rows_of(path: Path, config: ConfigDict, stack: ExitStack) -> Events | None:
    """The events of a published file, saturated ones included; None of a file that is no Parquet.

    A file of one collection is joined with the same rows of those beside it.
    """
    if path.suffix != ".parquet":
        return None
    files: Files = {"": [path]}
    if path.parent.name in COLLECTIONS:
        beside = sorted(path.parent.parent.glob("*/*.parquet"))
        files = {}
        for other in beside:
            files.setdefault(other.parent.name, []).append(other)
    counts = _Counts(files, stack)
    name = path.parent.name if path.parent.name in files else ""
    return _Rows(counts, counts.tables[name].rows_of(path))
