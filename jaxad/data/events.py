"""The user's own events: npz, npy or HDF5 files of particles, images or features.

Which array is what is said by settings alone, so that any experiment can be pointed at new files
from the command line:

    --config.data.name=events --config.data.source=jets.h5 --config.data.x_key=constituents
    --config.data.label_key=label --config.data.background=0,1 --config.data.signals=t=4,W=2,Z=3

or the columns of a table, of any kind of file (`jaxad.data.named`):

    --config.data.name=events --config.data.source=table.csv --config.data.features=mj1,mj2,tau*

Signals are labels of the source, files of their own (`--config.data.signals=top=top.h5`), or both.
"""

import itertools
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import checks, event_text, named, named_table, stored_events
from jaxad.data.array_files import in_blocks
from jaxad.data.assembled import objects_of
from jaxad.data.dataset import Dataset, Rows, take
from jaxad.data.duplicates import warn_of_duplicates
from jaxad.data.event_parts import PARTS, parts_in
from jaxad.data.event_settings import DEFAULTS, WHOLE, idle, observable_keys, require_settings
from jaxad.data.labels import all_labels, limited, parts_of, signals_of
from jaxad.data.layout import PARTICLES
from jaxad.data.particles import JET_BASELINES, JET_LABELS
from jaxad.data.places import open_places
from jaxad.data.rows import Events, file_of, files_of
from jaxad.data.same_event import hold_out_by_id, require_apart
from jaxad.data.selected import cut, passed
from jaxad.data.splits import hold_out, split_indices
from jaxad.data.table import Everything, Origin
from jaxad.data.text_labels import texts_of
from jaxad.data.window import searched, window_of
from jaxad.storage import blockwise, cache, on_disk

__all__ = ["DEFAULTS", "WHOLE", "everything", "idle", "load", "rows_of", "search_table"]


def load(config: ConfigDict) -> Dataset:
    """Background and signals from the user's files.

    Rows: x float32, in shape and unit of the files (with `mass_key` the mass before the features;
    particles of files with fewer slots than others are padded to as many);
    the named observables; label; "weight" and "event" where `weight_key` and `id_key` name them;
    for particles also mass, pt [GeV] and multiplicity, unless named. With `features` x holds the
    mass, where there is one, and the named columns. With a window the events are
    those of a search (`jaxad.data.window`).

    Raises:
      UserError: no such file, key, label or format; a wrong shape, a value that cannot be (NaN,
        negative pT, angles in degrees, energy below momentum, pT in MeV), an empty class.
    """
    require_settings(config)
    classes = named.classes if config.features else _classes
    background, signals, about = classes(config)
    if "pt" in background:
        of_classes = {"background": background, **signals}
        medians = {name: blockwise.median(part["pt"]) for name, part in of_classes.items()}
        checks.require_one_unit(medians, str(config.source))
    elif "mass" in background:
        of_classes = {"background": background, **signals}
        medians = {name: blockwise.median(part["mass"]) for name, part in of_classes.items()}
        checks.warn_of_units(medians, str(config.source))
    about["info"] |= {"name": "events", "source": str(config.source), "seed": config.seed}
    part = about.pop("part", None)
    if config.window:
        window = window_of(config.window)
        return searched(background, signals, window, config.inject, config.seed, **about)
    parts = _split(background, part, config)
    if config.supervised:
        about["layout"] = replace(about["layout"], classes=("background", *signals))
        together = config.split != "random" and "event" in background
        holding = hold_out_by_id if together else hold_out
        extra, parts["test"], signals = holding(
            parts["test"], signals, config.supervised_fraction, config.seed
        )
        about["extra"] = extra
    return Dataset(**parts, signals=signals, **about)


def check_parts(dataset: Dataset, config: ConfigDict) -> None:
    """Looks for what a training would also be tested on: events of one id, which are refused, and
    copies, of which it tells.

    Raises:
        UserError: events of one id in two parts, see `jaxad.data.same_event.require_apart`.
    """
    require_apart(dataset, config)
    if not config.window:
        warn_of_duplicates(dataset)


def _split(background: Rows, part: np.ndarray | None, config: ConfigDict) -> dict[str, Rows]:
    """train, val and test of the background.

    Args:
        part: (N,) numbers in `PARTS`; None: at random.
    """
    folder = cache.disk(config)
    if part is not None:
        order = on_disk.numbered(len(part), folder)
        on_disk.shuffle(order, np.random.default_rng([config.seed, 0]))
        found = {}
        for number, name in enumerate(PARTS):
            here = partial(_of_part, part=part, number=number)
            found[name] = take(background, on_disk.mapped(here, order))
        return found
    fractions = {
        "train": 1 - config.val_fraction - config.test_fraction,
        "val": config.val_fraction,
        "test": config.test_fraction,
    }
    split = split_indices(len(background["x"]), fractions, [config.seed, 0], folder)
    return {name: take(background, index) for name, index in split.items()}


def _of_part(rows: np.ndarray, part: np.ndarray, number: int) -> np.ndarray:
    found = rows[part[rows] == number]
    on_disk.release(part)
    return found


