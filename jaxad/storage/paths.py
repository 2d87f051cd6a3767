"""Paths as a user writes them."""

import os
from pathlib import Path


def expanded(path: str | os.PathLike) -> Path:
    """The path with a leading ~ or ~USER replaced by that home; an unknown USER stays.

    Shells leave the ~ of --out=~/x and of settings alone, so whatever takes a path from a command
    line or a config gives it to this.

    Examples:
        >>> expanded("~/a.h5") == Path.home() / "a.h5", expanded("a~.h5")
        (True, PosixPath('a~.h5'))
    """
    return Path(os.path.expanduser(path))
