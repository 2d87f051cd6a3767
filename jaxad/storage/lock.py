"""One process at a time in a folder."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxad.errors import UserError


def hold(stream: BinaryIO, in_use: str) -> None:
    """Lock an open file until it is closed.

    Raises:
        UserError: `in_use`, where another process holds it.
    """
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(in_use) from None


@contextlib.contextmanager
def held(folder: Path, in_use: str = "") -> Iterator[None]:
    """Create the folder and hold its lock.

    Another process that holds it is waited for, or `in_use` says that it is there.

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
        if in_use:
            hold(lock, in_use)
        else:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
