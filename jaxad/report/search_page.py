"""The report of a search without labels: its figures and its page."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from jaxad.report.calibration import Found, calibration_figures
from jaxad.report.html import facts_html, notes_html, page, table_html
from jaxad.report.significance import significance_figures
from jaxad.report.spectra import spectrum_figures
from jaxad.report.summary import (
    CHECKED,
    HEADER,
    checks,
    duration,
    global_text,
    rows,
    summary_figure,
)
from jaxad.search import weights


def search_results(found: Found) -> dict[str, Figure]:
    """All figures of the content of `search.json`, the page in small first."""
    figures = {"search_summary": summary_figure(found)}
    figures |= significance_figures(found) | calibration_figures(found)
    return figures | spectrum_figures(found)


def search_report(found: Found, images: Mapping[str, bytes], config: Mapping[str, Any]) -> str:
    """The self-contained page of a search; images: name -> PNG."""
    blind = "; blinded: what was observed is shown by --unblind" if found["blind"] else ""
    facts = [
        ("global p", global_text(found)),
        ("pseudo-experiments", f"{found['n_toys']:,} a window"),
        ("trainings", f"{found['n_trainings']:,} in {duration(found['seconds'])}"),
        ("settings hash", found["settings_hash"]),
    ]
    for cut, one in ((found["global"] or {}).get("gross_vitells") or {}).items():
        crossings = f"{one['upcrossings']:.2g} crossings of 0 a scan"
        facts.append((f"Gross and Vitells, cut {cut}", f"p ≤ {one['p_global']:.2g}, {crossings}"))
    claims = [f"cannot claim: {text}" for text in found["cannot_claim"]]
    second, weighted = list(checks(found)), weights.said(found)
    sections = {
        "Results": table_html(HEADER, list(rows(found)))
        + facts_html(facts)
        + notes_html([*([weighted] if weighted else []), *claims])
    }
    if second:
        sections["Cross-checks"] = table_html(CHECKED, second)
    return page(
        title=f"Search in {found['mass']['name']} of {found['data']['source']}",
        sections=sections,
        images=images,
        config=config,
        provenance=found["provenance"],
        notes=[f"Mass in {found['mass']['unit']}, on {', '.join(found['features'])}{blind}."],
    )
