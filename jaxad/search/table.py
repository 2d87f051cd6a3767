"""The data of a search as one table: named columns, or what inputs make of events."""

import re

import numpy as np
from ml_collections import ConfigDict

from jaxad import data, inputs
from jaxad.data import Table
from jaxad.data.assembled import open_events
from jaxad.data.checks import resolve
from jaxad.data.columns import as_integers, chosen
from jaxad.data.layout import PARTICLES
from jaxad.data.named import maybe_particles, names_of, with_keys
from jaxad.data.named_table import missing_among
from jaxad.data.table import Everything, make_table
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.inputs import Stage
from jaxad.storage import cache

EFP = re.compile(r"efp_\d+_(\d+)_\d+")
TAU = re.compile(r"tau_(\d+)")


def search_table(config: ConfigDict) -> Table:
    """All data of a search, see `jaxad.data.table.Table`.

    Named columns and LHC Olympics are read as they are. Of other events the features are the vector
    that `inputs` makes of them; with `data.features` and no `data.mass` they are observables of
    particles by the names of `inputs.name=jet_observables`: pt, multiplicity, efp_2_1_0, tau_1,
    globs too. The mass is the column `data.mass`, or that of the events: of particles the invariant
    mass. An observable that is called mass is never a feature.

    Args:
        config: with the sections `data` and `inputs`.

    Raises:
        UserError: as `jaxad.data.search_table`; events without mass, or no vector of them.
    """
    section = config.data
    if data.has_table(section):
        return data.search_table(section)
    if not section.get("features"):
        events = data.everything(section)
        stage = inputs.stage(config.inputs, events.layout, ("vector",), "a search")
        features = [name for name, _ in stage.names if name != "mass"]
        return _table(events, stage, features, config)
    events = data.everything(_of_particles(section))
    stage = inputs.stage(_observables(config), events.layout, ("vector",), "a search")
    return _table(events, stage, _chosen(stage, section), config)


def _of_particles(section: ConfigDict) -> ConfigDict:
    """The settings that read the particles whose observables `data.features` names.

    Raises:
        UserError: no mass is named, and there are no particles to take it from.
    """
    if section.format not in PARTICLES or not _holds_particles(section):
        raise UserError("data.mass: a search needs a mass: name its column")
    if len(names_of(section.id)) > 1:
        raise UserError(f"data.id: of particles one array, found {section.id!r}")
    keys = with_keys(section)
    keys.update({"mass_key": "", "format": section.format, "features": ""})
    return keys


def _holds_particles(section: ConfigDict) -> bool:
    """Whether the array of `data.x_key` is there and has the axes of particles."""
    if not maybe_particles(section):
        return False
    (file, *_) = resolve(section.source)
    try:
        with open_events(file, section) as stored:
            return len(stored.shape) == 3
    except UserError:
        return False


def _observables(config: ConfigDict) -> ConfigDict:
    """The settings of `inputs` under which the named observables are computed, and no others."""
    section = config.get("inputs", inputs.get_config("jet_observables"))
    degrees, orders = [0], [0]
    for pattern in names_of(config.data.features):
        if any(sign in pattern for sign in "*?"):
            degrees.append(section.max_degree if chosen(pattern, ["efp_2_1_0"]) else 0)
            orders.append(section.n_taus if chosen(pattern, ["tau_1"]) else 0)
        degrees += [int(found[1]) for found in [EFP.fullmatch(pattern)] if found]
        orders += [int(found[1]) for found in [TAU.fullmatch(pattern)] if found]
    return inputs.get_config("jet_observables", max_degree=max(degrees), n_taus=max(orders))


def _chosen(stage: Stage, section: ConfigDict) -> list[str]:
    """The observables that `data.features` names, in its order.

    Raises:
        UserError: no such observable, or the mass.
    """
    names = [name for name, _ in stage.names]
    features: list[str] = []
    for pattern in names_of(section.features):
        if pattern == "mass":
            raise UserError(
                "data.features: mass is the mass of the search, which may not be a feature: leave "
                "it out"
            )
        fitting = [name for name in chosen(pattern, names) if name not in ("mass", *features)]
        if not fitting:
            raise UserError(
                f"data.features: {pattern} is no column without data.mass, and no observable of "
                f"the particles once more; they are {', '.join(names[1:])}: name the mass of a "
                "table by data.mass; globs take the EFPs of inputs.max_degree and the tau_N of "
                "inputs.n_taus"
            )
        features += fitting
    return features


def _table(events: Everything, stage: Stage, features: list[str], config: ConfigDict) -> Table:
    rows, units = events.rows, dict(stage.names)
    if "mass" in rows:
        mass = rows["mass"].astype(np.float64)
    elif stage.mass is not None:
        mass = in_batches(stage.mass, rows["x"], "mass", stage.batch).astype(np.float64) * 1000
    else:
        raise UserError(
            f"{events.info['source']}: a search needs a mass, and these events have none: set "
            "data.mass_key of features, or name columns by data.features and data.mass"
        )
    values = inputs.values_of(stage, rows["x"], "events", cache.root(config.data.cache))
    columns = {name: values[:, place] for place, name in enumerate(units)}
    ids = rows.get("event")
    chosen_columns = {name: columns[name] for name in features}
    return make_table(
        chosen_columns,
        mass,
        events.origin,
        units=[units[name] for name in features],
        mass_name=events.layout.mass or "mass",
        weight=rows.get("weight"),
        label=events.label,
        ids=None if ids is None else as_integers(ids, events.origin.files[0], "id"),
        missing=missing_among(config.data, chosen_columns) if config.data.get("missing") else None,
        info={**events.info, "files": [*events.origin.files]},
    )