def _classes(config: ConfigDict) -> tuple[Rows, dict[str, Rows], dict[str, Any]]:
    """Background, signals, and further fields of the data set, of whole arrays."""
    paths = [*map(Path, files_of(config.source))]
    by_label, files_of_signals = signals_of(config, paths)
    by_file = {name: [*map(Path, files)] for name, files in files_of_signals.items()}
    folder = cache.disk(config)
    for path in itertools.chain(paths, *by_file.values()):
        if folder and event_text.is_event_text(path):
            event_text.parse(path, folder)
    sizes, n_particles = stored_events.extents(paths, config)
    of_signals = {name: stored_events.extents(files, config) for name, files in by_file.items()}
    n_particles = max([n_particles, *(slots for _, slots in of_signals.values())])
    labels = all_labels(paths, sizes, config)
    split = parts_in(paths, sizes, config, partial(_column, config=config), config.id_key)
    index, told = parts_of(paths, sum(sizes), labels, by_label, config, split)
    read = _together(index, sum(sizes), folder)
    rows = stored_events.read(paths, read, config, n_particles)
    rows["label"] = on_disk.zeros((len(read),), np.float32, folder)
    if labels is not None:
        as_float = partial(np.asarray, dtype=np.float32)
        rows["label"] = on_disk.mapped(as_float, on_disk.take(labels, read))
    signals = {name: _among(read, place, rows) for name, place in index.items()}
    del rows
    background = signals.pop("background")
    for number, (name, files) in enumerate(by_file.items(), 1 + len(by_label)):
        every = on_disk.numbered(sum(of_signals[name][0]), folder)
        passing, flow = cut(files, config, {name: every})
        told["cut_flow"] = told.get("cut_flow", {}) | flow
        chosen = limited(passing[name], config, number)
        signals[name] = stored_events.read(files, chosen, config, n_particles)
        ones = partial(np.ones_like, dtype=np.float32)
        signals[name]["label"] = on_disk.mapped(ones, chosen)
    jets = config.format in PARTICLES
    fields = {name: JET_LABELS.get(name, (name, "")) for name in observable_keys(config)}
    own = [str(file_of(str(path))[0]) for path in itertools.chain(*by_file.values())]
    return (
        background,
        signals,
        {
            "layout": stored_events.layout_of(background["x"].shape[1:], config),
            "labels": (JET_LABELS if jets else {}) | fields,
            "baselines": tuple(dict.fromkeys((*(JET_BASELINES if jets else ()), *fields))),
            "info": {
                "files": [*(str(file_of(str(path))[0]) for path in paths), *own],
                "tested_files": own,
                **told,
            },
        }
        | ({} if split is None else {"part": on_disk.take(split.part, index["background"])}),
    )


def _together(index: dict[str, np.ndarray], n: int, folder: Path | None) -> np.ndarray:
    """Those of n events that are of any class, sorted."""
    wanted = on_disk.zeros((n,), bool, folder)
    for place in index.values():
        for (rows,) in on_disk.blocks(place):
            wanted[rows] = True
            on_disk.release(wanted)
    return on_disk.rows_where(np.asarray, wanted)


def _among(read: np.ndarray, place: np.ndarray, rows: Rows) -> Rows:
    """The rows of the sorted events `place` among those that were `read`."""
    if len(place) == len(read):
        return dict(rows)

    def positions(block: np.ndarray) -> np.ndarray:
        found = np.searchsorted(read, block).astype(block.dtype)
        on_disk.release(read)
        return found

    return take(rows, on_disk.mapped(positions, place))


def _column(path: Path, key: str, config: ConfigDict) -> np.ndarray:
    """All values of a column that says which part an event is of."""
    if (texts := texts_of(path, key)) is not None:
        return texts
    places = open_places(path, key, "data.split_key", objects_of(config))
    with places as stored, checks.reading(path, key):
        return on_disk.joined((block for _, block in in_blocks(stored)), cache.disk(config))


search_table = named_table.search_table


def everything(config: ConfigDict) -> Everything:
    """All events of arrays for a search, whatever their label; see `named_table.search_table`.

    Raises:
        UserError: as `load`.
    """
    require_settings(config)
    named_table.require_all(config)
    paths = [*map(Path, files_of(config.source))]
    by_label, by_file = signals_of(config, paths)
    files = [*paths, *(Path(file) for group in by_file.values() for file in group)]
    sizes, n_particles = stored_events.extents(files, config)
    n_source, n_events = sum(sizes[: len(paths)]), sum(sizes)
    rows = stored_events.read(
        files,
        on_disk.numbered(n_events, cache.disk(config)),
        config,
        n_particles,
    )
    layout = stored_events.layout_of(rows["x"].shape[1:], config)
    origin = Origin(tuple(map(str, files)), tuple(int(n) for n in np.cumsum([0, *sizes[:-1]])))
    labels = all_labels(paths, sizes[: len(paths)], config)
    chosen = passed(files, config)
    kept, truth, left_out = named_table.data_among(
        labels, n_source, n_events, by_label, config, chosen
    )
    info = {"name": "events", "source": str(config.source), "left_out": left_out}
    if chosen is not None:
        info["cut_flow"] = {"all files": chosen.flow(None, rows.get("weight"))}
    return Everything(
        rows if kept is None else take(rows, kept),
        layout,
        truth,
        origin._replace(rows=kept),
        info,
    )


def rows_of(path: Path, config: ConfigDict, stack: ExitStack) -> Events:
    """The raw events of a file, open while `stack` is."""
    if config.features:
        rows, *_ = named.rows([str(path)], config, labelled=False)
        return rows["x"]
    return stack.enter_context(stored_events.opened(path, config))
