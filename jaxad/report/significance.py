"""What a search found, and what it would find: local and global p-values, power.

All draw the content of `search.json`, as `jaxad.report.calibration` does.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtr, ndtri

from jaxad.data.table import GEV
from jaxad.report.calibration import (
    Found,
    extrapolation_error,
    mass_label,
    say,
    sigma_lines,
    window_name,
)
from jaxad.report.style import DASHED, SIGNALS, line_style, new_figure, styled


def significance_figures(found: Found) -> dict[str, Figure]:
    """Those that the search has numbers for; a blinded one has no p-values."""
    figures = {}
    if not found["blind"] and found["n_toys"]:
        figures["p_values"] = p_value_figure(found)
    for window in found["windows"]:
        if "points" in window.get("power", {}):
            figures[f"power_{window['name']}"] = power_figure(found, window)
    return figures


@styled
def p_value_figure(found: Found) -> Figure:
    """Local p of each cut against the window's mass, with global p."""
    figure = new_figure(7.6, 5.4)
    draw_p_values(figure.subplots(), found)
    return figure


def draw_p_values(axes: Axes, found: Found) -> None:
    """p-values by pseudo-experiments; bounds are arrows, extrapolations open."""
    if found["blind"] or not found["n_toys"]:
        say(axes, "local p: blinded" if found["blind"] else "no pseudo-experiments")
        return
    windows, whole = found["windows"], found["global"]
    scale, cuts = GEV[found["mass"]["unit"]], list(windows[0]["cuts"])
    lowest = [1 / (1 + found["n_toys"])]
    for i, cut in enumerate(cuts):
        axes.plot([], [], "o", color=SIGNALS[i], label=f"cut {cut}")
        places = []
        for window in windows:
            low, high = window["low"] / scale, window["high"] / scale
            shift = 0.05 * (i - (len(cuts) - 1) / 2)
            places.append((low + high) / 2 + shift * (high - low))
            lowest.append(_p_value(axes, places[-1], 0.02 * (high - low), window["cuts"][cut], i))
        if len(windows) > 2:  # a scan
            p = [window["cuts"][cut]["p_local"]["p"] for window in windows]
            axes.plot(places, p, color=SIGNALS[i], linewidth=0.7, alpha=0.6)
    for window in windows:
        style = {"color": "black", "alpha": 0.05, "linewidth": 0}
        axes.axvspan(window["low"] / scale, window["high"] / scale, **style)
    sign, least = ("<", ">") if whole["is_bound"] else ("=", "")
    sigma = "" if whole["z"] is None else f" ({least}{whole['z']:.1f}σ)"
    text = f"global p {sign} {whole['p']:.2g}{sigma}"
    axes.axhline(whole["p"], color="black", linestyle=DASHED, linewidth=1.2, label=text)
    text = f"reach of {found['n_toys']:,} toys"
    axes.axhline(lowest[0], color="0.5", linestyle=":", linewidth=1.2, label=text)
    bottom = max(min(lowest) / 3, 1e-12)
    axes.margins(x=0.03)
    axes.set(yscale="log", ylim=(bottom, 1.6), xlabel=mass_label(found), ylabel="local p")
    sigma_lines(axes, bottom, axes.axhline)
    style = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(fontsize="x-small", ncols=3, **style)


def _p_value(axes: Axes, x: float, step: float, one: Mapping[str, Any], color: int) -> float:
    """A cut's p and, `step` beside, the extrapolated one; returns the lowest end."""
    p, more = one["p_local"], one["extrapolated"]
    bound = p["is_bound"]
    bottom = 0.35 * p["p"] if bound else p["p"] - p["low"]
    style = {"color": SIGNALS[color], "ms": 5, "elinewidth": 1.2, "capsize": 2}
    error = [[bottom], [0 if bound else p["high"] - p["p"]]]
    axes.errorbar(x, p["p"], error, fmt="v" if bound else "o", uplims=bound, **style)
    if not more or more["z"] is None:
        return p["p"] - bottom
    error = extrapolation_error(more)
    low, middle, high = (ndtr(-more["z"] + k * error) for k in (-1, 0, 1))
    bars = [[middle - low], [high - middle]]
    axes.errorbar(x + step, middle, bars, fmt="D", mfc="white", **style)
    return float(low)


@styled
def power_figure(found: Found, window: Mapping[str, Any]) -> Figure:
    """Calibrated significance and power against the number of injected events."""
    figure = new_figure(10.4, 4.8)
    left, right = figure.subplots(1, 2)
    draw_power(left, found, window)
    left.set_title(window_name(found, window), fontsize="medium")
    marks = {"2": {"linestyle": "solid"}, "3": {"linestyle": DASHED, "mfc": "white"}}
    far = [level for level in marks if 1 / (1 + found["n_toys"]) > ndtr(-int(level))]
    out_of_reach = f"{' and '.join(far)}σ: out of reach of {found['n_toys']:,} toys"
    if len(far) == len(marks):
        say(right, out_of_reach)
        return figure
    for i, cut in enumerate(window["cuts"]):
        for level in [level for level in marks if level not in far]:
            share = [point[cut][f"power_{level}"] for point in window["power"]["points"]]
            style = marks[level] | {"color": SIGNALS[i], "marker": "o", "ms": 4}
            right.plot(window["power"]["injected"], share, label=f"cut {cut}, {level}σ", **style)
    if far:
        right.plot([], [], " ", label=out_of_reach)
    right.margins(x=0.03)
    right.set(xlabel="injected signal events", ylabel="share of experiments beyond")
    right.set(ylim=(-0.03, 1.45), yticks=np.linspace(0, 1, 6))
    right.legend(loc="upper left", fontsize="x-small", ncols=2)
    return figure


def draw_power(axes: Axes, found: Found, window: Mapping[str, Any]) -> None:
    """Median calibrated significance, 68 % band, and how far the pseudo-experiments reach."""
    power = window["power"]
    for i, cut in enumerate(window["cuts"]):
        each = [[p[cut][key] for p in power["points"]] for key in ("median", "low", "high")]
        style = {"color": SIGNALS[i], "linestyle": line_style(i)}
        axes.plot(power["injected"], each[0], "o", ms=4, label=f"cut {cut}", **style)
        axes.fill_between(power["injected"], *each[1:], color=SIGNALS[i], alpha=0.2, linewidth=0)
    reach = float(-ndtri(1 / (1 + found["n_toys"])))
    text = f"reach of {found['n_toys']:,} toys"
    axes.axhline(reach, color="0.4", linestyle=":", linewidth=1.2, label=text)
    inside = f"injected signal events ({power['in_window']:.0%} in the window)"
    axes.margins(x=0.03)
    axes.set(xlabel=inside, ylabel="calibrated significance [σ]")
    bottom = max(axes.get_ylim()[0], -2.5)  # of no event p is 1
    axes.set_ylim(bottom, reach + 0.3 * (reach - bottom))
    axes.legend(loc="upper left", fontsize="x-small", ncols=2)
