"""The page that sets evaluated runs side by side: figures of merit, ROC curves, settings."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from jaxad.report.html import notes_html, page, table_html

UNSET = "unset"


def differences(settings: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """What is not the same in all runs: rows of a name and one text a run, sorted by the name.

    Args:
        settings: run -> name -> value.
    """
    names = sorted({name for values in settings.values() for name in values})
    texts = {name: [str(values.get(name, UNSET)) for values in settings.values()] for name in names}
    return [[name, *found] for name, found in texts.items() if len(set(found)) > 1]


def comparison_page(
    *,
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]],
    images: Mapping[str, bytes],
    settings: Mapping[str, Mapping[str, Any]],
    notes: Sequence[str] = (),
) -> str:
    """The self-contained page of several runs.

    Args:
        tables: signal -> header and rows.
        images: name -> PNG.
        settings: run -> name -> value, of which those that differ are shown.
        notes: what has to be said of the tables and figures.
    """
    results = "".join(
        f"<div><h3>{escape(signal)}</h3>{table_html(header, rows)}</div>"
        for signal, (header, rows) in tables.items()
    )
    results = f'<div class="side">{results}</div>'
    differing = differences(settings)
    if differing:
        shown = table_html(["setting", *settings], differing)
    else:
        shown = notes_html(["none of the settings that are known"])
    return page(
        title=f"{len(settings)} runs side by side",
        sections={
            "Results": results + notes_html(notes),
            "Settings that differ": shown,
        },
        images=images,
    )
