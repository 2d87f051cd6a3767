"""Figures of the mass spectra of a search, before and after cuts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxad.data.table import GEV
from jaxad.report.calibration import Found, expected_text, mass_label, say, total_error, window_name
from jaxad.report.distributions import sculpting_figure
from jaxad.report.style import BACKGROUND, SIGNALS, new_figure, styled

LEAST_P = 0.05
"""Of a fit and of sculpting, below which what the fit expects in the window is not reported."""


def doubt(window: Mapping[str, Any], cut: str) -> str:
    """Why a fit of a spectrum says nothing of its window; "" where it does."""
    fit = window["spectra"][cut]
    if "reason" in fit:
        return "no fit"
    carved = window.get("sculpting", {}).get("cuts", {}).get(cut, {}).get("p_value")
    if carved is not None and carved < LEAST_P:
        return "sculpted"
    return "poor fit" if fit["fit_p_value"] < LEAST_P else ""


def spectrum_figures(found: Found) -> dict[str, Figure]:
    """Spectra of every window, and sculpting of its sidebands; none of a blinded search."""
    figures = {}
    for window in found["windows"]:
        if "spectra" in window:
            figures[f"spectra_{window['name']}"] = spectra_figure(found, window)
        if "sculpting" in window:
            figures[f"sculpting_{window['name']}"] = _sculpting(found, window)
    return figures


def _sculpting(found: Found, window: Mapping[str, Any]) -> Figure:
    name, unit = found["mass"]["name"], found["mass"]["unit"]
    carved = dict(window["sculpting"])
    carved["edges"] = (np.array(carved["edges"]) / GEV[unit]).tolist()
    title = f"sidebands of {window_name(found, window)}"
    return sculpting_figure(carved, observable=name, unit=unit, title=title)


@styled
def spectra_figure(found: Found, window: Mapping[str, Any]) -> Figure:
    """Data after each cut, the fit of their sidebands, and what the template expects inside."""
    figure = new_figure(7.6, 5.8)
    draw_spectra(figure.subplots(), found, window)
    return figure


def draw_spectra(axes: Axes, found: Found, window: Mapping[str, Any]) -> None:
    """The same on given axes."""
    scale, unit = GEV[found["mass"]["unit"]], found["mass"]["unit"]
    borders, spectra = (window["low"] / scale, window["high"] / scale), window["spectra"]
    filled = [np.array(one["edges"]) / scale for one in spectra.values() if "edges" in one]
    if not filled:
        say(axes, next(one["reason"] for one in spectra.values()))
        return
    edges, shown, highest = filled[0], np.zeros(len(filled[0]) - 1, bool), 1.0
    centres = (edges[1:] + edges[:-1]) / 2
    n_bins = int(((centres > borders[0]) & (centres < borders[1])).sum())
    for (cut, one), color in zip(spectra.items(), (BACKGROUND, *SIGNALS), strict=False):
        label = "no cut" if cut == "1" else f"cut {cut}"
        label += f": {doubt(window, cut) or 'fit p ' + format(one['fit_p_value'], '.2g')}"
        if cut in window["cuts"]:
            label += f", template {_template(axes, window['cuts'][cut], borders, n_bins, color)}"
        if "reason" in one:
            axes.plot([], [], color=color, linewidth=4, alpha=0.5, label=label)
            continue
        counts = np.array(one["counts"])
        some = counts > 0
        bars = {"fmt": "o", "ms": 3, "color": color, "elinewidth": 1, "label": label}
        axes.errorbar(centres[some], counts[some], np.sqrt(counts[some]), **bars)
        axes.plot(
            *(centres, one["fit"]),
            color=color,
            linewidth=1.4,
            linestyle=":" if doubt(window, cut) else "solid",
        )
        shown |= some
        highest = max(highest, counts.max(), max(np.array(one["fit"])[some], default=0))
    axes.axvspan(*borders, color="black", alpha=0.07, linewidth=0)
    width = f"{edges[1] - edges[0]:.3g} {unit}"
    axes.set(xlabel=mass_label(found), ylabel=f"events / {width}", yscale="log")
    if shown.any():
        axes.set_xlim(edges[:-1][shown].min(), edges[1:][shown].max())
    axes.set_ylim(0.08, 60 * highest)
    title = f"window {window_name(found, window)}; bars in it: template"
    axes.legend(loc="upper right", fontsize="x-small", title=title, title_fontsize="x-small")


def _template(
    axes: Axes, one: Mapping[str, Any], window: tuple[float, float], n_bins: int, color: str
) -> str:
    """Draws the expectation of a cut, spread evenly over the window's bins; "b ± error"."""
    mean, error = one["b"] / n_bins, total_error(one) / n_bins
    axes.plot(window, [mean, mean], color=color, linewidth=4, alpha=0.5, solid_capstyle="butt")
    ends = [max(mean - error, 1e-3)] * 2, [mean + error] * 2
    axes.fill_between(window, *ends, color=color, alpha=0.15, linewidth=0)
    return expected_text(one)
