"""Figures that set runs and methods side by side: AUC per signal, AUC against latency."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import ArrayLike

from jaxad.report.style import BACKGROUND, SIGNALS, new_figure, signal_colors, styled

MARKERS = "osD^vP*X"


@styled
def auc_figure(
    values: Mapping[str, Mapping[str, tuple[float | None, float | None]]], *, title: str = ""
) -> Figure:
    """AUC of many rows (runs or scores) side by side, a marker a signal.

    values: row -> signal -> (auc, error); missing signals and None leave gaps.
    """
    signals = list(dict.fromkeys(signal for row in values.values() for signal in row))
    figure = new_figure(7.6, 1.6 + 0.42 * len(values))
    axes = figure.add_subplot()
    colors = signal_colors(signals)
    for i, signal in enumerate(signals):
        found = [(j, *row[signal]) for j, row in enumerate(values.values()) if signal in row]
        found = [(j, value, error or 0.0) for j, value, error in found if value is not None]
        height, value, error = np.array(found or np.empty((0, 3)), np.float64).T
        offset = 0.5 * ((i + 0.5) / len(signals) - 0.5)
        marker = MARKERS[i % len(MARKERS)]
        axes.errorbar(
            value, height + offset, xerr=error, fmt=marker, ms=6, color=colors[signal], label=signal
        )
    for edge in range(1, len(values)):
        axes.axhline(edge - 0.5, color="0.85", linewidth=0.8, zorder=0)
    axes.axvline(0.5, color="black", linestyle="dotted", linewidth=1)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.tick_params(axis="y", which="minor", left=False, right=False)
    axes.set(xlabel="AUC", title=title)
    axes.set_xlim(min(0.48, axes.get_xlim()[0]), 1.01)
    if signals:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def pareto_front(latency: ArrayLike, quality: ArrayLike) -> np.ndarray:
    """Indices, by rising latency, of the points that no faster point equals or betters."""
    order = np.lexsort((-np.asarray(quality), np.asarray(latency)))
    best, front = -np.inf, []
    for i in order:
        if np.asarray(quality)[i] > best:
            best = np.asarray(quality)[i]
            front.append(i)
    return np.array(front, np.int64)


@styled
def pareto_figure(
    panels: Mapping[str, Mapping[str, tuple[float, float, float | None]]], *, xlabel: str
) -> Figure:
    """AUC against time per event, with the front of methods that nothing faster betters.

    panels: signal -> label -> (time [s], auc, error of the auc or None); drawn in microseconds.
    Points of the front are filled.
    """
    labels = list(dict.fromkeys(label for points in panels.values() for label in points))
    n_columns = math.ceil(math.sqrt(len(panels)))
    n_rows = -(-len(panels) // n_columns)
    figure = new_figure(4.2 * n_columns + 2.2, max(3.4 * n_rows, 0.3 * len(labels) + 0.6))
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True)
    colors = signal_colors(labels)
    markers = {label: MARKERS[i // len(SIGNALS) % len(MARKERS)] for i, label in enumerate(labels)}
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (signal, points) in zip(grid.flat, panels.items(), strict=False):
        latency = np.array([point[0] for point in points.values()]) * 1e6
        quality = np.array([point[1] for point in points.values()])
        front = pareto_front(latency, quality)
        axes.set(xscale="log", title=signal, ylabel="AUC")
        style = {"color": BACKGROUND, "ls": "dashed", "lw": 1.2}
        axes.step(latency[front], quality[front], where="post", **style)
        for i, (label, (_, value, error)) in enumerate(points.items()):
            style = {"fmt": markers[label], "ms": 7, "color": colors[label]}
            style["mfc"] = colors[label] if i in front else "white"
            axes.errorbar(latency[i], value, yerr=error or 0.0, **style)
        axes.margins(x=0.1, y=0.1)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in grid[-1]:
        axes.set_xlabel(xlabel)
    handles = [Line2D([], [], marker=markers[x], color=colors[x], ls="none") for x in labels]
    figure.legend(handles, labels, loc="outside right upper")
    return figure
