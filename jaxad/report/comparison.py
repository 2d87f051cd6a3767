"""Figures that set runs and methods side by side: AUC per signal, AUC against latency."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxad.report.style import BACKGROUND, new_figure, signal_colors, styled


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
        marker = "osD^vP*X"[i % 8]
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
    points: Mapping[str, tuple[float, float, float | None]], *, title: str = ""
) -> Figure:
    """AUC against latency per event, with the front of methods that nothing faster betters.

    points: label -> (latency [s], auc, error of the auc or None).
    """
    figure = new_figure()
    axes = figure.add_subplot()
    latency = np.array([point[0] for point in points.values()]) * 1e6
    quality = np.array([point[1] for point in points.values()])
    front = pareto_front(latency, quality)
    axes.set(xscale="log", title=title)
    axes.step(latency[front], quality[front], where="post", color=BACKGROUND, ls="dashed", lw=1.2)
    colors = signal_colors(points)
    for i, (label, (_, value, error)) in enumerate(points.items()):
        fill = colors[label] if i in front else "white"
        axes.errorbar(
            latency[i], value, yerr=error or 0.0, fmt="o", ms=8, color=colors[label], mfc=fill
        )
        axes.annotate(
            label,
            (latency[i], value),
            (8, 6),
            textcoords="offset points",
            fontsize="small",
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none"},
        )
    axes.set_xlim(latency.min() / 2, latency.max() * 8)
    axes.margins(y=0.15)
    axes.set_xlabel("latency per event [µs]")
    axes.set_ylabel("AUC")
    return figure
