"""Events as lines of text, each with any number of objects: DarkMachines (arXiv:2105.14027).

    event; process; weight; MET; METphi; type,E,pt,eta,phi; type,E,pt,eta,phi; ...

A line is read as numbers of the event (event, weight, MET, METphi), a text (process) and lists of
the objects of each type: j_pt, j_eta, j_phi, j_E, b_pt, ... Energies are in MeV.

A file is parsed once, block by block. What it holds stays in memory, where `parse` has not put it
on disk before.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxad.data.jagged import absent
from jaxad.data.lists import Blocks, Column, Lists, Stored
from jaxad.data.text_file import blocks_of_lines, is_text, opened_text
from jaxad.errors import UserError
from jaxad.storage import on_disk

HEAD = ("event", "process", "weight", "MET", "METphi")
TYPES = ("j", "b", "e-", "e+", "m-", "m+", "g")
OBJECT = ("E", "pt", "eta", "phi")
NAMES = [*HEAD, *(f"{kind}_{name}" for kind in TYPES for name in OBJECT)]
_LINE = re.compile(r"[^;,]+(;[^;,]+){4}(;|$)")


def is_event_text(path: Path) -> bool:
    """Whether the first line of a text file is an event."""
    if not is_text(path) or not path.is_file():
        return False
    with opened_text(path) as stream:
        return bool(_LINE.match(stream.readline(1 << 16).decode("utf-8", "replace").strip()))


class _Parsed(NamedTuple):
    """What the lines of a file hold, one after another.

    Attributes:
        heads: (N, 4) event, weight, MET, METphi.
        process: (N,) numbers of `processes`.
        counts: (N,) objects of each event.
        kinds: (M,) types of the objects.
        objects: (M, 4) E, pt, eta, phi.
        rows, firsts: (k + 1,) events, and objects, before each block, and in all.
        processes: the texts.
    """

    heads: np.ndarray
    process: np.ndarray
    counts: np.ndarray
    kinds: np.ndarray
    objects: np.ndarray
    rows: np.ndarray
    firsts: np.ndarray
    processes: list[str]


_parsed: dict[tuple, _Parsed] = {}
"""By file, size and time: all that lie on disk, and the last one in memory."""


def parse(path: Path, folder: Path | None) -> _Parsed:
    """The lines of a file, on the disk of a folder; in memory, or where it was before, of None.

    Raises:
        UserError: as `column`.
    """
    about = path.stat()
    key = path, about.st_size, about.st_mtime_ns
    if key not in _parsed:
        for other in [k for k, one in _parsed.items() if on_disk.folder_of(one.heads) is None]:
            del _parsed[other]
        _parsed[key] = _whole(path, folder)
    return _parsed[key]


def column(path: Path, name: str, setting: str = "") -> np.ndarray | Column:
    """Numbers (N,) of the events of a file, texts (N,), or a list an event.

    Args:
        setting: that names the column, for messages.

    Raises:
        UserError: no such column; a line with another number of fields, half an object, an unknown
            type, or something that is no number: with its line.
    """
    if name not in NAMES:
        raise absent(str(path), "column", name, NAMES, setting)
    found = parse(path, None)
    if name == "process":
        return np.array(found.processes)[found.process]
    if name in HEAD:
        return found.heads[:, [h for h in HEAD if h != "process"].index(name)]
    kind, _, number = name.rpartition("_")
    kind, number = TYPES.index(kind), OBJECT.index(number)

    def blocks(row: int) -> Blocks:
        for i in range(int(np.searchsorted(found.rows[1:-1], row, "right")), len(found.rows) - 1):
            here = slice(found.rows[i], found.rows[i + 1])
            objects = slice(found.firsts[i], found.firsts[i + 1])
            chosen = found.kinds[objects] == kind
            event = np.repeat(np.arange(here.stop - here.start), found.counts[here])[chosen]
            counts = np.bincount(event, minlength=here.stop - here.start)
            yield int(here.start), Lists(counts, found.objects[objects][chosen, number])
            for array in (found.kinds, found.counts, found.objects):
                on_disk.release(array)

    return Column(Stored(str(path), name, len(found.heads), blocks))


def _whole(path: Path, folder: Path | None) -> _Parsed:
    processes: dict[str, int] = {}
    rows, firsts, columns = [0], [0], [on_disk.Growing(folder) for _ in range(5)]
    for part in _parts(path, processes):
        rows.append(rows[-1] + len(part[0]))
        firsts.append(firsts[-1] + len(part[-1]))
        for column, values in zip(columns, part, strict=True):
            column.append(values)
    if not rows[-1]:
        raise UserError(f"{path}: no events")
    return _Parsed(*(c.array() for c in columns), np.array(rows), np.array(firsts), [*processes])


def _parts(path: Path, processes: dict[str, int]) -> Iterator[tuple[np.ndarray, ...]]:
    """The first fields of `_Parsed` of blocks of lines; new texts join the `processes`."""
    line = 1
    for _, block in blocks_of_lines(path, 0):
        texts = block.decode("utf-8", "replace").split("\n")[:-1]
        heads: list[str] = []
        process: list[int] = []
        counts: list[int] = []
        kinds: list[int] = []
        numbers: list[str] = []
        lines: list[int] = []
        for number, text in enumerate(texts, line):
            if not text.strip():
                continue
            head, objects = _fields(text, number, path)
            for kind, *values in objects:
                kinds.append(TYPES.index(kind))
                numbers += values
            heads += (head[0], *head[2:])
            process.append(processes.setdefault(head[1], len(processes)))
            counts.append(len(objects))
            lines.append(number)
        yield (
            _numbers(heads, np.array(lines), path).reshape(-1, len(HEAD) - 1),
            np.array(process, np.uint32),
            np.array(counts, np.uint32),
            np.array(kinds, np.uint8),
            _numbers(numbers, np.repeat(lines, counts), path).reshape(-1, len(OBJECT)),
        )
        line += len(texts)


def _fields(text: str, line: int, path: Path) -> tuple[list[str], list[list[str]]]:
    """The fields of the event in a line, and those of each object."""
    fields = [field.strip() for field in text.strip().split(";")]
    if len(fields) > len(HEAD) and not fields[-1]:
        fields.pop()  # a separator at the end
    head, items = fields[: len(HEAD)], fields[len(HEAD) :]
    if len(head) < len(HEAD) or "" in head or any("," in field for field in head):
        raise UserError(
            f"{path}: line {line}: expected {'; '.join(HEAD)}; then objects, found "
            f"{text.strip()[:60]!r}"
        )
    objects = [[part.strip() for part in item.split(",")] for item in items]
    for number, (item, parts) in enumerate(zip(items, objects, strict=True), 1):
        if len(parts) != 1 + len(OBJECT) or "" in parts[1:]:
            raise UserError(
                f"{path}: line {line}: object {number}: expected type,E,pt,eta,phi, found "
                f"{item[:60]!r}: mend or leave out this line"
            )
        if parts[0] not in TYPES:
            raise UserError(
                f"{path}: line {line}: object {number}: expected a type of "
                f"{', '.join(TYPES)}, found {parts[0]!r}"
            )
    return head, objects


def _numbers(texts: list[str], lines: np.ndarray, path: Path) -> np.ndarray:
    """The texts as numbers; `lines`: those of equal stretches of them."""
    with contextlib.suppress(ValueError):
        return np.array(texts, dtype=np.float64)
    for place, text in enumerate(texts):
        try:
            float(text)
        except ValueError:
            line = lines[place * len(lines) // len(texts)]
            raise UserError(f"{path}: line {line}: expected a number, found {text!r}") from None
    raise UserError(f"{path}: no lines of numbers")
