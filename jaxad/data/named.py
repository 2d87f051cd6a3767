"""The user's own table by the names of its columns: `data.features` and the settings beside it.

--config.data.name=events --config.data.source=table.csv --config.data.features=mj1,mj2,tau*
--config.data.mass=mjj --config.data.mass_unit=TeV --config.data.id=run,event
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.checks import require_finite
from jaxad.data.columns import ARRAYS, as_integers, chosen, no_column, open_columns, require_column
from jaxad.data.dataset import Rows, n_rows, take
from jaxad.data.event_parts import parts_in
from jaxad.data.labels import limited, parts_of, signals_of
from jaxad.data.layout import Layout
from jaxad.data.raw_events import require_events
from jaxad.data.rows import file_of, files_of
from jaxad.data.selected import cut
from jaxad.data.table import GEV, Origin
from jaxad.data.text_labels import texts_of
from jaxad.errors import UserError

TRUTHS = ("label", "is_signal", "truth")
"""Columns that no glob takes as features unless they are listed by name."""
SETTINGS = ("mass", "mass_unit", "weight", "label", "id", "missing")
"""Settings of named columns, beside `features`."""


class Named(NamedTuple):
    """What the columns of a sample are called.

    Attributes:
        features: in their order.
        ids: of whole numbers, perhaps none.
        mass, weight, label: "" where there is none.
    """

    features: tuple[str, ...]
    ids: tuple[str, ...]
    mass: str
    weight: str
    label: str

    @property
    def all(self) -> tuple[str, ...]:
        others = (self.mass, self.weight, self.label)
        return tuple(dict.fromkeys((*self.features, *self.ids, *filter(None, others))))


def names_of(value: str | Sequence[str]) -> list[str]:
    """The items of "a,b,c", or of a list."""
    items = value.split(",") if isinstance(value, str) else value
    return [name for item in items if (name := str(item).strip())]


def resolved(config: ConfigDict, names: Sequence[str], file: str) -> Named:
    """The columns that the settings mean, among the `names` of a file.

    Raises:
        UserError: no such column, a glob that fits none, the mass, weight, label or id as a
            feature, or a column twice.
    """
    special = {"mass": config.mass, "weight": config.weight, "label": config.label}
    ids = names_of(config.id)
    for setting, name in [*special.items(), *(("id", name) for name in ids)]:
        if name and name not in names:
            raise no_column(file, name, names, f"data.{setting}")
    taken = {name: setting for setting, name in special.items() if name}
    taken |= dict.fromkeys(ids, "id")
    features: list[str] = []
    for pattern in names_of(config.features):
        fitting = chosen(pattern, names)
        if not fitting:
            raise no_column(file, pattern, names, "data.features")
        for name in fitting:
            if name == pattern and name in taken:
                raise UserError(
                    f"data.features: {name} is data.{taken[name]}, which may not be a feature: "
                    "leave it out of one of them"
                )
            if name == pattern and name in features:
                raise UserError(f"data.features: {name} comes twice: name it once")
            if name != pattern and name in TRUTHS and name not in taken:
                raise UserError(
                    f"data.features: {pattern} would take {name} as a feature: set "
                    f"data.label={name} if it is the truth, or list the features by name"
                )
            if name not in taken and name not in features:
                features.append(name)
    if not features:
        raise UserError("data.features: holds only the mass, weight, label or id: name a feature")
    return Named(tuple(features), tuple(ids), config.mass, config.weight, config.label)


class Sample(NamedTuple):
    """Columns of all events of some files.

    Attributes:
        columns: name -> (N,) as in the files; those of the ids int64.
        named: what they are.
        origin: where each row stands.
    """

    columns: dict[str, np.ndarray]
    named: Named
    origin: Origin

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def read(files: Sequence[str], config: ConfigDict, labelled: bool = True) -> Sample:
    """The columns that the settings name, of several files as one sample.

    Args:
        labelled: whether the label is read, where one is named.

    Raises:
        UserError: see `resolved` and `jaxad.data.columns.open_columns`; other types of columns.
    """
    if not labelled:
        config = config.copy_and_resolve_references()
        config.label = ""
    parts: list[dict[str, np.ndarray]] = []
    named, starts = None, [0]
    for file in files:
        with open_columns(file) as columns:
            here = resolved(config, list(columns.names), file)
            if named is not None and here != named:
                odd = sorted(set(here.features) ^ set(named.features))
                raise UserError(
                    f"{file}: data.features finds other columns than in {files[0]} "
                    f"({', '.join(odd[:5])}): list them by name"
                )
            named = here
            values = columns.read(named.all, named.ids)
        for name, column in values.items():
            require_column(column, file, name)
        for name in named.ids:
            values[name] = as_integers(values[name], file, name)
        parts.append(values)
        starts.append(starts[-1] + len(values[named.features[0]]))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in named.all}
    return Sample(joined, named, Origin(tuple(files), tuple(starts[:-1])))


def labels_in(sample: Sample) -> np.ndarray | None:
    """The labels (N,) int64 of the files; None without."""
    name = sample.named.label
    if not name:
        return None
    starts = (*sample.origin.starts, len(sample))
    parts = [
        as_integers(sample.columns[name][start:stop], file, name)
        for file, start, stop in zip(sample.origin.files, starts[:-1], starts[1:], strict=True)
    ]
    return np.concatenate(parts)


def with_keys(config: ConfigDict) -> ConfigDict:
    """The settings with the columns' names under those of whole arrays, *_key."""
    keys = {"label_key": config.label, "weight_key": config.weight, "mass_key": config.mass}
    keys["label_file"] = ""
    return ConfigDict({**config, **keys, "id_key": config.id, "format": "features"})


