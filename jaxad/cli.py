"""How the command-line programs begin and end: one line for a user's mistake, a trace for a bug."""

import argparse
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from jaxad.errors import Preempted, UserError

DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
}
"""What a disk, or something else in the place of a file or folder, answers to who writes."""


def _line(error: Exception) -> str:
    """The line that names a user's mistake or what a disk refused; raises what is a bug."""
    if isinstance(error, UserError):
        return str(error)
    if not isinstance(error, OSError) or error.errno not in DISK_ERRORS:
        raise error
    return (
        f"{error.filename or 'output'}: {error.strerror}: free space or mend the permissions and "
        "run the same command again; what was saved before is kept"
    )


def _fail(message: object) -> NoReturn:
    print("error: " + " ".join(str(message).split()), file=sys.stderr, flush=True)
    sys.stdout.flush()
    # Threads of a checkpoint that could not be written would still complain at a normal exit.
    os._exit(2)


def _parse(argv: list[str]) -> list[str]:
    """Parse flags; config_flags reports a setting that does not exist as AttributeError."""
    for argument in argv:
        config, _, _ = argument.removeprefix("--config=").partition(":")
        if argument.startswith("--config=") and not Path(config).is_file():
            _fail(f"{config}: no such config file; configs/ holds those of jaxad")
    try:
        return flags.FLAGS(argv)
    except (flags.Error, UserError) as error:
        _fail(f"{error}; --help shows how")
    except (AttributeError, KeyError, TypeError) as error:
        overrides = [a for a in argv if a.startswith("--config.")]
        if not overrides:
            raise
        reason: object = error
        while isinstance(reason, Exception):
            reason = reason.args[0]
        _fail(f"no such setting, or of another type ({reason}): {' '.join(overrides)}")


def run(main: Callable[[], None]) -> None:
    """Parse flags and call `main`; exit code 2 for a `UserError`, 143 for `Preempted`."""

    def guarded(_: list[str]) -> None:
        logging.set_verbosity(logging.FATAL)  # Orbax logs what is raised anyway
        try:
            main()
        except (UserError, OSError) as error:
            _fail(_line(error))
        except Preempted:
            print("stopped; the same command goes on from here", file=sys.stderr)
            sys.exit(143)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from what is saved", file=sys.stderr)
            sys.exit(130)

    app.run(guarded, flags_parser=_parse)


def exit_code(command: Callable[[], int | None]) -> int:
    """What `command` returns, 0 for None; 2 for a user's mistake, which one line names.

    130 after Ctrl-C.
    """
    try:
        return command() or 0
    except (UserError, OSError) as error:
        print("error: " + " ".join(_line(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is saved", file=sys.stderr)
        return 130


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
