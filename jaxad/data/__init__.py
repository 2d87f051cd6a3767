"""Readers of public formats, all returning the same `Dataset`.

A reader is a module of this package with `DEFAULTS` (its settings and their values),
`idle(config)` (those that change nothing, and why), `load(config) -> Dataset` and
`rows_of(path, config, stack) -> Events | None`, the raw events of one file, and perhaps
`search_table(config) -> Table`, all data of a search; `jaxad.data.load` imports the one that
`config.name` asks for.
"""

import contextlib
import dataclasses
import importlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from jaxad.data.all_tested import all_tested
from jaxad.data.dataset import Dataset, Rows, check, concatenate, content_digest, counts, summary
from jaxad.data.folds import folds
from jaxad.data.rows import Events, file_of, open_array, open_tree
from jaxad.data.settings import COMMON, complete
from jaxad.data.table import Everything, Origin, Table, table_summary
from jaxad.errors import UserError

if TYPE_CHECKING:
    from jaxad.data.named_table import from_mapping

READERS = ("toptagging", "adc2021", "cmsl1t", "regions", "lhco", "jets", "codae", "events")
POINTED = ("cmsl1t", "events")
"""Readers of files alone, which the config of any other data can be pointed at."""

MENDS = {
    ("events", "n_signal"): "set data.inject",
    ("events", "window_low"): "set data.window=LOW-HIGH",
    ("events", "window_high"): "set data.window=LOW-HIGH",
    ("events", "n_jets"): "set data.n_events",
}

