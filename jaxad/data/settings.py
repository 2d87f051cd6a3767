"""The `data` section of a config: defaults filled in, misspelt or misplaced settings refused."""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxad.errors import UserError

COMMON = {"name": "", "source": "simulation", "seed": 0, "cache": ""}
"""Settings of every reader: see docs/data.md."""


class Range(NamedTuple):
    """What a number may be, and how it is called; an open range leaves its ends out."""

    text: str
    low: float
    high: float = math.inf
    is_open: bool = False
    whole: bool = False

    def holds(self, value: object) -> bool:
        """Whether it does: never NaN, infinity, a truth value or what is no number."""
        kinds = int if self.whole else int | float
        if not isinstance(value, kinds) or isinstance(value, bool) or not math.isfinite(value):
            return False
        if self.is_open:
            return self.low < value < self.high
        return self.low <= value <= self.high


COUNT = Range("0 or more", 0, whole=True)
POSITIVE_COUNT = Range("1 or more", 1, whole=True)
POSITIVE = Range("a number above 0", 0, is_open=True)
NOT_NEGATIVE = Range("0 or more", 0)
FRACTION = Range("a number between 0 and 1", 0, 1, is_open=True)
SEED = Range("0 to 2147483647", 0, 2**31 - 1, whole=True)

RANGES = {
    "seed": SEED,
    "simulation_seed": SEED,
    **dict.fromkeys(("n_events", "n_jets"), Range("0 (all) or more", 0, whole=True)),
    **dict.fromkeys(("n_signal", "inject"), COUNT),
    "workers": Range("0 (all cores) or more", 0, whole=True),
    "n_simulated": POSITIVE_COUNT,
    "n_simulated_signal": POSITIVE_COUNT,
    **dict.fromkeys(("train_fraction", "val_fraction"), FRACTION),
    **dict.fromkeys(("test_fraction", "supervised_fraction"), FRACTION),
    "signal_over_background": NOT_NEGATIVE,
    **dict.fromkeys(("window_low", "window_high"), Range("a mass in TeV, 0 or more", 0)),
    "pt_min": NOT_NEGATIVE,
    "pt_max": POSITIVE,
    "shift": Range("a number", -math.inf),
    "n_particles": COUNT,
    "max_cut": Range("a number from 0 to 1", 0, 1),
}


def require_ranges(settings: Mapping, section: str, ranges: Mapping[str, Range]) -> None:
    """Refuses numbers, and empty tuples or tuples with numbers, not in the range of their name.

    Args:
        section: what the names are preceded by in messages, such as "data.".
    """
    for key, value in settings.items():
        allowed = ranges.get(key)
        numbers = value if isinstance(value, tuple | list) else (value,)
        if allowed and not (numbers and all(map(allowed.holds, numbers))):
            raise UserError(f"{section}{key}: expected {allowed.text}, found {value!r}")


def complete(config: Mapping, defaults: Mapping, others: Sequence[Mapping] = ()) -> ConfigDict:
    """The reader's full settings: `config` over `defaults` over `COMMON`.

    Settings of `others`, the defaults of other readers, are dropped while they have a default.

    Raises:
      UserError: a setting the reader does not have, a value of another type or out of its range.
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
    require_ranges(settings, "data.", RANGES)
    return settings


def _typed(value, default, key: str):
    expected = type(default)
    if expected is float and type(value) is int:
        return float(value)
    if expected in (bool, int, float) and type(value) is not expected:
        raise UserError(f"data.{key}: expected {expected.__name__}, found {value!r}")
    return value
