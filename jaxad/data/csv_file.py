"""Tables of numbers as text: one line of names, then lines of numbers, separated by commas.

Nothing is guessed: no quotes, no comments, no other separator, no line of another length.
"""

import io
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxad.data.kinds import head_of, other
from jaxad.errors import UserError

BLOCK = 1 << 25  # bytes that are parsed together
NEWLINE, COMMA, QUOTE = b'\n,"'
NONE = ("", "-", "na", "n/a", "none", "null")
"""What other programs write for no value, in small letters."""


class Csv:
    """The columns of a CSV file, read in blocks of whole lines.

    Attributes:
        names: of the first line, which may begin with #.

    Raises:
        UserError: an empty file, another separator or kind of line end, or a first line that holds
            no names or one twice.
    """

    def __init__(self, path: Path):
        self._path = path
        if what := other(path, head_of(path)):
            raise UserError(f"{path}: line 1: expected the names of the columns, found {what}")
        try:
            with path.open("rb") as stream:
                header = stream.readline()
                self._start = stream.tell()
            text = header.decode("utf-8-sig")
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"{path}: expected text, found other bytes: no CSV file") from None
        self.names = [name.strip() for name in text.strip().lstrip("#").split(",")]
        if not text.strip():
            raise UserError(f"{path}: line 1: expected the names of the columns, found nothing")
        if "\r" in text.strip():
            raise UserError(f"{path}: line 1: lines end by CR alone: end them by LF or CR LF")
        if len(self.names) == 1 and re.search(r"[;|\s]", self.names[0]):
            raise UserError(
                f"{path}: line 1: expected names of columns, separated by commas, found "
                f"{self.names[0][:60]!r}: write commas between columns"
            )
        if '"' in text:
            raise UserError(f"{path}: line 1: names in quotes: write them without")
        if all(_is_number(name) for name in self.names):
            raise UserError(
                f"{path}: line 1: expected the names of the columns, found numbers: "
                "add a line of names"
            )
        for name in self.names:
            if not name or self.names.count(name) > 1:
                what = f"the name {name!r} twice" if name else "a column without a name"
                raise UserError(
                    f"{path}: line 1: {what}: every column needs its own (pandas writes its index "
                    "without: to_csv(index=False))"
                )

    def read(self, names: Sequence[str], whole: Collection[str]) -> dict[str, np.ndarray]:
        """The named columns, float64, and those of `whole` int64."""
        kept = list(dict.fromkeys(names))
        columns = [self.names.index(name) for name in kept]
        dtype = np.dtype([(str(c), "i8" if self.names[c] in whole else "f8") for c in columns])
        parts = [self._parsed(*block, columns, dtype) for block in self._blocks()]
        values = np.concatenate(parts) if parts else np.empty(0, dtype)
        return {name: values[str(c)].copy() for name, c in zip(kept, columns, strict=True)}

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """(bytes, ends of their lines, number of the first one), checked for their shape."""
        line, left, rest = 2, _length(self._path) - self._start, b""
        with self._path.open("rb") as stream:
            stream.seek(self._start)
            while left > 0:
                block = stream.read(min(BLOCK, left))
                if not block:
                    raise UserError(f"{self._path}: became shorter while it was read: try again")
                left -= len(block)
                text = rest + block if left > 0 else rest + block + b"\n"
                cut = text.rfind(b"\n") + 1
                text, rest = text[:cut], text[cut:]
                if not text:
                    continue
                letters = np.frombuffer(text, np.uint8)
                ends = np.flatnonzero(letters == NEWLINE)
                self._check(letters, ends, line)
                yield letters, ends, line
                line += len(ends)

    def _check(self, letters: np.ndarray, ends: np.ndarray, line: int) -> None:
        """Refuses quotes and lines of another number of fields."""
        if (quotes := letters == QUOTE).any():
            number = line + int(np.searchsorted(ends, int(np.argmax(quotes))))
            raise UserError(
                f"{self._path}: line {number}: quotes: write numbers, separated by commas alone"
            )
        commas = np.flatnonzero(letters == COMMA)
        counts = np.diff(np.searchsorted(commas, ends), prepend=0)
        odd = counts != len(self.names) - 1
        if odd.any():
            number = int(np.argmax(odd))
            raise UserError(
                f"{self._path}: line {line + number}: expected {len(self.names)} fields as in "
                f"line 1, found {int(counts[number]) + 1}"
            )

    def _parsed(
        self,
        letters: np.ndarray,
        ends: np.ndarray,
        line: int,
        columns: Sequence[int],
        dtype: np.dtype,
    ) -> np.ndarray:
        text = letters.tobytes()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return np.loadtxt(
                    io.BytesIO(text),
                    dtype,
                    delimiter=",",
                    comments=None,
                    usecols=columns,
                    ndmin=1,
                    encoding="utf-8",
                )
        except (ValueError, Warning) as error:
            self._refuse(text, line, columns, dtype)
            last = line + len(ends) - 1
            raise UserError(
                f"{self._path}: lines {line} to {last}: no lines of numbers ({error})"
            ) from None

    def _refuse(self, text: bytes, line: int, columns: Sequence[int], dtype: np.dtype) -> None:
        """Refuses the first field of the block that is no number."""
        for number, row in enumerate(text.decode("utf-8", "replace").split("\n")[:-1], line):
            fields = row.split(",")
            for column in columns:
                whole = dtype[str(column)].kind == "i"
                if not (_is_whole if whole else _is_number)(fields[column]):
                    found = fields[column].strip()
                    mend = "" if whole or found.lower() not in NONE else ": write nan for no value"
                    raise UserError(
                        f"{self._path}: line {number}: {self.names[column]}: expected a "
                        f"{'whole ' if whole else ''}number, found {found!r}{mend}"
                    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def _is_whole(text: str) -> bool:
    try:
        value = int(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text and -(2**63) <= value < 2**63


def _length(path: Path) -> int:
    """Bytes of a file without the blank lines at its end."""
    with path.open("rb") as stream:
        end = stream.seek(0, io.SEEK_END)
        while end:
            begin = max(0, end - 4096)
            stream.seek(begin)
            if text := stream.read(end - begin).rstrip():
                return begin + len(text)
            end = begin
    return 0
