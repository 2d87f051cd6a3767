"""Does a search mean what it says? Coverage of its pseudo-experiments, closure in false windows.

All draw the content of `search.json`, masses in the user's unit. Panels are functions of their own,
which the page of `jaxad.report.summary` shares.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy.special import ndtr

from jaxad.data.table import GEV
from jaxad.report.style import BACKGROUND, DASHED, SIGNALS, new_figure, styled
from jaxad.report.tables import value_text

Found = Mapping[str, Any]
"""The content of `search.json`, see `jaxad.search.results.content`."""

MANY = 4
"""Windows, above which they share one colour and the legend gives ranges."""


def calibration_figures(found: Found) -> dict[str, Figure]:
    """Those that the search has numbers for."""
    figures, cuts = {}, list(found["windows"][0]["cuts"])
    every = [one for window in found["windows"] for one in window["cuts"].values()]
    if any(one["coverage"] for one in every):
        figures["coverage"] = _panels(found, cuts, draw_coverage)
    if any(one["closure"] for one in every):
        figures["closure"] = _panels(found, cuts, draw_closure)
        figures["template_auc"] = template_auc_figure(found)
    return figures


def mass_label(found: Found) -> str:
    """Of an axis."""
    return f"{found['mass']['name']} [{found['mass']['unit']}]"


def window_name(found: Found, window: Mapping[str, Any]) -> str:
    """Its borders in the user's unit."""
    scale, unit = GEV[found["mass"]["unit"]], found["mass"]["unit"]
    return f"{window['low'] / scale:g}–{window['high'] / scale:g} {unit}"


def total_error(one: Mapping[str, Any]) -> float:
    """Of the expected background of a cut, in events."""
    parts = (one["relative_errors"][name] for name in ("template", "fit", "closure"))
    return float(one["b"] * np.sqrt(sum(part**2 for part in parts)))


def number_text(value: float) -> str:
    """A number in three digits; in full from 100 to ten millions."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"


def expected_text(one: Mapping[str, Any]) -> str:
    """The expected background of a cut and its error."""
    error = total_error(one)
    if 1e-3 < error < 1e7:
        return value_text(one["b"], error)
    return f"{number_text(one['b'])} ± {error:.2g}"


def extrapolation_error(more: Mapping[str, Any]) -> float:
    """Of an extrapolated significance: of other laws of the tail and of the line, in quadrature."""
    return float(np.hypot(more["error"] or 0.0, more["fit_error"] or 0.0))


def say(axes: Axes, text: str) -> None:
    """Words in the place of a panel that there is nothing for."""
    axes.set_axis_off()
    style = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, text, color="0.3", wrap=True, **style)


def sigma_lines(axes: Axes, least: float, line: Any) -> None:
    """Dotted lines at 1, 2, 3 ... sigma as far as `least`, named on the right or at the top."""
    for z in range(1, 7):
        p = float(ndtr(-z))
        if p < least:
            break
        line(p, color="0.6", linewidth=0.7, linestyle=":", zorder=0)
        style = {"color": "0.4", "fontsize": "x-small", "ha": "right"}
        if line == axes.axvline:
            style |= {"transform": axes.get_xaxis_transform(), "va": "top"}
            axes.text(p, 0.98, f"{z}σ", **style)
        else:
            style |= {"transform": axes.get_yaxis_transform(), "va": "bottom"}
            axes.text(0.99, p, f"{z}σ", **style)


@styled
def _panels(found: Found, cuts: Sequence[str], draw: Callable[..., None]) -> Figure:
    """A panel a cut."""
    figure = new_figure(4.9 * len(cuts), 4.9)
    for axes, cut in zip(figure.subplots(1, len(cuts), squeeze=False)[0], cuts, strict=True):
        draw(axes, found, cut)
        axes.set_title(f"background efficiency {cut}", fontsize="medium")
    return figure


def _coloured(found: Found) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Windows with their line's style."""
    many = len(found["windows"]) > MANY
    for i, window in enumerate(found["windows"]):
        color = BACKGROUND if many else SIGNALS[i]
        yield window, {"color": color, "linewidth": 0.8 if many else 1.8}


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def draw_coverage(axes: Axes, found: Found, cut: str) -> None:
    """Share of pseudo-experiments at or below each nominal p, with what an honest p would give."""
    drawn = [(w, style, w["cuts"][cut]["coverage"]) for w, style in _coloured(found)]
    drawn = [(w, style, one) for w, style, one in drawn if one]
    if not drawn:
        say(axes, "too few pseudo-experiments")
        return
    for window, style, one in drawn:
        label = (
            f"{window_name(found, window)}\npull {one['mean']:.2f} ± {one['mean_error']:.2f}, "
            f"width {one['width']:.2f} ± {one['width_error']:.2f}"
        )
        _coverage_line(axes, one, style | {"label": None if len(drawn) > MANY else label})
    if len(drawn) > MANY:
        means, widths = ([one[key] for _, _, one in drawn] for key in ("mean", "width"))
        text = f"{len(drawn)} windows\npull {_range(means)},\nwidth {_range(widths)}"
        axes.plot([], [], color=BACKGROUND, label=text)
    _honest(axes, drawn[0][2])
    axes.legend(loc="lower right", fontsize="x-small")


