"""One self-contained page of a run: tables, figures, settings, versions; nothing is fetched.

How the page looks is `page.css`, what it does when clicked `page.js`.
"""

import base64
import hashlib
import io
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxad.data.dataset import cut_flow_rows
from jaxad.report.captions import caption
from jaxad.report.style import styled
from jaxad.report.tables import (
    excess_rows,
    following_notes,
    following_rows,
    metrics_notes,
    metrics_rows,
    rates_notes,
    rates_rows,
    selection_rows,
)
from jaxad.storage.atomic import replacing, write_text
from jaxad.storage.provenance import versions

DPI = 144
WIDE = 1.6  # width over height of figures that take a row of the page


def _part(name: str) -> str:
    return resources.files("jaxad.report").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@styled
def figure_png(figure: Figure) -> bytes:
    """The figure as a PNG, laid out and drawn once: `savefig` does both twice, for the same."""
    buffer = io.BytesIO()
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def save_figures(
    figures: Mapping[str, Figure],
    folder: str | Path,
    replace: Callable[[Path], AbstractContextManager[Path]] = replacing,
) -> list[Path]:
    """Write folder/NAME.png for every figure, as `replace` does; returns the paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        with replace(path) as temporary:
            temporary.write_bytes(figure_png(figure))
    return paths


def table_html(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts, escaped, that sorts by its headers.

    A row whose first cell is empty belongs to the one above: it repeats that one's first cell,
    which shows once the table is sorted.
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body, name = "", ""
    for row in filter(None, rows):
        start = f"<td>{escape(row[0])}</td>" if row[0] else f'<td class="again">{escape(name)}</td>'
        name = row[0] or name
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        body += f"<tr{' class=first' if row[0] else ''}>{start}{cells}</tr>"
    return _scrolling(
        f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def facts_html(facts: Mapping[str, str] | Sequence[tuple[str, str]]) -> str:
    """A table of names and values, escaped."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in dict(facts).items()
    )
    return _scrolling(f'<table class="facts"><tbody>{rows}</tbody></table>')


def _scrolling(table: str) -> str:
    """Scrolls in itself where the page is narrow, by keys too."""
    return f'<div class="scroll" role="region" aria-label="table" tabindex="0">{table}</div>'


def notes_html(notes: Sequence[str]) -> str:
    """Small paragraphs, escaped."""
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _figure(name: str, image: bytes) -> str:
    data = base64.b64encode(image).decode()
    width, height = struct.unpack(">II", image[16:24])  # of the PNG's first chunk
    wide = ' class="wide"' if width > WIDE * height else ""
    return (
        f'<figure id="figure-{escape(name)}"{wide}><img alt="{escape(name)}" width="{width}" '
        f'height="{height}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption(name))}</figcaption></figure>"
    )


def page(
    *,
    title: str,
    sections: Mapping[str, str],
    images: Mapping[str, bytes],
    config: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The page: title, notes, `sections`, captioned PNGs, config, versions.

    It holds its figures, style and script, names no address, and forbids the browser to fetch or
    run anything else. Without the script it reads the same.

    Args:
        sections: heading -> HTML; all other text is escaped.
    """
    settings = escape(json.dumps(config, indent=2, default=str))
    facts = {str(key): str(value) for key, value in ((provenance or {}) | versions()).items()}
    parts = dict(sections)
    if images:
        drawn = "".join(_figure(name, image) for name, image in images.items())
        parts["Figures"] = f'<div class="figures">{drawn}</div>'
    if config is not None:
        parts["Configuration"] = (
            f"<details><summary>all settings</summary><pre>{settings}</pre></details>"
        )
    parts["Provenance"] = facts_html(facts)
    ids = {name: f"part-{number}" for number, name in enumerate(parts, 1)}
    links = "".join(f'<li><a href="#{ids[name]}">{escape(name)}</a></li>' for name in parts)
    body = "".join(
        f'<section id="{ids[name]}"><h2>{escape(name)}</h2>{content}</section>'
        for name, content in parts.items()
    )
    style, script = _part("page.css"), _part("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; "
        f"script-src {_digest(script)}"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>{''.join(f'<p>{escape(note)}</p>' for note in notes)}"
        f'<nav aria-label="parts of this page"><ul>{links}</ul></nav></header>'
        f"<main>{body}</main><script>{script}</script></body></html>\n"
    )


def html_report(
    *, metrics: Mapping[str, Any], figures: Mapping[str, bytes], **contents: Any
) -> str:
    """The page of a run: tables of `metrics` (of `summarise_all`); `contents` as of `page`."""
    header, rows = metrics_rows(metrics)
    table = table_html(header, rows) if rows else ""
    sections = {"Results": table + notes_html(metrics_notes(metrics))}
    if flows := metrics.get("data", {}).get("cut_flow"):
        header, *rows = cut_flow_rows(flows)
        sections["Selection"] = table_html(header, rows)
    for name, (header, rows), notes in (
        ("Excess in the window", excess_rows(metrics), []),
        ("Thresholds of a trigger", rates_rows(metrics), rates_notes(metrics)),
        ("Thresholds that follow observables", following_rows(metrics), following_notes(metrics)),
        ("Observables, one by one", selection_rows(metrics), []),
    ):
        if rows:
            sections[name] = table_html(header, rows) + notes_html(notes)
    return page(sections=sections, images=figures, **contents)


def write_report(path: str | Path, **contents: Any) -> Path:
    """Write `html_report(**contents)` to `path`, atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html_report(**contents))
    return path
