"""Readers of public formats, all returning the same `Dataset`.

A reader is a module of this package with `DEFAULTS` (its settings and their values) and
`load(config) -> Dataset`; `jaxad.data.load` imports the one that `config.name` asks for.
"""

import dataclasses
import importlib
import importlib.util

from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, Rows, check, content_digest, counts, summary
from jaxad.data.settings import COMMON, complete
from jaxad.errors import UserError

READERS = ("toptagging", "adc2021", "lhco", "jets", "codae", "arrays")

__all__ = ["READERS", "Dataset", "Rows", "check", "get_config", "load", "summary"]


def _reader(name: str):
    if name not in READERS:
        raise UserError(f"data.name: expected one of {', '.join(READERS)}, found {name!r}")
    return importlib.import_module(f"jaxad.data.{name}")


def get_config(name: str, **changes) -> ConfigDict:
    """The `data` section of a config: the reader's settings, changed as asked.

    It also holds the settings of "arrays", so that any config can be pointed at the user's own
    files from the command line: `--config.data.name=arrays --config.data.source=mine.h5 ...`.
    """
    settings = complete({"name": name, **changes}, _reader(name).DEFAULTS)
    return ConfigDict({**_reader("arrays").DEFAULTS, **settings})


def load(config: ConfigDict) -> Dataset:
    """Reads, simulates or downloads the data set that the `data` section describes, and checks it.

    Settings of "arrays" may stand in any config, and those of the other readers in one that was
    pointed at "arrays"; settings that no reader has are refused.

    Raises:
      UserError: unknown name or setting, files that are missing or damaged.
    """
    reader, arrays = _reader(config.get("name", "")), _reader("arrays")
    if reader is arrays:
        settings = complete(_without_other_readers(config), arrays.DEFAULTS)
    else:
        settings = complete(config, reader.DEFAULTS, ignore=arrays.DEFAULTS)
    try:
        dataset = check(reader.load(settings))
    except MemoryError as error:
        mend = "set data.on_disk, " if "on_disk" in settings else ""
        raise UserError(
            f"{settings.source}: does not fit into memory ({error}); "
            f"{mend}take fewer events, or the file is damaged"
        ) from None
    content = {"counts": counts(dataset), "digest": content_digest(dataset)}
    return dataclasses.replace(dataset, info=dataset.info | content)


def _without_other_readers(config: ConfigDict) -> dict:
    """The settings less those that only other readers than "arrays" have."""
    own = {*COMMON, *_reader("arrays").DEFAULTS}
    if set(config) <= own:
        return dict(config)
    written = [name for name in READERS if importlib.util.find_spec(f"jaxad.data.{name}")]
    others = {key for name in written for key in _reader(name).DEFAULTS} - own
    return {key: value for key, value in config.items() if key not in others}
