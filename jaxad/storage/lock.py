"""One process at a time in a folder."""

import contextlib
import errno
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxad.errors import UserError

HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What the system answers where another process holds a lock."""


def hold(stream: BinaryIO, in_use: str = "") -> None:
    """Lock an open file until it is closed.

    Another process that holds it is waited for, or `in_use` says that it is there. Some network
    file systems have no locks: a warning says so, and nothing is held.

    Raises:
        UserError: `in_use`.
    """
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (fcntl.LOCK_NB if in_use else 0))
    except OSError as error:
        if in_use and error.errno in HELD:
            raise UserError(in_use) from None
        print(
            f"warning: {stream.name}: cannot be locked ({error.strerror}), as on some network file "
            "systems: let only one command at a time work there",
            file=sys.stderr,
        )


@contextlib.contextmanager
def held(folder: Path, in_use: str = "") -> Iterator[None]:
    """Create the folder and hold its lock, see `hold`.

    Raises:
        UserError: not writable, or in use by another process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("ab")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write there ({error.strerror}): choose another folder"
        ) from error
    with lock:
        hold(lock, in_use)
        yield
