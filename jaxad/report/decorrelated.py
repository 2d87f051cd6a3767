"""Figures of thresholds that follow observables, beside one threshold."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from jaxad.report.style import BACKGROUND, SIGNALS, new_figure, styled

KINDS = {
    "single": ("one threshold", BACKGROUND, "s"),
    "following": ("following", SIGNALS[0], "o"),
}

Labels = Mapping[str, tuple[str, str]]  # observable -> (text, unit)


def following_figures(found: Mapping[str, Any], labels: Labels) -> dict[str, Figure]:
    """The flagged background in bins of each observable; signals' efficiencies in the first.

    Args:
        found: of `jaxad.metrics.decorrelated.measure`.
        labels: of the observables.
    """
    figures = {"following_flatness": flatness_figure(found, labels)}
    if found["single"]["signals"]:
        figures["following_efficiency"] = efficiency_figure(found, labels)
    return figures


def _axis(name: str, labels: Labels) -> str:
    text, unit = labels.get(name, (name, ""))
    return f"{text} [{unit}]" if unit else text


def _spread(axes: Axes, bins: Mapping[str, Any]) -> None:
    """A logarithmic axis where the bins stretch far; room beside the first and the last."""
    mean = np.array(bins["mean"])
    if mean.min() > 0 and mean.max() > 8 * mean.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.06)


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    """`n` axes, two in a row."""
    columns = min(2, n)
    lines = -(-n // columns)
    figure = new_figure(5.4 * columns, 3.9 * lines)
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in grid[n:]:
        axes.set_visible(False)
    return figure, grid[:n]


def _draw(axes: Axes, bins: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> None:
    """Fractions in bins by both kinds of thresholds."""
    top = 0.0
    for kind, (_, color, marker) in KINDS.items():
        x, y, error = (np.array(bins[kind][key]) for key in ("mean", "fraction", "error"))
        style = {"fmt": marker, "ms": 5, "elinewidth": 1}
        axes.errorbar(x, y, error, color=color, label=labels[kind], **style)
        top = max(top, float((y + error).max()))
    _spread(axes, bins["single"])
    axes.set_ylim(0, 1.45 * top)
    axes.legend(loc="upper left")


@styled
def flatness_figure(found: Mapping[str, Any], labels: Labels) -> Figure:
    """Flagged fraction of the background in bins of each observable, with chi2 / ndf."""
    figure, panels = _panels(len(found["observables"]))
    for axes, name in zip(panels, found["observables"], strict=True):
        bins = {kind: found[kind]["flatness"][name] for kind in KINDS}
        texts = {
            kind: f"{KINDS[kind][0]}: χ² / ndf {one['chi2']:.3g} / {one['ndof']}"
            for kind, one in bins.items()
        }
        _draw(axes, bins, texts)
        axes.axhline(found["fpr"], color="black", linestyle="dotted", linewidth=1)
        axes.set(xlabel=_axis(name, labels), ylabel="flagged fraction")
    return figure


@styled
def efficiency_figure(found: Mapping[str, Any], labels: Labels) -> Figure:
    """Efficiency of each signal in bins of the first observable, before and after."""
    signals = list(found["single"]["signals"])
    figure, panels = _panels(len(signals))
    for axes, signal in zip(panels, signals, strict=True):
        bins = {kind: found[kind]["signals"][signal]["bins"] for kind in KINDS}
        _draw(axes, bins, {kind: text for kind, (text, *_) in KINDS.items()})
        axes.axhline(found["fpr"], color="black", linestyle="dotted", linewidth=1)
        axes.set(xlabel=_axis(found["observables"][0], labels), ylabel="efficiency", title=signal)
    return figure
