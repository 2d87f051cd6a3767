"""Rows of measured values: appended to a file as they come, written as JSON and Markdown."""

import json
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One measured value."""

    section: str
    what: str
    value: float | str
    unit: str = ""
    limit: str = ""  # what it is to be compared with
    note: str = ""
    peer: str = ""  # the software that it was measured with, "": jaxad


def append(out: Path, row: Row) -> None:
    """Add a row to the file that all sections write to."""
    with (out / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row._asdict()) + "\n")


def read(out: Path) -> list[Row]:
    """All rows so far."""
    file = out / "rows.jsonl"
    return (
        [Row(**json.loads(text)) for text in file.read_text().splitlines()] if file.exists() else []
    )


def value_of(out: Path, what: str) -> float | None:
    """The value of a row by its name, None if it has not been measured."""
    found = [row.value for row in read(out) if row.what == what and not isinstance(row.value, str)]
    return found[-1] if found else None


def one_line(error: Exception) -> str:
    """Type and text of an error, in one line of bounded length."""
    text = " ".join(str(error).split()).replace("|", "/")
    return f"{type(error).__name__}: {text}"[:300]


def number(value: float | str) -> str:
    """Four digits that count, thousands with commas.

    Examples:
        >>> number(1234567.0), number(0.00012345), number(12)
        ('1,235,000', '0.0001234', '12')
    """
    if isinstance(value, str):
        return value
    rounded = float(f"{value:.4g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"


def line(row: Row) -> str:
    """A row as text for the terminal."""
    more = "; ".join(filter(None, (row.limit, row.note)))
    by = f" [{row.peer}]" if row.peer else ""
    return f"{row.what}{by}: {number(row.value)} {row.unit}" + (f" ({more})" if more else "")


def _beside(row: Row, others: list[Row]) -> str:
    """Other software's values of the same thing, with how many times as much ours is."""
    parts = []
    for other in others:
        ratio = ""
        if not isinstance(row.value, str) and not isinstance(other.value, str):
            ratio = f" ({row.value / other.value:.2f}x)"
        parts.append(f"{other.peer} {number(other.value)}{ratio}")
    return ", ".join(parts)


def markdown(rows: list[Row], heads: dict[str, str]) -> str:
    """A table a section, in the order of `heads` {section: heading}."""
    peers: dict[str, list[Row]] = {}
    for row in rows:
        if row.peer:
            peers.setdefault(row.what, []).append(row)
    ours = {row.what for row in rows if not row.peer}
    text = []
    for section, head in heads.items():
        here = [row for row in rows if row.section == section]
        here = [row for row in here if not (row.peer and row.what in ours)]
        if not here:
            continue
        text += [f"### {head}", "", "| what | measured | beside | note |", "|---|---|---|---|"]
        for row in here:
            beside = ", ".join(filter(None, (row.limit, _beside(row, peers.get(row.what, [])))))
            measured = f"{number(row.value)} {row.unit}".strip()
            by = f" ({row.peer})" if row.peer else ""
            text.append(
                f"| {row.what}{by} | {measured} | {'' if row.peer else beside} | {row.note} |"
            )
        text.append("")
    return "\n".join(text)


def write(out: Path, heads: dict[str, str], about: dict[str, str]) -> None:
    """results.json and results.md of what is there; each is replaced whole."""
    rows = read(out)
    content = {"about": about, "rows": [row._asdict() for row in rows]}
    said = [f"- {name}: {value}" for name, value in about.items()]
    texts = {
        "results.json": json.dumps(content, indent=1) + "\n",
        "results.md": "\n".join([*said, "", markdown(rows, heads)]),
    }
    for name, text in texts.items():
        part = out / f".{name}"
        part.write_text(text)
        part.replace(out / name)
