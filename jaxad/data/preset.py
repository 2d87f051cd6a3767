"""Presets: what the files of a data set hold, as settings of the reader `events` in a TOML file.

    title = "what it is"
    [settings]                      of data.name=events, as flags give them
    format = "ptetaphi"
    x_key = "pt,eta,phi"
    [files]                         in a folder that is data.source
    background = "qcd_*.h5"         a name or glob
    signals = { top = "top_*.h5" }

Beside these it may say `container`, `record`, `doi`, `reference`, `size`, `notes`, and tables
`columns` and `md5`, which `jaxad data describe` shows; files of `md5` that lie in a Zenodo `record`
are fetched by `jaxad data fetch`.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxad.data.dataset import as_mapping
from jaxad.data.event_settings import DEFAULTS
from jaxad.errors import UserError
from jaxad.storage.paths import expanded

FOLDER = Path(__file__).parent / "presets"
NOT_LAYOUT = {
    *("preset", "n_events", "val_fraction", "test_fraction", "supervised", "supervised_fraction"),
    *("window", "inject", "on_disk", "label_file", "negative_weights"),
}
"""Settings of how many events are used, and how: a preset says nothing of these."""
SETTINGS = {key: value for key, value in DEFAULTS.items() if key not in NOT_LAYOUT}
"""Settings that a preset fills, all of them, with their default where it names none."""


@dataclass(frozen=True)
class Preset:
    """A preset as its file has it; see the module's docstring.

    Attributes:
        path: of the file.
        settings: of data.name=events.
        files: {"background": glob, "signals": {name: glob}}; perhaps empty.
        columns: array -> what stands in it, with units.
        md5: published file -> checksum.
    """

    path: Path
    title: str
    settings: Mapping[str, Any]
    files: Mapping[str, Any] = field(default_factory=dict)
    container: str = ""
    record: str = ""
    doi: str = ""
    reference: str = ""
    size: str = ""
    notes: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    md5: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.stem


KINDS = {
    **{str: "text in quotes", bool: "true or false", dict: "a table"},
    **{int: "a whole number", float: "a number"},
}
TEXTS = ("title", "container", "record", "doi", "reference", "size", "notes")
TABLES = ("settings", "files", "columns", "md5")


def names() -> list[str]:
    """The presets that jaxad ships, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str) -> Preset:
    """The preset of a name, or of the path of a file.

    Raises:
        UserError: no such preset or file, no TOML, an unknown field, or a value of another type.
    """
    path = _path(name)
    try:
        content = tomllib.loads(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{path}: expected a preset, a TOML file, found: {reason}") from None
    for key, value in content.items():
        _require_known(path, "", key, (*TEXTS, *TABLES))
        _require_type(path, key, value, str if key in TEXTS else dict)
    for key in ("title", "settings"):
        if not content.get(key):
            raise UserError(f"{path}: {key}: expected in every preset, found none: add it")
    for key, value in content["settings"].items():
        if key in NOT_LAYOUT or key in ("name", "source", "seed", "cache"):
            raise UserError(
                f"{path}: settings.{key}: a preset says what the files hold, not this: leave it "
                f"out, and give --config.data.{key}"
            )
        _require_known(path, "settings.", key, SETTINGS)
        number = type(SETTINGS[key]) is float and type(value) is int
        _require_type(path, f"settings.{key}", value, int if number else type(SETTINGS[key]))
    for key, value in content.get("files", {}).items():
        _require_known(path, "files.", key, ("background", "signals"))
        _require_type(path, f"files.{key}", value, str if key == "background" else dict)
    texts = {
        **{f"files.signals.{k}": v for k, v in content.get("files", {}).get("signals", {}).items()},
        **{f"{t}.{k}": v for t in ("columns", "md5") for k, v in content.get(t, {}).items()},
    }
    for key, value in texts.items():
        _require_type(path, key, value, str)
    return Preset(path, **content)


def _path(name: str) -> Path:
    path = FOLDER / f"{name}.toml"
    if "/" not in name and path.is_file():
        return path
    if name.endswith(".toml") or expanded(name).is_file():
        if not expanded(name).is_file():
            raise UserError(f"{name}: no such file; give data.preset a name or the path of a file")
        return expanded(name)
    raise UserError(
        f"data.preset: expected one of {', '.join(names())}, or FILE.toml, found {name!r}"
        f"{_meant(name, names())}"
    )


def _meant(found: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(found, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _require_known(path: Path, section: str, key: str, known: Iterable[str]) -> None:
    if key not in known:
        raise UserError(
            f"{path}: {section}{key}: no field of a preset: expected one of {', '.join(known)}"
            f"{_meant(key, known)}"
        )


def _require_type(path: Path, key: str, value: Any, expected: type) -> None:
    if type(value) is not expected:
        kind = KINDS[expected]
        raise UserError(f"{path}: {key}: expected {kind}, found {value!r}: write {key} = ...")


def filled(name: str, source: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings that describe files, and the source, of a preset; those `given` win.

    Args:
        name: of the preset, or its file.
        source: `data.source`; of a folder the preset says which files of it are read.

    Raises:
        UserError: as `read`; another reader given.
    """
    preset = read(name)
    if given.get("name", "events") != "events":
        raise UserError(
            f"data.preset: {preset.name} fills settings of data.name=events, found "
            f"data.name={given['name']}: leave one of them out"
        )
    settings = {**SETTINGS, **preset.settings, "source": source, "name": "events", "preset": ""}
    folder = expanded(source)
    if preset.files and folder.is_dir():
        settings["source"] = str(folder / preset.files.get("background", "*"))
        own = as_mapping(preset.settings.get("signals", ""), f"{preset.path}: settings.signals")
        files = {k: str(folder / v) for k, v in preset.files.get("signals", {}).items()}
        settings["signals"] = ",".join(f"{key}={value}" for key, value in (own | files).items())
    return {**settings, **{key: value for key, value in given.items() if key != "source"}}


def described(name: str) -> str:
    """What a preset says, for the terminal.

    Raises:
        UserError: as `read`.
    """
    preset = read(name)
    lines = [f"{preset.name}: {preset.title}"]
    for key in ("container", "size", "record", "doi", "reference"):
        lines += [f"{key:<12}{value}"] if (value := getattr(preset, key)) else []
    for key, value in preset.columns.items():
        lines.append(f"  {key:<28}{value}")
    lines += [f"  --config.data.{key}={value}" for key, value in preset.settings.items()]
    if preset.files:
        lines.append(f"of a folder  background {preset.files.get('background', '*')}")
        lines += [f"             {k} {v}" for k, v in preset.files.get("signals", {}).items()]
    lines += [f"md5 {value}  {key}" for key, value in preset.md5.items()]
    lines += [" ".join(preset.notes.split())] if preset.notes else []
    return "\n".join(lines)
