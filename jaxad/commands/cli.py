"""How commands begin and end: one line for a user's mistake, a trace for a bug."""

import argparse
import codecs
import errno
import functools
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from operator import getitem
from pathlib import Path
from typing import Any, NoReturn

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from jaxad import data
from jaxad.data import simulated
from jaxad.devices import compiler, precision
from jaxad.errors import Preempted, UserError
from jaxad.methods import settings
from jaxad.storage.atomic import OutputError
from jaxad.storage.paths import expanded

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
FORBIDDEN = {errno.EACCES, errno.EPERM}
"""What a disk answers to who writes, whatever is written."""

PLAIN = {"±": "+-", "µ": "u", "−": "-", "–": "-"}
"""What is said instead where a terminal has no such letters."""

SHIPPED = Path(__file__).parents[1] / "configs"


def _line(error: Exception) -> str:
    """The line that names a user's mistake or what a disk refused; raises what is a bug."""
    if isinstance(error, UserError):
        return str(error)
    if not isinstance(error, OSError):
        raise error
    file = error.filename or "output"
    if error.errno in FULL or (error.errno in FORBIDDEN and error.filename):
        return (
            f"{file}: {error.strerror}: free space or mend the permissions and run the same "
            "command again; what was saved before is kept"
        )
    if isinstance(error, OutputError):
        return (
            f"{file}: {error.strerror}: choose another path, or mend this one; what was saved "
            "before is kept"
        )
    raise error  # a file of ours that is missing, say


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    """Handler of what a terminal cannot show: other letters, or their numbers."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    said = (PLAIN.get(letter, ascii(letter)[1:-1]) for letter in text)
    return "".join(said), error.end


def _show_all_letters() -> None:
    """Let standard output and error say what their encoding lacks (C locale, PYTHONIOENCODING)."""
    codecs.register_error("jaxad.plain", _in_plain_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="jaxad.plain")


def _say(message: object) -> None:
    print("error: " + " ".join(str(message).split()), file=sys.stderr, flush=True)


def _fail(message: object) -> NoReturn:
    _say(message)
    sys.exit(2)


def _joined(argv: Sequence[str]) -> list[str]:
    """The arguments, where "--config" and what follows it are one."""
    arguments = list(argv)
    if "--config" in arguments[:-1]:
        place = arguments.index("--config")
        arguments[place : place + 2] = [f"--config={arguments[place + 1]}"]
    return arguments


def _shipped(argument: str) -> str:
    """--config=NAME[:VARIANT] with the path of the config of that name which jaxad ships."""
    if not argument.startswith("--config="):
        return argument
    config, colon, variant = argument.removeprefix("--config=").partition(":")
    config = str(expanded(config))
    path = SHIPPED / f"{config.removesuffix('.py')}.py"
    if Path(config).is_file() or "/" in config:
        return f"--config={config}{colon}{variant}"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.py") if p.stem != "__init__"))
        _fail(f"{config}: no such config file, and none of jaxad's: {known}")
    return f"--config={path}{colon}{variant}"


def parsed(
    define: Callable[[flags.FlagValues, list[str]], None], argv: Sequence[str], usage: str
) -> flags.FlagValues:
    """The flags of a command with a config; --help prints `usage` and the flags, and exits with 0.

    Args:
        define: puts the flags into the values, for these arguments.
    """
    values, arguments = flags.FlagValues(), [_shipped(argument) for argument in _joined(argv)]
    define(values, arguments)
    if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in arguments[1:]):
        shown = [f"  --{name}: {values[name].help}" for name in values]
        print(f"{usage.strip()}\n\nFlags:\n" + "\n".join(shown))
        sys.exit(0)
    for argument in arguments:
        config, _, variant = argument.removeprefix("--config=").partition(":")
        if not argument.startswith("--config="):
            continue
        if not Path(config).is_file():
            _fail(f"{config}: no such config file; configs/ holds those of jaxad")
        shipped = Path(config).resolve().parent == SHIPPED.resolve()
        if shipped and variant not in ("", "smoke"):
            _fail(f"{config}:{variant}: no such variant; there is {config}:smoke")
    try:
        left = values(arguments)
        if len(left) > 1:
            raise UserError(f"{left[1]}: not a flag")
    except (flags.Error, UserError) as error:
        _fail(f"{_missing(str(error), arguments[1:]) or error}; --help shows how")
    except (AttributeError, KeyError, TypeError) as error:
        overrides = [a for a in arguments if a.startswith("--config.")]
        if not overrides:
            raise
        reason: object = error
        while isinstance(reason, Exception):
            reason = reason.args[0]
        _fail(f"no such setting, or of another type ({reason}): {' '.join(overrides)}")
    try:
        _settle_overrides(values)
    except UserError as error:
        _fail(error)
    return values


def _missing(error: str, arguments: Sequence[str]) -> str:
    """The flags that absl says are None, and what stood without one; "" for other errors."""
    names = [f"--{name}=..." for name in re.findall(r"flag --(\w+)=None", error)]
    bare = [f", found {a} without a flag" for a in arguments if not a.startswith("-")]
    return f"expected {' and '.join(names)}{''.join(bare[:1])}" if names else ""


def _settle_overrides(values: flags.FlagValues) -> None:
    """Fills in presets, reads lists, and tells of settings that were asked for and change nothing.

    Raises:
        UserError: such a setting of `data`, or a list of something else.
    """
    if "config" not in values or values.config is None or "data" not in values.config:
        return
    config, asked = values.config, config_flags.get_override_values(values["config"])
    if config.data.get("preset"):
        of_data = [name.removeprefix("data.") for name in asked if name.startswith("data.")]
        data.apply_preset(config.data, of_data)
    for name, value in asked.items():
        if isinstance(value, tuple):
            *sections, key = name.split(".")
            section = functools.reduce(getitem, sections, config)
            section[key] = _listed(value, name)
        if name.startswith("data."):
            data.require_setting(config.data, name.removeprefix("data."))
    if "method" not in config:
        return
    idle = settings.idle(config)
    for name in asked:
        if name in idle:
            print(f"note: --config.{name} changes nothing: {idle[name]}", file=sys.stderr)
    if "data.source" in asked:
        _drop_idle(config.data, asked)


def _drop_idle(section: ConfigDict, asked: Mapping[str, Any]) -> None:
    """Gives settings that the config made for another source their default back, and says so.

    Those of a simulation stay: nobody takes them for settings of a file.
    """
    for key in data.idle(section).keys() - set(simulated.NAMES):
        default = data.get_config(section.name)[key]
        if section[key] != default and f"data.{key}" not in asked:
            print(
                f"note: data.{key}={section[key]} of the config is not for this data.source: "
                f"{default} again",
                file=sys.stderr,
            )
            section[key] = default


def _listed(value: tuple, name: str) -> tuple:
    """The items of a list as the command line gave it, "a,b", "(a, b)", "['a', 'b']" or alone.

    Raises:
        UserError: words where numbers belong.
    """
    items = []
    for item in value:
        if isinstance(item, str):
            items += [part.strip(" '\"") for part in item.strip("()[] ").split(",")]
        else:
            items.append(item)
    items = [item for item in items if item != ""]
    if name not in ("baselines", "trigger.observables") and (
        words := [item for item in items if isinstance(item, str)]
    ):
        raise UserError(f"{name}: expected numbers like 64,64, found {words[0]!r}")
    return tuple(items)


def define_config(values: flags.FlagValues, argv: list[str], required: bool) -> None:
    """The flag --config, and those that override its settings."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "The experiment: a file, or the name of one of jaxad's; NAME:smoke takes seconds.",
        flag_values=values,
        sys_argv=argv,
    )
    if required:
        flags.mark_flag_as_required("config", flag_values=values)


