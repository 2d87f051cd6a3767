"""One page of a search: its figures in small, its numbers, and what they do not say."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from jaxad.data.table import GEV
from jaxad.metrics.pseudo import FEW_EXCEEDANCES
from jaxad.report.calibration import (
    Found,
    draw_closure,
    draw_coverage_of_cuts,
    draw_template_auc,
    expected_text,
    extrapolation_error,
    number_text,
    say,
    window_name,
)
from jaxad.report.significance import draw_p_values, draw_power
from jaxad.report.spectra import doubt, draw_spectra
from jaxad.report.style import new_figure, styled
from jaxad.search import weights

WIDTH = 66  # letters of the text
MAX_ROWS = 10  # of its table
MAX_LINES = 28

HEADER = ("window", "cut", "expected", "observed", "nominal", "p local", "sigma", "S95 (expected)")


def count_text(n: float) -> str:
    """Events, or a sum of weights."""
    return str(n) if isinstance(n, int) else number_text(n)


def p_text(p: Mapping[str, Any] | None) -> str:
    """A p-value, with < where it is a bound."""
    return "-" if p is None else f"{'<' if p['is_bound'] else ''}{p['p']:.2g}"


def sigma_text(one: Mapping[str, Any]) -> str:
    """The significance of a cut: ~ where it is extrapolated, > where it is a bound."""
    more, p = one["extrapolated"], one["p_local"]
    if more and more["z"] is not None:
        return f"~{more['z']:.1f} ± {extrapolation_error(more):.2f}"
    if p is None or p["z"] is None:
        return "-"
    return f"{'>' if p['is_bound'] else ''}{p['z']:.1f}"


def rows(found: Found) -> Iterator[tuple[str, ...]]:
    """Texts of `HEADER`, a row a window and cut."""
    for window in found["windows"]:
        for cut, one in window["cuts"].items():
            name = window_name(found, window)
            expected = expected_text(one)
            limit = f"({number_text(one['limit']['median'])})"
            if "n" not in one:
                yield name, cut, expected, "blinded", "", "", "", limit
                continue
            yield (
                *(name, cut, expected, count_text(one["n"]), f"{one['z_nominal']:.2f}"),
                *(p_text(one["p_local"]), sigma_text(one)),
                f"{number_text(one['limit']['observed'])} {limit}",
            )


CHECKED = (
    *("window", "cut", "weighted template: n", "expected", "nominal, without closure"),
    *("spectrum: n", "fit of the sidebands", "fit p", "sculpting p", "BumpHunter p"),
)


def checks(found: Found) -> Iterator[tuple[str, ...]]:
    """Texts of `CHECKED`: counts by weighted p-values, and spectra after cuts; none while blind.

    What a fit that is in doubt expects is not given, see `doubt`.
    """
    for window in found["windows"]:
        if "spectra" not in window:
            continue
        carved = window.get("sculpting", {}).get("cuts", {})
        for cut, fit in window["spectra"].items():
            weighted = window.get("conformal", {}).get(cut, {})
            why, bump = doubt(window, cut), fit.get("bumphunter", {})
            bound = "<" if bump.get("exceedances", FEW_EXCEEDANCES) < FEW_EXCEEDANCES else ""
            yield (
                *(window_name(found, window), "none" if cut == "1" else cut),
                *(_number(weighted, key) for key in ("n", "b", "z_nominal")),
                *(_number(fit, "observed"), why or _number(fit, "expected")),
                *(_number(fit, "fit_p_value"), _number(carved.get(cut, {}), "p_value")),
                "-" if why else f"{bound}{_number(bump, 'p_global')}",
            )


def _number(entries: Mapping[str, Any], key: str) -> str:
    value = entries.get(key)
    return "-" if value is None else number_text(value)


def duration(seconds: float) -> str:
    """In the unit that suits."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def global_text(found: Found) -> str:
    """The global p in words, or why there is none."""
    whole = found["global"]
    if whole is None:
        return "blinded" if found["blind"] else "none without pseudo-experiments"
    sign = ">" if whole["is_bound"] else ""
    sigma = "" if whole["z"] is None else f", {sign}{whole['z']:.1f} sigma"
    return f"{p_text(whole)} [{whole['low']:.2g}, {whole['high']:.2g}]{sigma} ({whole['method']})"


