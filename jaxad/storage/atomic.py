"""Files and folders that are there whole or not at all: a temporary name, then a rename."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path


class OutputError(OSError):
    """What the system answered to who wrote the file or folder `filename`, which a user chose."""


@contextlib.contextmanager
def named(path: Path, n_bytes: int = 0) -> Iterator[None]:
    """Gives errors of the disk the name of what is written: NumPy and h5py give them none.

    h5py reports a full disk as RuntimeError where a file is closed, and may crash thereafter:
    what it writes is announced as `n_bytes`, which are refused where they cannot fit.

    Raises:
        OutputError: the system refused `path`, or what lies in its folder or above it. Errors that
            name another path pass as they are.
    """
    try:
        if n_bytes and n_bytes > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
    except (OSError, RuntimeError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        if number is None and not isinstance(error, OSError):
            raise
        where = getattr(error, "filename", None) or path
        if not _belongs(where, path):
            raise
        code = int(number[1]) if number else error.errno
        if Path(str(where)).name.startswith(f".{path.name}."):
            where = path  # a temporary name of it
        raise OutputError(code, os.strerror(code or 0), str(where)) from error


def _belongs(where: object, path: Path) -> bool:
    """Whether `where`, as an error names it, is `path`, above it, or in the same folder."""
    if not isinstance(where, (str, os.PathLike)):
        return True
    other, folder = Path(where).absolute(), path.parent.absolute()
    return other.is_relative_to(folder) or folder.is_relative_to(other)


@contextlib.contextmanager
def replacing(path: Path, n_bytes: int = 0, shared: bool = False) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place when the block ends well.

    Where `path` is a link, what it leads to is replaced, and the link stays. Errors of the disk
    name `path`, see `named` for `n_bytes`. `shared`: several processes may be at it,
    and each takes a name of its own, which a kill leaves behind.
    """
    path = path.resolve() if path.is_symlink() else path
    own = f".{os.getpid()}" if shared else ""
    temporary = path.with_name(f".{path.name}{own}.tmp")
    try:
        with named(path, n_bytes):
            yield temporary
            os.replace(temporary, path)
    finally:
        # A folder in the place of the file, or none at all, was reported above.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file; readers see the old one or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """An empty temporary folder that takes the place of `folder` when the block ends well.

    No reader sees the old one half deleted. A link stays, as of `replacing`. What the old one may
    hold is the caller's to check, see `jaxad.storage.own`.
    """
    folder = folder.resolve()
    ends = ("jaxad-tmp", "jaxad-old")
    temporary, old = (folder.with_name(f".{folder.name}.{end}") for end in ends)
    with named(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