__all__ = [
    "READERS",
    "Dataset",
    "Events",
    "Everything",
    "Rows",
    "Table",
    "apply_preset",
    "check",
    "check_settings",
    "everything",
    "folds",
    "from_mapping",
    "get_config",
    "has_setting",
    "has_table",
    "idle",
    "load",
    "load_all",
    "open_events",
    "require_setting",
    "search_table",
    "summary",
    "table_summary",
    "with_key",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import on first use what reads files: `jaxad.load` waits for none of it."""
    if name == "from_mapping":
        return importlib.import_module("jaxad.data.named_table").from_mapping
    raise AttributeError(f"module 'jaxad.data' has no attribute {name!r}")


def _reader(name: str):
    if name == "arrays":
        raise UserError("data.name: arrays is called events now: set data.name=events")
    if name not in READERS:
        raise UserError(f"data.name: expected one of {', '.join(READERS)}, found {name!r}")
    return importlib.import_module(f"jaxad.data.{name}")


def get_config(name: str, **changes) -> ConfigDict:
    """The `data` section of a config: the reader's settings, changed as asked.

    It also holds the settings of "events", so that any config can be pointed at the user's own
    files from the command line: `--config.data.name=events --config.data.source=mine.h5 ...`.
    With `preset` all that describes the files is filled in, and `changes` win over it.

    Raises:
        UserError: a setting that the reader does not have; a preset that cannot be.

    Examples:
        >>> config = get_config("toptagging", n_jets=1000)
        >>> config.n_jets, config.source
        (1000, 'simulation')
        >>> get_config("toptagging", n_jet=1000)
        Traceback (most recent call last):
        jaxad.errors.UserError: data.n_jet: not a setting of data.name='toptagging', ...
    """
    if changes.get("preset"):
        from jaxad.data import preset

        given = {"name": name, **changes, "preset": ""}
        changes = preset.filled(changes["preset"], str(changes.get("source", "")), given)
    settings = complete({"name": name, **changes}, _reader(name).DEFAULTS)
    return ConfigDict({**_reader("events").DEFAULTS, **settings})


def apply_preset(config: ConfigDict, asked: Collection[str]) -> None:
    """Fills in what the preset of a `data` section says, in place; `config.preset` is "" then.

    Args:
        asked: settings that were given beside it, which win.

    Raises:
        UserError: as `get_config`.
    """
    from jaxad.data import preset

    given = {key: config[key] for key in asked if key != "preset"}
    settings = preset.filled(config.preset, config.source, given)
    with config.unlocked(), config.ignore_type():
        config.update(settings)


def load(config: ConfigDict) -> Dataset:
    """Reads, simulates or downloads the data set that the `data` section describes, and checks it.

    Settings of other readers may stand in any config while they have their defaults, and with any
    value in one that was pointed at a reader of `POINTED`; settings that no reader has are refused.

    Raises:
      UserError: unknown name or setting, files that are missing or damaged.
    """
    settings = _settings(config)
    if settings.name != "events":
        return _loaded(_reader(config.get("name", "")).load, settings)
    from jaxad.data import events, master_key

    master_key.require_closed(settings)
    dataset = _loaded(events.load, settings)
    events.check_parts(dataset, settings)
    return dataset


def search_table(config: ConfigDict) -> Table:
    """All data of a search, of a reader that has features without inputs.

    Named columns of "events", and LHC Olympics; for other events the inputs make the features:
    `jaxad.search.table.search_table` serves all.

    Raises:
      UserError: as `load`; a reader that has no such table; whatever a search cannot do with.
    """
    reader, settings = _reader(config.get("name", "")), _settings(config)
    if not has_table(config):
        raise UserError(
            f"data.name={config.name}: holds no table of features: of events set data.features"
        )
    return reader.search_table(settings)


def has_table(config: ConfigDict) -> bool:
    """Whether the section's reader has the features of a search itself, without inputs."""
    if not hasattr(_reader(config.get("name", "")), "search_table"):
        return False
    return config.name != "events" or bool(config.get("features") and config.get("mass"))


def everything(config: ConfigDict) -> Everything:
    """All raw events of a search, of a reader without a table: inputs make their features.

    Of "events" all that there are, labelled or not, with `inject` events of the signals if any are
    named; of the public sets the background.

    Raises:
      UserError: as `load`.
    """
    reader, settings = _reader(config.name), _settings(config)
    if hasattr(reader, "everything"):
        return reader.everything(settings)
    dataset = load(config)
    rows = concatenate([dataset.train, dataset.val, dataset.test])
    info = {key: dataset.info[key] for key in ("name", "source")}
    origin = Origin((str(config.source),))
    return Everything(rows, dataset.layout, None, origin, info)


def load_all(config: ConfigDict, trained_on: str = "") -> Dataset:
    """As `load`, but every event is a test event, and no limit on their number holds.

    Args:
        trained_on: the digest of what a run was trained on; where the section describes these
            events, they are split as they were then.

    Raises:
        UserError: as `load`.
    """
    reader, settings = _reader(config.name), _settings(config)
    settings.update(getattr(reader, "WHOLE", {}))
    reading = getattr(reader, "load_all", reader.load)
    if trained_on:
        # Files that cannot be split as those of the training were are others.
        with contextlib.suppress(UserError):
            dataset = load(config)
            if dataset.info["digest"] == trained_on:
                return dataset
    dataset = all_tested(_loaded(reading, settings))
    return dataclasses.replace(dataset, info=dataset.info | {"counts": counts(dataset)})


def with_key(config: ConfigDict, dataset: Dataset, key: str, is_whole: bool) -> Dataset:
    """The data set with its test events told apart by a master key, see `jaxad.data.master_key`.

    Args:
        is_whole: whether it came from `load_all`, as other events than those of the training.

    Raises:
        UserError: as `master_key.opened`.
    """
    from jaxad.data import master_key

    reader, settings = _reader(config.name), _settings(config)
    if is_whole:
        settings.update(getattr(reader, "WHOLE", {}))

    def loads(labelled: ConfigDict) -> Dataset:
        again = _loaded(reader.load, labelled)
        return all_tested(again) if is_whole else again

    return master_key.opened(dataset, key, settings, loads)


def _loaded(reading: Callable[[ConfigDict], Dataset], settings: ConfigDict) -> Dataset:
    try:
        dataset = check(reading(settings))
    except MemoryError as error:
        mend = "set data.on_disk, " if "on_disk" in settings else ""
        raise UserError(
            f"{settings.source}: does not fit into memory ({error}); "
            f"{mend}take fewer events, or the file is damaged"
        ) from None
    content = {"counts": counts(dataset), "digest": content_digest(dataset)}
    return dataclasses.replace(dataset, info=dataset.info | content)


def _settings(config: ConfigDict) -> ConfigDict:
    """All settings of the section's own reader."""
    if config.get("preset"):
        raise UserError(
            f"data.preset: {config.preset} is not filled in: give it by a flag, to "
            "jaxad.data.get_config, or call jaxad.data.apply_preset"
        )
    reader, written = _reader(config.get("name", "")), [_reader(name).DEFAULTS for name in READERS]
    if config.get("name") in POINTED:
        own = {*COMMON, *reader.DEFAULTS}
        foreign = {key for defaults in written for key in defaults} - own
        config = {key: value for key, value in config.items() if key not in foreign}
    return complete(config, reader.DEFAULTS, written)


def check_settings(config: ConfigDict) -> None:
    """Refuses settings that no reader has, and values that cannot be; reads no file."""
    _settings(config)


def idle(config: ConfigDict) -> dict[str, str]:
    """Settings of the section's reader that change nothing with the others as they are: why."""
    reader = _reader(config.get("name", ""))
    return reader.idle(_settings(config))


def has_setting(config: ConfigDict, key: str) -> bool:
    """Whether the section's own reader has a setting."""
    return key in {**COMMON, **_reader(config.get("name", "")).DEFAULTS}


def require_setting(config: ConfigDict, key: str) -> None:
    """Refuses a setting that the section's own reader does not have, or that changes nothing.

    `load` takes it for another reader's and drops it; who asked for it has to know.
    """
    if not has_setting(config, key):
        own = {**COMMON, **_reader(config.get("name", "")).DEFAULTS}
        mend = MENDS.get((config.name, key), f"it has {', '.join(sorted(own))}")
        raise UserError(f"data.{key}: not a setting of data.name={config.name!r}: {mend}")
    if why := idle(config).get(key):
        raise UserError(f"data.{key}: would change nothing: {why}")


@contextmanager
def open_events(
    config: ConfigDict, file: str, key: str = "", branches: Mapping[str, str] | None = None
) -> Iterator[Events]:
    """Raw events of a file, read as the `data` section says, checked and slice by slice.

    Args:
        file: of the reader's own layout; an HDF5, npz or npy file with an array of raw events; or
            "FILE.root[:TREE]".
        key: of that array; "": the reader's own layout, else the array it names, else "x".
        branches: of ROOT files, column -> branch, in the order of the columns; named columns are
            found without.

    Raises:
        UserError: no such file or array, a damaged file, or events that cannot be.
    """
    path, tree = file_of(file)
    named = config.name == "events" and not (key or branches)
    named = named and (config.get("features") or set(",*?[|") & set(config.get("x_key", "")))
    if tree is not None and not named:
        with open_tree(file, branches or {}) as events:
            yield events
        return
    if not path.is_file():
        raise UserError(f"{file}: no such file")
    reader = _reader(config.name)
    with ExitStack() as stack:
        here = Path(file) if named else path
        events = None if key else reader.rows_of(here, _settings(config), stack)
        if events is None:
            name = key or getattr(reader, "KEY", "x")
            events = stack.enter_context(open_array(path, name))
        yield events
