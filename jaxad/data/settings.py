"""The `data` section of a config: defaults filled in, misspelt or misplaced settings refused."""

import difflib
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from jaxad.errors import UserError

COMMON = {"name": "", "source": "simulation", "seed": 0, "cache": ""}
"""Settings of every reader: see docs/data.md."""


def complete(config: Mapping, defaults: Mapping, others: Sequence[Mapping] = ()) -> ConfigDict:
    """The reader's full settings: `config` over `defaults` over `COMMON`.

    Settings of `others`, the defaults of other readers, are dropped while they have a default.

    Raises:
      UserError: a setting the reader does not have, or a value of another type.
    """
    known = {**COMMON, **defaults}
    name = config.get("name", "")
    settings = ConfigDict(known, type_safe=False)
    for key, value in config.items():
        if key in known:
            settings[key] = _typed(value, known[key], key)
        elif not any(key in other and value == other[key] for other in others):
            close = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UserError(
                f"data.{key}: not a setting of data.name={name!r}, which has "
                f"{', '.join(sorted(known))}{hint}"
            )
    return settings


def _typed(value, default, key: str):
    expected = type(default)
    if expected is float and type(value) is int:
        return float(value)
    if expected in (bool, int, float) and type(value) is not expected:
        raise UserError(f"data.{key}: expected {expected.__name__}, found {value!r}")
    return value
