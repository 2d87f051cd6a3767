"""What every reader returns: rows of events, background in three parts and named signals.

Rows are plain dictionaries of NumPy arrays with one leading axis. `check` refuses a data set that
would fail later in a less clear place (ragged, empty, not finite), and `summary` is the table that
a run prints before it trains. Indices of splits are in `jaxad.data.splits`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.storage import blockwise, on_disk
from jaxad.storage.digest import digest

Rows = dict[str, np.ndarray]
"""Arrays with one leading axis N: "x" is raw scorer input, others observables (N,)."""

LEFT_OUT = (
    ("left_out", "label ", "neither in data.background nor in data.signals"),
    ("unparted", "", "of none of the parts that data.split names"),
    ("untested", "", "data.split does not test them"),
)
"""Fields of `Dataset.info` that count events, what their keys are, and why these were left out."""
CHUNK = 1 << 20  # values looked at together when scanning for NaN


@dataclass(frozen=True)
class Dataset:
    """Background in three parts, and signals that are only ever tested on.

    Attributes:
      train: rows of background that methods learn from.
      val: rows of background that choose epochs.
      test: rows of background that are measured, and that calibrate thresholds.
      signals: name -> rows.
      layout: what one event is.
      extra: further named rows that some methods want (supervised training, sidebands).
      labels: of the observables in the rows: name -> (text, unit), for figures.
      baselines: observables that are trivial scores, the first ones the most telling.
      info: JSON-able: "name", "source", "files", perhaps "tested_files", those whose events train
        nothing but supervised methods, "selection", "seed"; of a search "window" [TeV]; where
        events of other labels than those asked for were left out "left_out", label -> number; of a
        split, class -> number, "unparted" events of no part, and "untested" of signals that are
        not of the test part; of a selection "cut_flow", class -> {"term", "events", perhaps
        "weight"}, term by term.
    """

    train: Rows
    val: Rows
    test: Rows
    signals: dict[str, Rows]
    layout: Layout
    extra: dict[str, Rows] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    baselines: tuple[str, ...] = ()
    info: dict = field(default_factory=dict)

    def parts(self) -> Iterator[tuple[str, Rows]]:
        """Every part by its name in messages: "train", ..., "signals.top", "extra.NAME"."""
        yield from (("train", self.train), ("val", self.val), ("test", self.test))
        yield from ((f"signals.{name}", rows) for name, rows in self.signals.items())
        yield from ((f"extra.{name}", rows) for name, rows in self.extra.items())


def n_rows(rows: Rows) -> int:
    """Length of the leading axis."""
    return len(next(iter(rows.values())))


def take(rows: Rows, index: np.ndarray | slice) -> Rows:
    """The chosen rows of every array."""
    return on_disk.take_all(rows, index)


def concatenate(parts: Sequence[Rows]) -> Rows:
    """One block of rows from several with the same keys."""
    return {key: on_disk.concatenate([rows[key] for rows in parts]) for key in parts[0]}


def first_not_finite(values: np.ndarray) -> int | None:
    """Index of the first row that holds a NaN or an infinity, looked for in bounded memory."""
    if values.dtype.kind not in "fc":
        return None
    step = max(1, CHUNK // max(1, int(np.prod(values.shape[1:]))))
    for start in range(0, len(values), step):
        block = values[start : start + step]
        finite = np.isfinite(block)
        on_disk.release(values)
        if not finite.all():
            return start + int(np.argmin(finite.reshape(len(block), -1).all(axis=1)))
    return None


def check(dataset: Dataset) -> Dataset:
    """Returns the data set, or raises the UserError that says which part and field is wrong.

    Every part: not empty, an "x", one common length, finite values. Across parts (extra apart,
    which may hold other things): the same fields, and the same shape and dtype of a row.
    """
    source = dataset.info.get("source", "data")
    for name, rows in dataset.parts():
        _check_part(rows, f"{source}: {name}")
    for name, rows in dataset.parts():
        if name.startswith("extra."):
            continue
        if set(rows) != set(dataset.train):
            odd = sorted(set(rows) ^ set(dataset.train))
            raise UserError(f"{source}: {name} and train differ in the fields {odd}; give both")
        for key, values in rows.items():
            expected = dataset.train[key]
            if values.shape[1:] != expected.shape[1:] or values.dtype != expected.dtype:
                raise UserError(
                    f"{source}: {name}: field {key!r}: expected rows of {expected.shape[1:]} "
                    f"{expected.dtype} as in train, found {values.shape[1:]} {values.dtype}"
                )
    for name in dataset.signals:
        if not name or "/" in name:
            raise UserError(f"{source}: signal name {name!r}: must not be empty nor contain '/'")
    return dataset


def _check_part(rows: Rows, where: str) -> None:
    if "x" not in rows:
        raise UserError(f"{where}: no field 'x', found {sorted(rows)}")
    length = n_rows(rows)
    for key, values in rows.items():
        if values.ndim == 0 or len(values) != length:
            raise UserError(
                f"{where}: field {key!r}: expected {length} rows as in the other fields, "
                f"found shape {values.shape}"
            )
    if length == 0:
        raise UserError(f"{where}: no events left; loosen the cuts, or give more events")
    for key, values in rows.items():
        if np.ma.is_masked(values):
            raise UserError(f"{where}: field {key!r}: holds masked values: leave such rows out")
        row = first_not_finite(values)
        if row is not None:
            raise UserError(f"{where}: field {key!r}: NaN or infinity first at row {row}")


def summary(dataset: Dataset) -> str:
    """Table of counts per class and split, with the raw input's shape, for the terminal."""
    x = dataset.train["x"]
    lines = [
        f"{dataset.info.get('name', 'data')} from {dataset.info.get('source', '?')}: "
        f"x {x.shape[1:]} {x.dtype} {dataset.layout.format}",
        f"{'':<24}{'train':>10}{'val':>10}{'test':>10}",
        f"{'background':<24}"
        + "".join(f"{n_rows(rows):>10,}" for rows in (dataset.train, dataset.val, dataset.test)),
    ]
    lines += [
        f"{name:<24}{'-':>10}{'-':>10}{n_rows(rows):>10,}" for name, rows in dataset.signals.items()
    ]
    lines += [f"{'extra ' + name:<24}{n_rows(rows):>10,}" for name, rows in dataset.extra.items()]
    lines += [f"weights of {name}: {_weighed(w)}" for name, w in _weights(dataset).items()]
    lines += cut_flow_lines(flows) if (flows := dataset.info.get("cut_flow")) else []
    for key, what, why in LEFT_OUT:
        if fewer := dataset.info.get(key):
            listed = ", ".join(f"{n:,} of {what}{name}" for name, n in fewer.items())
            lines.append(f"left out: {listed}: {why}")
    return "\n".join(lines)


