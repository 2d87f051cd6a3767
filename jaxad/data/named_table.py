"""The table of a search from columns that are named: of files, or of what Python holds."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.columns import as_integers, chosen, require_column
from jaxad.data.labels import label_list, signals_of
from jaxad.data.named import Sample, labels_in, names_of, read, resolved, with_keys
from jaxad.data.rows import file_of, files_of
from jaxad.data.selected import Passed, passed
from jaxad.data.table import Origin, Table, is_value, make_table
from jaxad.data.window import injected_among
from jaxad.errors import UserError


def missing_of(value: str | Mapping[str, Any]) -> dict[str, list[float]]:
    """Feature or glob -> the values that stand for none, of "NAME:VALUE,..." or a mapping.

    Examples:
        >>> missing_of("tau21:-999,tau21:-1,mj2:nan")
        {'tau21': [-999.0, -1.0], 'mj2': [nan]}
    """
    if not isinstance(value, str):
        pairs = [(str(name), item) for name, item in value.items()]
    else:
        pairs = [(n.strip(), v) for n, _, v in (item.rpartition(":") for item in names_of(value))]
    found: dict[str, list[float]] = {}
    for name, item in pairs:
        try:
            numbers = [float(number) for number in np.atleast_1d(item)]
        except ValueError:
            numbers = []
        if not name or not numbers:
            raise UserError(f"data.missing: expected NAME:VALUE,NAME:VALUE, found {name or item!r}")
        found.setdefault(name, []).extend(numbers)
    return found


def search_table(config: ConfigDict) -> Table:
    """The table of the files that the settings of `data` name; see `jaxad.data.table.Table`.

    Without `signals` every row is data, whatever its label, which is 0 where `background` has it
    and 1 elsewhere. With `signals`, labels or files, data are the background and `inject` random
    events of them, in the order of the files.

    Raises:
        UserError: as `read` and `jaxad.data.table.make_table`; no mass; other settings that cannot
            be.
    """
    if not config.mass:
        raise UserError("data.mass: a search needs a mass: name its column")
    require_all(config)
    sample = read(files_of(config.source), config)
    label, n_source, by_label = labels_in(sample), len(sample), {}
    if config.signals:
        own = [file_of(file)[0] for file in sample.origin.files]
        by_label, by_file = signals_of(with_keys(config), own)
        sample = _extended(sample, [file for group in by_file.values() for file in group], config)
    chosen = passed(sample.origin.files, config)
    kept, truth, left_out = data_among(label, n_source, len(sample), by_label, config, chosen)
    info: dict[str, Any] = {"left_out": left_out}
    if chosen is not None:
        info["cut_flow"] = {"all files": chosen.flow(None, sample.columns.get(sample.named.weight))}
    return _table(sample, truth, sample.origin._replace(rows=kept), config, info)


def require_all(config: ConfigDict) -> None:
    """Refuses a limit to the number of events, of which a search leaves out none."""
    if config.n_events:
        raise UserError(
            f"data.n_events: a search takes all events, expected 0, found {config.n_events}: "
            "leave it out"
        )


def data_among(
    labels: np.ndarray | None,
    n_source: int,
    n_events: int,
    by_label: Mapping[str, list[int]],
    config: ConfigDict,
    chosen: Passed | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None, int]:
    """Which events are data of a search, None for all; which of these are signal, None where
    nothing says so; how many are left out.

    Args:
        labels: (n_source,) of the source; None without.
        n_events: with those behind the source's, which are signal.
        by_label: the labels of `data.signals`.
        chosen: what `data.selection` says of these events; the others are no data.

    Raises:
        UserError: more signal to inject than there is, or none.
    """
    if not config.signals:
        if config.inject:
            raise UserError("data.inject: there is no signal to inject: name some in data.signals")
        truth = None if labels is None else ~np.isin(labels, label_list(config.background))
        if chosen is None:
            return None, truth, 0
        rows = np.flatnonzero(chosen.kept)
        return rows, None if truth is None else truth[rows], 0
    is_signal, is_background = np.zeros((2, n_events), bool)
    is_signal[n_source:] = True
    is_background[:n_source] = True
    if labels is not None:
        is_signal[:n_source] = np.isin(labels, [*itertools.chain(*by_label.values())])
        is_background[:n_source] = np.isin(labels, label_list(config.background))
    left_out = int((~is_signal & ~is_background).sum())
    if chosen is not None:
        is_signal &= chosen.kept
        is_background &= chosen.kept
    rows = injected_among(is_background, is_signal, config.inject, config.seed)
    return rows, is_signal[rows], left_out


def _extended(sample: Sample, files: Sequence[str], config: ConfigDict) -> Sample:
    """The sample with the events of further files behind it."""
    if not files:
        return sample
    more = read(files, config, labelled=False)
    if more.named.features != sample.named.features:
        raise UserError(
            f"{files[0]}: data.features finds other columns than in {sample.origin.files[0]}: "
            "list them by name"
        )
    columns = {
        name: np.append(values, more.columns.get(name, np.zeros(len(more), values.dtype)))
        for name, values in sample.columns.items()
    }
    starts = (*sample.origin.starts, *(len(sample) + start for start in more.origin.starts))
    return Sample(columns, sample.named, Origin((*sample.origin.files, *files), starts))


def _table(
    sample: Sample,
    label: np.ndarray | None,
    origin: Origin,
    config: ConfigDict,
    info: Mapping[str, Any],
) -> Table:
    columns, named = sample.columns, sample.named
    if origin.rows is not None:
        columns = {name: values[origin.rows] for name, values in columns.items()}
    features = {name: columns[name] for name in named.features}
    return make_table(
        features,
        columns[named.mass],
        origin,
        mass_name=named.mass,
        mass_unit=config.mass_unit,
        weight=columns[named.weight] if named.weight else None,
        label=label,
        ids=np.column_stack([columns[name] for name in named.ids]) if named.ids else None,
        missing=missing_among(config, features),
        info={"name": "events", "source": str(config.source), "files": [*origin.files], **info},
    )


def missing_among(config: ConfigDict, features: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Feature -> the values that stand for none, of `data.missing`.

    A glob means those features in which the value stands, or where it stands in none all of them,
    which `make_table` then refuses.

    Raises:
        UserError: no such feature, or what is no number.
    """
    found: dict[str, list[float]] = {}
    for pattern, values in missing_of(config.missing).items():
        fitting = chosen(pattern, features)
        if not fitting:
            raise UserError(
                f"data.missing: {pattern} is no feature; they are {', '.join(features)}"
            )
        for value in values:
            holding = [name for name in fitting if is_value(features[name], value).any()]
            for name in holding or fitting:
                found.setdefault(name, []).append(value)
    return found