def layout(named: Named, config: ConfigDict) -> Layout:
    """Of rows with the mass, where there is one, before the features."""
    mass = ((named.mass, config.mass_unit),) if named.mass else ()
    columns = (*mass, *((name, "") for name in named.features))
    return Layout("features", (len(columns),), columns=columns, mass=named.mass)


def rows(
    files: Sequence[str], config: ConfigDict, labelled: bool
) -> tuple[Rows, Layout, tuple[int, ...]]:
    """All events of some files, for training: x float32, mass [GeV], weight, event, label; what
    one is; and where each file begins.

    The label is the raw one, int64, of labelled files alone.

    Raises:
        UserError: as `read`; NaN or infinity; a mass_unit that is none, or data.missing.
    """
    if config.mass_unit not in GEV:
        raise UserError(
            f"data.mass_unit: expected one of {', '.join(GEV)}, found {config.mass_unit!r}"
        )
    if config.missing:
        raise UserError(
            "data.missing: values are filled in a search alone: leave these columns or rows out"
        )
    sample = read(files, config, labelled)
    named, columns, starts = sample.named, sample.columns, (*sample.origin.starts, len(sample))
    about = layout(named, config)
    x = np.empty((len(sample), *about.shape), np.float32)
    stretches = list(zip(files, starts[:-1], starts[1:], strict=True))
    for place, (name, _) in enumerate(about.columns):
        with np.errstate(over="ignore"):  # infinities are refused next
            x[:, place] = columns[name]
        for file, start, stop in stretches:
            require_finite(x[start:stop, place], file, name)
    for file, start, stop in stretches:
        require_events(about, x[start:stop], file, "data.features")
    found = {"x": x}
    if named.mass:
        in_gev = columns[named.mass].astype(np.float64) * GEV[config.mass_unit]
        found["mass"] = in_gev.astype(np.float32)
    if named.weight:
        found["weight"] = columns[named.weight].astype(np.float32)
        for file, start, stop in stretches:
            require_finite(found["weight"][start:stop], file, named.weight)
    if named.ids:
        ids = [columns[name] for name in named.ids]
        found["event"] = ids[0] if len(ids) == 1 else np.column_stack(ids)
    if labelled and (labels := labels_in(sample)) is not None:
        found["label"] = labels
    return found, about, sample.origin.starts


def classes(config: ConfigDict) -> tuple[Rows, dict[str, Rows], dict[str, Any]]:
    """Background, signals, and further fields of a data set, of named columns.

    Raises:
        UserError: as `rows`; no background or signal of the labels that are asked for.
    """
    files, keys = files_of(config.source), with_keys(config)
    by_label, by_file = signals_of(keys, [file_of(file)[0] for file in files])
    everything, about, starts = rows(files, config, labelled=True)
    labels = everything.pop("label", None)
    sizes = [stop - start for start, stop in itertools.pairwise((*starts, n_rows(everything)))]
    split = parts_in([*map(Path, files)], sizes, config, _columns_of, config.id)
    index, told = parts_of(files, n_rows(everything), labels, by_label, keys, split)
    found = {}
    for name, place in index.items():
        found[name] = take(everything, place)
        label = np.zeros(len(place)) if labels is None else labels[place]
        found[name]["label"] = label.astype(np.float32)
    background = found.pop("background")
    for number, (name, own) in enumerate(by_file.items(), 1 + len(by_label)):
        signal, *_ = rows(own, config, labelled=False)
        chosen, flow = cut(own, config, {name: np.arange(n_rows(signal))})
        told["cut_flow"] = told.get("cut_flow", {}) | flow
        signal = take(signal, limited(chosen[name], config, number))
        found[name] = signal | {"label": np.ones(n_rows(signal), np.float32)}
    own_files = [str(file_of(file)[0]) for group in by_file.values() for file in group]
    read_files = [str(file_of(file)[0]) for file in files]
    mass = {"mass": (config.mass, "GeV")} if config.mass else {}
    info = {"files": [*read_files, *own_files], "tested_files": own_files, **told}
    baselines = tuple(mass)
    return (
        background,
        found,
        {"layout": about, "labels": mass, "baselines": baselines, "info": info}
        | ({} if split is None else {"part": split.part[index["background"]]}),
    )


def _columns_of(path: Path, names: str) -> np.ndarray:
    """The columns (n, k) of a table that a setting names; of one of texts these (n,)."""
    if (texts := texts_of(path, names)) is not None:
        return texts
    with open_columns(path) as columns:
        wanted = names_of(names)
        for name in wanted:
            if name not in columns.names:
                raise no_column(str(path), name, columns.names, "data.split_key")
        return np.column_stack([*columns.read(wanted, wanted).values()])


def maybe_particles(config: ConfigDict) -> bool:
    """Whether the features may be observables of particles, which a search computes."""
    return not config.mass and Path(str(config.source)).suffix in (*ARRAYS, "")