def cut_flow_rows(flows: Mapping[str, Sequence[Mapping]]) -> list[list[str]]:
    """A head and a row a term, of `info["cut_flow"]`: events, and sums of weights in brackets."""
    names = list(flows)
    found = [["selection", *names]]
    for lines in zip(*flows.values(), strict=True):
        weights = [f" ({line['weight']:.6g})" if "weight" in line else "" for line in lines]
        cells = [f"{line['events']:,}{w}" for line, w in zip(lines, weights, strict=True)]
        found.append([lines[0]["term"], *cells])
    return found


def cut_flow_lines(flows: Mapping[str, Sequence[Mapping]]) -> list[str]:
    """The rows as lines of aligned columns."""
    rows = cut_flow_rows(flows)
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])]).rstrip()
        for row in rows
    ]


def _weights(dataset: Dataset) -> dict[str, list[np.ndarray]]:
    """Weights of all background and of each signal, part by part, where they are not all alike."""
    background = (dataset.train, dataset.val, dataset.test)
    if not all("weight" in rows for rows in background):
        return {}
    found = {"background": [rows["weight"] for rows in background]}
    found |= {name: [rows["weight"]] for name, rows in dataset.signals.items()}
    return {name: parts for name, parts in found.items() if not blockwise.are_constant(parts)}


def _weighed(parts: Sequence[np.ndarray]) -> str:
    n, n_negative = sum(map(len, parts)), sum(blockwise.count(_negative, w) for w in parts)
    total = sum(map(blockwise.total, parts))
    squares = sum(blockwise.total(w, lambda block: block.astype(np.float64) ** 2) for w in parts)
    negative = f", {n_negative / n:.2%} of them negative" if n_negative else ""
    return (
        f"sum {total:.6g}, {n:,} events as good as {total**2 / squares:,.1f} of one weight"
        + negative
    )


def _negative(weight: np.ndarray) -> np.ndarray:
    return weight < 0


def content_digest(dataset: Dataset) -> str:
    """Digest of the content of all parts: equal data sets have equal ones."""
    parts = dataset.parts()
    return digest({}, {f"{part} {key}": rows[key] for part, rows in parts for key in rows})


def counts(dataset: Dataset) -> dict[str, int]:
    """Number of events of each part, by the names of `Dataset.parts`."""
    return {name: n_rows(rows) for name, rows in dataset.parts()}


def as_mapping(value: Mapping | str, what: str) -> dict[str, str]:
    """Named values from a mapping, or from the command line's "t=4,W=2,Z=3".

    Raises UserError naming `what` when an item is not NAME=VALUE or a name comes twice.
    """
    if not isinstance(value, str):
        return {str(name): str(item) for name, item in value.items()}
    named: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in value.split(","))):
        name, equals, content = (text.strip() for text in item.partition("="))
        if not (name and equals and content):
            raise UserError(f"{what}: expected NAME=VALUE,NAME=VALUE, found {item!r}")
        if name in named:
            raise UserError(f"{what}: the name {name!r} comes twice")
        named[name] = content
    return named