def from_mapping(
    table: Any,
    *,
    mass: str,
    features: str | Sequence[str],
    mass_unit: str = "GeV",
    weight: str = "",
    label: str = "",
    id: str | Sequence[str] = "",
    missing: str | Mapping[str, Any] = "",
) -> Table:
    """The table of columns in memory, by the settings of `data`; see `jaxad.data.table.Table`.

    Args:
        table: a mapping of names to arrays (N,), a pandas or polars DataFrame, or a NumPy array of
            records.
        mass, features, mass_unit, weight, label, id, missing: as the settings of `data`.

    Raises:
        UserError: as `search_table`.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> events = {"mjj": 2 + rng.random(100), "tau1": rng.random(100), "n": rng.poisson(9, 100)}
        >>> table = from_mapping(events, mass="mjj", mass_unit="TeV", features="n,tau*")
        >>> table.names, table.x.shape, table.integer.tolist()
        (('n', 'tau1'), (100, 2), [True, False])
    """
    config = ConfigDict(
        {
            "features": ",".join(names_of(features)),
            "mass": mass,
            "mass_unit": mass_unit,
            "weight": weight,
            "label": label,
            "id": ",".join(names_of(id)),
            "selection": "",
        }
    )
    where = type(table).__name__
    columns = _in_memory(table, where)
    named = resolved(config, list(columns), where)
    values = {name: columns[name] for name in named.all}
    for name, column in values.items():
        require_column(column, where, name)
    n = len(values[named.mass])
    for name, column in values.items():
        if len(column) != n:
            raise UserError(
                f"{where}: {name}: expected {n:,} rows as in {named.mass}, found {len(column):,}"
            )
    for name in named.ids:
        values[name] = as_integers(values[name], where, name)
    config.update({"source": where})
    config.missing = missing_of(missing)
    sample = Sample(values, named, Origin((where,)))
    truth = labels_in(sample)
    truth = None if truth is None else truth != 0
    return _table(sample, truth, sample.origin, config, {"left_out": 0})


def _in_memory(table: Any, where: str) -> dict[str, np.ndarray]:
    names = getattr(getattr(table, "dtype", None), "names", None)
    if names is None:
        names = getattr(table, "columns", table)
    try:
        masked = next((name for name in names if np.ma.is_masked(table[name])), None)
        arrays = {str(name): np.asarray(table[name]) for name in names}
    except (TypeError, IndexError, KeyError):
        raise UserError(
            f"{where}: expected a mapping of names to arrays, a DataFrame or an array of records"
        ) from None
    if masked is not None:
        raise UserError(
            f"{where}: {masked}: masked values: fill them, x.filled(VALUE), and set missing to "
            f"{masked}:VALUE"
        )
    columns: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        if values.ndim == 2:
            columns |= {f"{name}[{i}]": column for i, column in enumerate(values.T)}
        else:
            columns[name] = values
    return columns