class _PathParser(flags.ArgumentParser):
    def parse(self, argument: str) -> Path:
        return expanded(argument)

    def flag_type(self) -> str:
        return "path"


def define_workdir(values: flags.FlagValues, meaning: str) -> None:
    """The flag --workdir, a Path, which is required."""
    flags.DEFINE(_PathParser(), "workdir", None, meaning, flag_values=values)
    flags.mark_flag_as_required("workdir", flag_values=values)


def exit_code(command: Callable[[], int | None], at_once: bool = False) -> int:
    """What `command` returns, 0 for None; 2 for a user's mistake, which one line names.

    130 after Ctrl-C, 143 for a run that was stopped by a signal. With `at_once` a mistake ends the
    process: threads of a checkpoint that could not be written would complain at a normal exit.
    """
    _show_all_letters()
    logging.set_verbosity(logging.FATAL)  # Orbax logs what is raised anyway
    compiler.settle()
    precision.settle()
    try:
        return command() or 0
    except (UserError, OSError) as error:
        _say(_line(error))
        if at_once:
            sys.stdout.flush()
            os._exit(2)
        return 2
    except Preempted:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is saved", file=sys.stderr)
        return 130


def parser(usage: str, verb: str) -> argparse.ArgumentParser:
    """A parser whose --help shows the command's own text, example included."""
    return argparse.ArgumentParser(
        prog=f"jaxad {verb}",
        description=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The flag --workers, an int or the str of an address, of work that is cut into tasks."""
    parser.add_argument(
        "--workers",
        type=_workers,
        help="processes (default: all cores), or the address of a dask scheduler, "
        "tcp://HOST:PORT; the output does not depend on it",
    )


def _workers(text: str) -> int | str:
    if ":" in text:
        return text
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number or tcp://HOST:PORT, found {text!r}")
    return int(text)
