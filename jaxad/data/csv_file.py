"""Tables of numbers as text: one line of names, then lines of numbers, separated by commas.

Nothing is guessed: no quotes, no comments, no other separator, no line of another length. Lines are
parsed block by block, each time that columns are asked for.
"""

import io
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxad.data.kinds import head_of, other
from jaxad.data.text_file import blocks_of_lines, opened_text
from jaxad.errors import UserError

NEWLINE, RETURN, COMMA, QUOTE = b'\n\r,"'
NONE = ("", "-", "na", "n/a", "none", "null")
"""What other programs write for no value, in small letters."""
FIRST_LINE = 2  # of the first row

_starts: dict[tuple, list[tuple[int, int]]] = {}
"""File, size and time -> row and byte at which blocks of lines begin, and of the end."""


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
        head = head_of(path)
        if path.suffix == ".gz":
            with opened_text(path) as stream:
                head = stream.read(len(head))
        if what := other(path, head):
            raise UserError(f"{path}: line 1: expected the names of the columns, found {what}")
        with opened_text(path) as stream:
            header = stream.readline()
            self._start = stream.tell()
        try:
            text = header.decode("utf-8-sig")
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

    def __len__(self) -> int:
        return self._blocks()[-1][0]

    def read(self, names: Sequence[str], whole: Collection[str]) -> dict[str, np.ndarray]:
        """The named columns, float64, and those of `whole` int64."""
        found = {name: np.empty(len(self), "i8" if name in whole else "f8") for name in names}
        for start, part in self.blocks(names, whole):
            for name, values in part.items():
                found[name][start : start + len(values)] = values
        return found

    def blocks(
        self, names: Sequence[str], whole: Collection[str] = (), row: int = 0
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """First row of each block, from the one that holds `row` on, and the named columns."""
        columns = {name: self.names.index(name) for name in names}
        kinds = {c: "i8" if name in whole else "f8" for name, c in columns.items()}
        dtype = np.dtype([(str(c), kind) for c, kind in kinds.items()])
        at = [start for start in self._blocks()[:-1] if start[0] <= row] or [(0, self._start)]
        (row, byte), empty = at[-1], True
        for _, text in blocks_of_lines(self._path, byte):
            values = self._parsed(text, row + FIRST_LINE, [*kinds], dtype)
            yield row, {name: values[str(c)] for name, c in columns.items()}
            row, empty = row + len(values), False
        if empty:
            yield row, {name: np.empty(0, kinds[c]) for name, c in columns.items()}

    def _blocks(self) -> list[tuple[int, int]]:
        """Row and byte at which each block begins, and, at last, of the end."""
        about = self._path.stat()
        key = self._path, about.st_size, about.st_mtime_ns
        if key not in _starts:
            row, byte, starts = 0, self._start, []
            for first, text in blocks_of_lines(self._path, self._start):
                starts.append((row, first))
                row, byte = row + text.count(b"\n"), first + len(text)
            _starts[key] = [*starts, (row, byte)]
        return _starts[key]

    def _check(self, letters: np.ndarray, ends: np.ndarray, line: int) -> None:
        """Refuses quotes and lines of another number of fields."""
        if (quotes := letters == QUOTE).any():
            number = line + int(np.searchsorted(ends, int(np.argmax(quotes))))
            raise UserError(
                f"{self._path}: line {number}: quotes: write numbers, separated by commas alone"
            )
        commas = np.flatnonzero(letters == COMMA)
        counts = np.diff(np.searchsorted(commas, ends), prepend=0)
        if len(self.names) == 1:  # no comma tells a blank line, which the parser would skip
            length = np.diff(ends, prepend=-1) - 1
            blank = (length == 0) | ((length == 1) & (letters[ends - 1] == RETURN))
            if blank.any():
                number = line + int(np.argmax(blank))
                raise UserError(f"{self._path}: line {number}: blank: drop it")
        odd = counts != len(self.names) - 1
        if odd.any():
            number = int(np.argmax(odd))
            raise UserError(
                f"{self._path}: line {line + number}: expected {len(self.names)} fields as in "
                f"line 1, found {int(counts[number]) + 1}"
            )

    def _parsed(
        self, text: bytes, line: int, columns: Sequence[int], dtype: np.dtype
    ) -> np.ndarray:
        letters = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(letters == NEWLINE)
        self._check(letters, ends, line)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return np.loadtxt(
                    io.BytesIO(text),
                    dtype,
                    delimiter=",",
                    comments=None,
                    usecols=[*columns],
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
