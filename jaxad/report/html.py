"""One self-contained page of a run: tables, figures, settings, versions; nothing is fetched."""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jaxad.data.dataset import cut_flow_rows
from jaxad.report.captions import caption
from jaxad.report.style import styled
from jaxad.report.tables import (
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

DPI = 110
CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto;
  max-width: 1180px; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem;
  border-bottom: 1px solid #ccc; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; white-space: nowrap; }
th { border-bottom: 2px solid #444; } tr.first td { border-top: 1px solid #ccc; }
td { font-variant-numeric: tabular-nums; }
.note { color: #555; font-size: .85rem; margin: .2rem 0; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; max-width: 100%; }
img { max-width: 100%; height: auto; } figcaption { color: #555; font-size: .85rem;
  max-width: 42rem; } pre { background: #f5f5f5; padding: .8rem; overflow-x: auto;
  font-size: .8rem; } summary { cursor: pointer; }
"""


@styled
def figure_png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
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
    """A table of texts, escaped; a row whose first cell is empty belongs to the one above."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        ("<tr class='first'>" if row[0] else "<tr>")
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in rows
        if row
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def notes_html(notes: Sequence[str]) -> str:
    """Small paragraphs, escaped."""
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _figure(name: str, image: bytes) -> str:
    data = base64.b64encode(image).decode()
    return (
        f'<figure id="{escape(name)}"><img alt="{escape(name)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(caption(name))}</figcaption></figure>'
    )


def page(
    *,
    title: str,
    results: str,
    images: Mapping[str, bytes],
    config: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The page around `results`, which is HTML: title, notes, captioned PNGs, config, versions.

    All other text is escaped; the page names no address and holds its figures.
    """
    paragraphs = "".join(f"<p>{escape(note)}</p>" for note in notes)
    drawn = "".join(_figure(name, image) for name, image in images.items())
    settings = escape(json.dumps(config or {}, indent=2, default=str))
    facts = {**(provenance or {}), **versions()}
    origin = table_html(("what", "value"), [(str(key), str(value)) for key, value in facts.items()])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>"
        f"<h1>{escape(title)}</h1>{paragraphs}<h2>Results</h2>{results}"
        f'<h2>Figures</h2><div class="figures">{drawn}</div>'
        f"<h2>Configuration</h2><details><summary>all settings</summary><pre>{settings}</pre>"
        f"</details><h2>Provenance</h2>{origin}</body></html>\n"
    )


def html_report(
    *, metrics: Mapping[str, Any], figures: Mapping[str, bytes], **contents: Any
) -> str:
    """The page of a run: tables of `metrics` (of `summarise_all`); `contents` as of `page`."""
    header, rows = metrics_rows(metrics)
    results = (table_html(header, rows) if rows else "") + notes_html(metrics_notes(metrics))
    if flows := metrics.get("data", {}).get("cut_flow"):
        header, *rows = cut_flow_rows(flows)
        results += f"<h2>Selection</h2>{table_html(header, rows)}"
    header, rows = rates_rows(metrics)
    if rows:
        results += f"<h2>Thresholds of a trigger</h2>{table_html(header, rows)}"
        results += notes_html(rates_notes(metrics))
    header, rows = following_rows(metrics)
    if rows:
        results += f"<h2>Thresholds that follow observables</h2>{table_html(header, rows)}"
        results += notes_html(following_notes(metrics))
    header, rows = selection_rows(metrics)
    if rows:
        results += f"<h2>Observables, one by one</h2>{table_html(header, rows)}"
    return page(results=results, images=figures, **contents)


def write_report(path: str | Path, **contents: Any) -> Path:
    """Write `html_report(**contents)` to `path`, atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html_report(**contents))
    return path
