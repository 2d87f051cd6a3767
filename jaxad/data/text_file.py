"""Text files, plain or inside gzip, from which lines are read block by block."""

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxad.data.kinds import inner
from jaxad.errors import UserError

SUFFIXES = (".csv", ".txt")
BLOCK = 1 << 23  # bytes that are taken together


def is_text(path: Path) -> bool:
    """Whether a file is called so: .csv, .txt, .csv.gz, .txt.gz."""
    return inner(path) in SUFFIXES


@contextlib.contextmanager
def opened_text(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked on the way where it is called .gz.

    Raises:
        UserError: it cannot be read, or is no whole gzip file.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path}: cannot be read as a gzip file ({str(error).split(' before')[0]}): it is "
            "damaged or truncated: download or copy it again"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def blocks_of_lines(path: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """(number of its first byte, whole lines) of blocks from the byte `start` on, each of which
    ends with a line feed; without the blank lines at the end of the file.

    Raises:
        UserError: as `opened_text`; the file becomes shorter while it is read.
    """
    size, rest = path.stat().st_size, b""
    with opened_text(path) as stream:
        stream.seek(start)
        while block := stream.read(BLOCK):
            text = rest + block
            cut = (
                text.rfind(b"\n", 0, len(text.rstrip())) + 1
            )  # before the last line, or blank ones
            if cut:
                yield start, text[:cut]
            start, rest = start + cut, text[cut:]
        if path.suffix != ".gz" and stream.tell() < size:
            raise UserError(f"{path}: became shorter while it was read: try again")
    if rest := rest.rstrip():
        yield start, rest + b"\n"