def draw_coverage_of_cuts(axes: Axes, found: Found, window: Mapping[str, Any]) -> None:
    """The same of all cuts of one window."""
    for i, (cut, entries) in enumerate(window["cuts"].items()):
        if one := entries["coverage"]:
            label = f"{cut}: width {one['width']:.2f} ± {one['width_error']:.2f}"
            _coverage_line(axes, one, {"color": SIGNALS[i], "label": label})
            last = one
    if not axes.lines:
        say(axes, "too few pseudo-experiments")
        return
    _honest(axes, last)
    axes.legend(loc="lower right", fontsize="x-small")


def _coverage_line(axes: Axes, one: Mapping[str, Any], style: Mapping[str, Any]) -> None:
    nominal, share = np.array(one["nominal"]), np.array(one["empirical"])
    axes.plot(nominal, np.where(share > 0, share, np.nan), drawstyle="steps-mid", **style)


def _honest(axes: Axes, one: Mapping[str, Any]) -> None:
    """The band of an honest p, and where 1, 2, 3 ... sigma lie."""
    nominal, least = np.array(one["nominal"]), 0.5 / one["n_toys"]
    low, high = (np.maximum(one[f"band_{end}"], least) for end in ("low", "high"))
    axes.fill_between(nominal, low, high, color="0.85", linewidth=0, zorder=0, label="95 % band")
    axes.plot(nominal, nominal, color="black", linewidth=0.8, zorder=1)
    axes.set(xscale="log", yscale="log", xlim=(1 / one["n_toys"], 0.5))
    axes.set_ylim(least, 1)
    for axis in (axes.xaxis, axes.yaxis):  # of one decade it would label all, one over the other
        axis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="nominal p", ylabel="share of pseudo-experiments")
    sigma_lines(axes, 1 / one["n_toys"], axes.axvline)


def draw_closure(axes: Axes, found: Found, cut: str) -> None:
    """How far counts of false windows are off, their mean, and the error that is taken for it."""
    scale, many = GEV[found["mass"]["unit"]], len(found["windows"]) > MANY
    for window, style in _coloured(found):
        one = window["cuts"][cut]["closure"]
        if not one:
            continue
        low, high = np.transpose(window["false_windows"]) / scale
        label = (
            f"{window_name(found, window)}: mean {one['mean']:+.2f} ± {one['sigma']:.2f}\n"
            f"$\\chi^2$/ndof {one['chi2']:.1f}/{one['ndof']}"
            + (", no claim" if one["refused"] else "")
        )
        bars = {"fmt": "o", "ms": 4, "color": style["color"], "elinewidth": 1}
        place = (low + high) / 2, one["delta"], one["delta_error"], (high - low) / 2
        axes.errorbar(*place, label=None if many else label, **bars)
        ends = [low.min(), high.max()]
        axes.plot(ends, [one["mean"]] * 2, linestyle=DASHED, **(style | {"linewidth": 1.2}))
        if not many:
            edges = one["mean"] - one["sigma"], one["mean"] + one["sigma"]
            axes.fill_between(ends, *edges, color=style["color"], alpha=0.15, linewidth=0)
    if not axes.lines:
        say(axes, "no closure test")
        return
    axes.axhline(0, color="black", linewidth=0.8)
    axes.margins(x=0.03)
    axes.set(xlabel=mass_label(found), ylabel="observed / expected − 1 in false windows")
    bottom, top = axes.get_ylim()
    axes.set_ylim(
        bottom, top + (0.16 + 0.13 * (1 if many else len(found["windows"]))) * (top - bottom)
    )
    if many:
        means = [w["cuts"][cut]["closure"]["mean"] for w in found["windows"]]
        refused = sum(bool(w["cuts"][cut]["closure"]["refused"]) for w in found["windows"])
        text = f"{len(means)} windows: means {_range(means)}"
        text += f", {refused} without a claim" if refused else ""
        axes.plot([], [], color=BACKGROUND, label=text)
    axes.legend(loc="upper left", fontsize="x-small")


@styled
def template_auc_figure(found: Found) -> Figure:
    """Can data of the false windows be told from the template's draws?"""
    figure = new_figure(6.4, 4.6)
    draw_template_auc(figure.subplots(), found)
    return figure


def draw_template_auc(axes: Axes, found: Found) -> None:
    """AUC of boosted trees, out of fold, in the false windows of every window."""
    scale, many = GEV[found["mass"]["unit"]], len(found["windows"]) > MANY
    for window, style in _coloured(found):
        kept = [i for i, one in enumerate(window["template"]) if one["auc"] is not None]
        if not kept:
            continue
        low, high = np.transpose([window["false_windows"][i] for i in kept]) / scale
        auc, error = ([window["template"][i][key] for i in kept] for key in ("auc", "auc_err"))
        bars = {"fmt": "o", "ms": 4, "color": style["color"], "elinewidth": 1}
        label = None if many else window_name(found, window)
        axes.errorbar((low + high) / 2, auc, error, (high - low) / 2, label=label, **bars)
    if not axes.containers:
        say(axes, "too few events in false windows")
        return
    axes.axhline(0.5, color="black", linewidth=0.8, label="exact template")
    bottom, top = axes.get_ylim()
    axes.margins(x=0.03)
    axes.set_ylim(min(bottom, 0.465), max(top, 0.53) + 0.25 * (top - bottom))
    axes.set(xlabel=mass_label(found), ylabel="AUC, data against template")
    axes.legend(loc="upper left", fontsize="x-small", ncols=2)
