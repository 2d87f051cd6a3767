"""Figures of working points: the ROC curve and the significance improvement along it."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxad import metrics
from jaxad.metrics.ensembles import pairs
from jaxad.metrics.ranked import Ranked
from jaxad.report.style import DASHED, line_style, new_figure, signal_colors, styled
from jaxad.report.tables import value_text

Curves = Mapping[str, tuple[ArrayLike, ArrayLike]]  # label -> (background, signal) scores
LEGEND_INSIDE = 8  # longer legends go beside the axes


Pairs = Sequence[tuple[Ranked, Ranked]]  # background and signal of each member


def _start(every: Pairs) -> float:
    """FPR above which ten background events are flagged, effective ones where weights differ."""
    first, _ = every[0]
    if first.weight is None:
        return metrics.MIN_BACKGROUND / len(first)
    return metrics.lowest_fpr(first, max_relative_error=metrics.MIN_BACKGROUND**-0.5)


def _spread_text(values: ArrayLike, decimals: int) -> str:
    """Median of the members and the distances to their 16 and 84 % quantiles."""
    median, low, high = metrics.band(values)
    up, down = high - median, median - low
    return f"{median:.{decimals}f} (+{up:.{decimals}f} −{down:.{decimals}f})"


def _auc_text(every: Pairs) -> str:
    found = [metrics.auc_with_error(*pair) for pair in every]
    if len(found) > 1:
        return _spread_text([value for value, _ in found], 3)
    return value_text(*found[0])


def _sic_text(every: Pairs, max_relative_error: float) -> str:
    found = [metrics.max_sic(*pair, max_relative_error) for pair in every]
    found = [point for point in found if point["max_sic"] is not None]
    if not found:
        return "-, too few events"
    if len(every) > 1:
        return _spread_text([point["max_sic"] for point in found], 2)
    return value_text(found[0]["max_sic"], found[0]["max_sic_err"])


def _page(n_curves: int) -> Figure:
    """A figure with room for the legend: inside the axes while short, else beside."""
    if n_curves < LEGEND_INSIDE:
        return new_figure()
    return new_figure(9.6, max(5.2, 0.22 * n_curves + 1.2))


def _legend(axes: Axes, n_curves: int, location: str) -> None:
    if n_curves < LEGEND_INSIDE:
        axes.legend(loc=location)
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def draw_band(axes: Axes, x: ArrayLike, band: Sequence[ArrayLike], **style: Any) -> None:
    """Median line and, where the members differ, their 16-84 % band."""
    median, low, high = band
    axes.plot(x, median, **style)
    if np.any(np.asarray(high) > np.asarray(low)):
        axes.fill_between(x, low, high, color=style["color"], alpha=0.25, linewidth=0)


def _style_of(label: str, index: int, colors: Mapping[str, str], dashed: Collection[str]) -> dict:
    style = DASHED if label in dashed else line_style(index)
    return {"color": colors[label], "linestyle": style}


@styled
def roc_figure(
    curves: Curves,
    *,
    colors: Mapping[str, str] | None = None,
    dashed: Collection[str] = (),
    title: str = "",
    tpr_scale: str = "linear",
    weights: Mapping[str, metrics.Weights] | None = None,
) -> Figure:
    """ROC curves as triggers are judged: TPR against FPR on a logarithmic axis.

    curves: label -> (background, signal) scores, (N,) or (M, N); an ensemble is drawn as the median
    with the 16-84 % band. Curves start at the FPR of 10 background events; the shaded part of the
    axis lies below. The legend gives the AUC. dashed: labels of baselines.
    tpr_scale: "linear" or "log", the latter to compare with chance at low FPR. weights: label ->
    weights of the events of both classes; ten events are then effective ones.
    """
    figure = _page(len(curves))
    axes = figure.add_subplot()
    colors = {**signal_colors(curves), **(colors or {})}
    starts = []
    for i, (label, (background, signal)) in enumerate(curves.items()):
        every = pairs(background, signal, (weights or {}).get(label))
        start = min(_start(every), 0.5)
        starts.append(start)
        grid = np.geomspace(start, 1, 400)
        text = f"{label}, AUC {_auc_text(every)}"
        style = _style_of(label, i, colors, dashed)
        band = metrics.band_of(every, grid)
        draw_band(axes, grid, band, label=text, **style)
    lowest = 10.0 ** math.floor(math.log10(min(starts)) + 1e-9)
    chance = np.geomspace(lowest, 1, 100)
    axes.plot(chance, chance, color="black", linestyle="dotted", linewidth=1, label="random")
    if min(starts) > lowest * 1.01:
        text = f"fewer than {metrics.MIN_BACKGROUND} background events"
        axes.axvspan(lowest, min(starts), color="0.92", linewidth=0, zorder=0, label=text)
    axes.set(xscale="log", yscale=tpr_scale, xlim=(lowest, 1), title=title)
    axes.set_ylim(*((lowest, 1.5) if tpr_scale == "log" else (0, 1.02)))
    axes.set_xlabel("false positive rate (background)")
    axes.set_ylabel("true positive rate (signal)")
    _legend(axes, len(curves), "best")
    return figure


@styled
def sic_figure(
    curves: Curves,
    *,
    colors: Mapping[str, str] | None = None,
    dashed: Collection[str] = (),
    title: str = "",
    max_relative_error: float = 0.2,
    weights: Mapping[str, metrics.Weights] | None = None,
) -> Figure:
    """Significance improvement TPR / sqrt(FPR) against FPR, with the statistics cut drawn.

    curves, weights: as in `roc_figure`. Each curve starts where its background leaves a
    relative error of FPR below `max_relative_error`; the legend gives its maximum (of an ensemble:
    the median of the maxima with the 68 % band).
    """
    figure = _page(len(curves))
    axes = figure.add_subplot()
    colors = {**signal_colors(curves), **(colors or {})}
    cuts = set()
    for i, (label, (background, signal)) in enumerate(curves.items()):
        every = pairs(background, signal, (weights or {}).get(label))
        cut = metrics.lowest_fpr(every[0][0], max_relative_error=max_relative_error)
        cuts.add(min(cut, 1.0))
        grid = np.geomspace(min(cut, 1.0), 1, 400)
        band = [tpr / np.sqrt(grid) for tpr in metrics.band_of(every, grid)]
        if cut >= 1:
            band = [np.full(len(grid), np.nan)] * 3
        text = f"{label}, max {_sic_text(every, max_relative_error)}"
        draw_band(axes, grid, band, label=text, **_style_of(label, i, colors, dashed))
    lowest = 10.0 ** math.floor(math.log10(min(cuts)) - 0.05)
    chance = np.geomspace(lowest, 1, 100)
    axes.plot(chance, np.sqrt(chance), color="black", ls="dotted", linewidth=1, label="random")
    for i, cut in enumerate(sorted(cuts)):
        text = f"FPR error {max_relative_error:.0%}" if i == 0 else None
        axes.axvline(cut, color="black", linestyle="dashed", linewidth=1, label=text)
    axes.axvspan(lowest, min(cuts), color="0.92", linewidth=0, zorder=0)
    axes.set(xscale="log", xlim=(lowest, 1), title=title)
    axes.set_ylim(0, 1.35 * max(axes.dataLim.y1, 1.0))
    axes.set_xlabel("false positive rate (background)")
    axes.set_ylabel("significance improvement  TPR / √FPR")
    _legend(axes, len(curves), "upper right")
    return figure