def best(found: Found) -> tuple[Mapping[str, Any], str]:
    """The window and cut of the smallest local p; of a blinded search the first."""
    window, cut = found["global"]["best"] if found["global"] else (0, 0)
    chosen = found["windows"][window]
    return chosen, list(chosen["cuts"])[cut]


@styled
def summary_figure(found: Found) -> Figure:
    """Landscape A4: p local, coverage, closure, spectrum, power or template, and the numbers."""
    figure = new_figure(14.4, 8.6)
    axes = figure.subplots(2, 3, gridspec_kw={"width_ratios": (1, 1, 1.25)})
    window, cut = best(found)
    draw_p_values(axes[0, 0], found)
    draw_coverage_of_cuts(axes[0, 1], found, window)
    draw_closure(axes[1, 0], found, cut)
    if "points" in window.get("power", {}):
        draw_power(axes[1, 1], found, window)
    else:
        draw_template_auc(axes[1, 1], found)
    if "spectra" in window:
        draw_spectra(axes[1, 2], found, window)
    else:
        say(axes[1, 2], "mass spectra after cuts: blinded")
    titles = {axes[0, 1]: f"window {window_name(found, window)}", axes[1, 0]: f"cut {cut}"}
    for panel, title in titles.items():
        if panel.axison:
            panel.set_title(title, fontsize="small")
    axes[0, 2].set_axis_off()
    style = {"family": "DejaVu Sans Mono", "fontsize": 8.2, "va": "top", "ha": "left"}
    axes[0, 2].text(-0.04, 1.02, summary_text(found), transform=axes[0, 2].transAxes, **style)
    title = f"Search in {found['mass']['name']}" + (", BLINDED" if found["blind"] else "")
    figure.suptitle(f"{title}: global p {global_text(found)}" if found["global"] else title)
    return figure


def summary_text(found: Found) -> str:
    """The text of the page, lines of `WIDTH` letters."""
    unit = GEV[found["mass"]["unit"]]
    lines = [f"{'window':<13}{'cut':>6}{'n':>7}{'b':>15}{'p local':>10}{'sigma':>12}"]
    order = [(w, cut, one) for w in found["windows"] for cut, one in w["cuts"].items()]
    if found["global"]:
        order.sort(key=lambda entry: entry[2]["p_local"]["p"])
    for window, cut, one in order[:MAX_ROWS]:
        name = f"{window['low'] / unit:g}-{window['high'] / unit:g}"
        b = expected_text(one)
        n, p, sigma = (
            ("blind", "", "")
            if found["blind"]
            else (*(count_text(one["n"]), p_text(one["p_local"]), sigma_text(one)),)
        )
        lines.append(f"{name:<13}{cut:>6}{n:>7}{b:>15}{p:>10}{sigma:>12}")
    if len(order) > MAX_ROWS:
        which = "of the smallest p, all" if found["global"] else "first of all, the rest"
        lines.append(f"({MAX_ROWS} of {len(order)}: {which} in search.json)")
    if weighted := weights.said(found):
        lines += textwrap.wrap(weighted, WIDTH)
    lines += [
        "",
        f"global p             {global_text(found)}",
        f"pseudo-experiments   {found['n_toys']:,} a window",
        f"trainings            {found['n_trainings']:,} in {duration(found['seconds'])}",
        f"features             {_features(found['features'])}",
        f"settings             {found['settings_hash'][:16]}",
        "",
    ]
    if found["cannot_claim"]:
        lines.append("cannot be claimed:")
    for i, text in enumerate(found["cannot_claim"]):
        more = textwrap.wrap(text, WIDTH, initial_indent="- ", subsequent_indent="  ")
        if len(lines) + len(more) >= MAX_LINES:
            lines.append(f"- and {len(found['cannot_claim']) - i} more: search.json")
            break
        lines += more
    return "\n".join(lines)


def _features(names: list[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= WIDTH - 21 else f"{len(names)} of the table"
