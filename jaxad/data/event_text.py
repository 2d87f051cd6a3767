"""Events as lines of text, each with any number of objects: DarkMachines (arXiv:2105.14027).

    event; process; weight; MET; METphi; type,E,pt,eta,phi; type,E,pt,eta,phi; ...

A line is read as numbers of the event (event, weight, MET, METphi), a text (process) and lists of
the objects of each type: j_pt, j_eta, j_phi, j_E, b_pt, ... Energies are in MeV.
"""

import functools
import re
from pathlib import Path

import numpy as np

from jaxad.data.jagged import absent
from jaxad.data.lists import Column, Lists, in_memory
from jaxad.errors import UserError

SUFFIXES = (".csv", ".txt")
HEAD = ("event", "process", "weight", "MET", "METphi")
TYPES = ("j", "b", "e-", "e+", "m-", "m+", "g")
OBJECT = ("E", "pt", "eta", "phi")
NAMES = [*HEAD, *(f"{kind}_{name}" for kind in TYPES for name in OBJECT)]
_LINE = re.compile(r"[^;,]+(;[^;,]+){4}(;|$)")


def is_event_text(path: Path) -> bool:
    """Whether the first line of a text file is an event."""
    if path.suffix not in SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as stream:
        return bool(_LINE.match(stream.readline(1 << 16).decode("utf-8", "replace").strip()))


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
    about = path.stat()
    numbers, processes, kinds, counts, objects = _parsed(path, about.st_size, about.st_mtime_ns)
    if name == "process":
        return processes
    if name in HEAD:
        return numbers[:, [h for h in HEAD if h != "process"].index(name)]
    kind, _, number = name.rpartition("_")
    chosen = kinds == TYPES.index(kind)
    event = np.repeat(np.arange(len(counts)), counts)[chosen]
    values = objects[chosen, OBJECT.index(number)]
    return in_memory(path, name, Lists(np.bincount(event, minlength=len(counts)), values))


@functools.lru_cache(maxsize=1)
def _parsed(
    path: Path, size: int, modified: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of all lines: (event, weight, MET, METphi) (N, 4), process (N,); of all objects one after
    another the number of the type; how many an event has (N,); and E, pt, eta, phi (M, 4).

    Args:
        size, modified: of the file: another content is read anew.
    """
    heads: list[str] = []
    processes: list[str] = []
    kinds: list[int] = []
    counts: list[int] = []
    numbers: list[str] = []
    lines: list[int] = []
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line, text in enumerate(stream, 1):
            if not text.strip():
                continue
            fields = [field.strip() for field in text.strip().split(";")]
            if len(fields) > len(HEAD) and not fields[-1]:
                fields.pop()  # a separator at the end
            head, objects = fields[: len(HEAD)], fields[len(HEAD) :]
            if len(head) < len(HEAD) or "" in head or any("," in field for field in head):
                raise UserError(
                    f"{path}: line {line}: expected {'; '.join(HEAD)}; then objects, found "
                    f"{text.strip()[:60]!r}"
                )
            for number, item in enumerate(objects, 1):
                kind, *values = (part.strip() for part in item.split(","))
                if len(values) != len(OBJECT) or "" in values:
                    raise UserError(
                        f"{path}: line {line}: object {number}: expected type,E,pt,eta,phi, found "
                        f"{item[:60]!r}: mend or leave out this line"
                    )
                if kind not in TYPES:
                    raise UserError(
                        f"{path}: line {line}: object {number}: expected a type of "
                        f"{', '.join(TYPES)}, found {kind!r}"
                    )
                kinds.append(TYPES.index(kind))
                numbers += values
            heads += (head[0], *head[2:])
            processes.append(head[1])
            counts.append(len(objects))
            lines.append(line)
    if not lines:
        raise UserError(f"{path}: no events")
    at = np.repeat(lines, counts)
    return (
        _numbers(heads, np.array(lines), path).reshape(-1, len(HEAD) - 1),
        np.array(processes),
        np.array(kinds, int),
        np.array(counts),
        _numbers(numbers, at, path).reshape(-1, len(OBJECT)),
    )


def _numbers(texts: list[str], lines: np.ndarray, path: Path) -> np.ndarray:
    """The texts as numbers; `lines`: those of equal stretches of them."""
    try:
        return np.array(texts, dtype=np.float64)
    except ValueError:
        pass
    for place, text in enumerate(texts):
        try:
            float(text)
        except ValueError:
            line = lines[place * len(lines) // len(texts)]
            raise UserError(f"{path}: line {line}: expected a number, found {text!r}") from None
    raise UserError(f"{path}: no lines of numbers")
