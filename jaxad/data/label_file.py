"""Labels in a text file of their own, one a line, as the master keys of the LHC Olympics are."""

from pathlib import Path

import numpy as np

from jaxad.errors import UserError
from jaxad.storage.paths import expanded

KEY = ".masterkey"


def numbers(name: str) -> tuple[Path, np.ndarray]:
    """The file, and its numbers (N,) int64, one a line.

    Raises:
        UserError: no such file, or a line that is no whole number.
    """
    path = expanded(name)
    try:
        lines = path.read_text(encoding="ascii", errors="replace").split("\n")
    except OSError as error:
        raise UserError(f"{path}: data.label_file: cannot be read: {error.strerror}") from None
    while lines and not lines[-1].strip():
        lines.pop()
    labels = np.empty(len(lines), np.int64)
    for number, text in enumerate(lines):
        try:
            value = float(text)
            labels[number] = int(value)
        except (ValueError, OverflowError):
            value = np.nan
        if value != labels[number]:
            raise UserError(
                f"{path}: line {number + 1}: expected a whole number, the label of an event, found "
                f"{text.strip()[:40]!r}"
            )
    return path, labels


def read(name: str, events: str, n_events: int) -> np.ndarray:
    """The labels (n_events,) int64 of `events`, of one file or of several one after another.

    Raises:
        UserError: as `numbers`; another number of lines.
    """
    path, labels = numbers(name)
    if len(labels) != n_events:
        raise UserError(
            f"{path}: expected one label a line for each of {n_events} events of {events}, found "
            f"{len(labels)} lines"
        )
    return labels
