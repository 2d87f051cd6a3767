"""Figures of curves and points: ROC, SIC, training, AUC per signal, AUC against latency."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from jaxad import metrics
from jaxad.report.style import (
    BACKGROUND,
    DASHED,
    SIGNALS,
    line_style,
    new_figure,
    signal_colors,
    styled,
)

Curves = Mapping[str, tuple[ArrayLike, ArrayLike]]  # label -> (background, signal) scores
LEGEND_INSIDE = 8  # longer legends go beside the axes


def _n_background(background: ArrayLike) -> int:
    first = background[0]
    return len(first) if np.ndim(first) else len(background)


def _spread_text(values: ArrayLike, decimals: int) -> str:
    """Median of the members and the distances to their 16 and 84 % quantiles."""
    median, low, high = metrics.band(values)
    up, down = high - median, median - low
    return f"{median:.{decimals}f} (+{up:.{decimals}f} −{down:.{decimals}f})"


def _auc_text(background: ArrayLike, signal: ArrayLike) -> str:
    pairs = [metrics.auc_with_error(b, s) for b, s in metrics.members(background, signal)]
    if len(pairs) > 1:
        return _spread_text([value for value, _ in pairs], 3)
    return f"{pairs[0][0]:.3f} ± {pairs[0][1]:.3f}"


def _sic_text(background: ArrayLike, signal: ArrayLike, max_relative_error: float) -> str:
    pairs = metrics.members(background, signal)
    found = [metrics.max_sic(*pair, max_relative_error) for pair in pairs]
    found = [point for point in found if point["max_sic"] is not None]
    if not found:
        return "-, too few events"
    if len(pairs) > 1:
        return _spread_text([point["max_sic"] for point in found], 2)
    return f"{found[0]['max_sic']:.2f} ± {found[0]['max_sic_err']:.2f}"


def _legend(axes: Axes, location: str) -> None:
    if len(axes.get_legend_handles_labels()[0]) > LEGEND_INSIDE:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        axes.legend(loc=location)


def _draw_band(axes: Axes, x: ArrayLike, band: Sequence[ArrayLike], **style: Any) -> None:
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
) -> Figure:
    """ROC curves as triggers are judged: TPR against FPR on a logarithmic axis.

    curves: label -> (background, signal) scores, (N,) or (M, N); an ensemble is drawn as the median
    with the 16-84 % band. Curves start at the FPR of 10 background events; the shaded part of the
    axis lies below. The legend gives the AUC. dashed: labels of baselines.
    tpr_scale: "linear" or "log", the latter to compare with chance at low FPR.
    """
    figure = new_figure(8.6 if len(curves) >= LEGEND_INSIDE else 6.4)
    axes = figure.add_subplot()
    colors = {**signal_colors(curves), **(colors or {})}
    starts = []
    for i, (label, (background, signal)) in enumerate(curves.items()):
        start = min(metrics.MIN_BACKGROUND / _n_background(background), 0.5)
        starts.append(start)
        grid = np.geomspace(start, 1, 400)
        text = f"{label}, AUC {_auc_text(background, signal)}"
        style = _style_of(label, i, colors, dashed)
        _draw_band(axes, grid, metrics.roc_band(background, signal, grid), label=text, **style)
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
    _legend(axes, "best")
    return figure


@styled
def sic_figure(
    curves: Curves,
    *,
    colors: Mapping[str, str] | None = None,
    dashed: Collection[str] = (),
    title: str = "",
    max_relative_error: float = 0.2,
) -> Figure:
    """Significance improvement TPR / sqrt(FPR) against FPR, with the statistics cut drawn.

    curves: as in `roc_figure`. Each curve starts where its background leaves a relative error of
    FPR below `max_relative_error`; the legend gives its maximum (of an ensemble: the median of the
    maxima with the 68 % band).
    """
    figure = new_figure(8.6 if len(curves) >= LEGEND_INSIDE else 6.4)
    axes = figure.add_subplot()
    colors = {**signal_colors(curves), **(colors or {})}
    cuts = set()
    for i, (label, (background, signal)) in enumerate(curves.items()):
        cut = metrics.min_sic_fpr(_n_background(background), max_relative_error)
        cuts.add(min(cut, 0.5))
        grid = np.geomspace(min(cut, 0.5), 1, 400)
        band = [tpr / np.sqrt(grid) for tpr in metrics.roc_band(background, signal, grid)]
        if cut >= 1:
            band = [np.full(len(grid), np.nan)] * 3
        text = f"{label}, max {_sic_text(background, signal, max_relative_error)}"
        _draw_band(axes, grid, band, label=text, **_style_of(label, i, colors, dashed))
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
    _legend(axes, "upper right")
    return figure


def _history_band(records: Sequence[Mapping[str, Any]], key: str) -> list[np.ndarray]:
    """Median, low and high of a record's value over the members, per epoch; NaN where missing."""
    rows = []
    for record in records:
        value = record.get(key)
        values = np.atleast_1d(np.asarray(np.nan if value is None else value, np.float64))
        values = values[np.isfinite(values)]
        rows.append(metrics.band(values) if len(values) else (np.nan,) * 3)
    return list(np.transpose(rows))


@styled
def training_figure(history: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """Training and validation loss against the epoch, one panel a stage, best epoch marked.

    history: records with stage, epoch, train_loss, val_loss and optionally learning_rate; losses
    are numbers or lists over the members (drawn as median and 68 % band). None and NaN leave gaps.
    The learning rate, where recorded and not constant, has its own panel beneath.
    """
    stages = list(dict.fromkeys(record.get("stage", "") for record in history))
    figure = new_figure(5.6 * max(len(stages), 1) + 0.6, 4.8)
    if not stages:
        figure.text(0.5, 0.5, "no epochs recorded", ha="center")
        return figure
    by_stage = [[r for r in history if r.get("stage", "") == stage] for stage in stages]
    rates = [_history_band(records, "learning_rate") for records in by_stage]
    varies = [
        np.nanmax(high) > np.nanmin(low) if np.isfinite(low).any() else False
        for _, low, high in rates
    ]
    heights = [3.5, 1] if any(varies) else [1]
    columns = figure.subplots(
        len(heights),
        len(stages),
        sharex="col",
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    ).T
    for i, (stage, records) in enumerate(zip(stages, by_stage, strict=True)):
        axes = columns[i][0]
        epochs = np.array([record["epoch"] for record in records])
        train, val = (_history_band(records, key) for key in ("train_loss", "val_loss"))
        # a single epoch has no line to draw: mark it
        marker = "o" if len(epochs) == 1 else None
        styles = {"marker": marker, "color": SIGNALS[1], "linestyle": DASHED, "label": "training"}
        _draw_band(axes, epochs, train, **styles)
        styles = {"marker": marker, "color": SIGNALS[0], "linestyle": "solid"}
        _draw_band(axes, epochs, val, label="validation", **styles)
        if np.isfinite(val[0]).any():
            best = int(np.nanargmin(val[0]))
            text = f"best epoch {epochs[best]} ({val[0][best]:.4g})"
            axes.axvline(epochs[best], color=BACKGROUND, ls="dotted", linewidth=1.2)
            axes.plot(epochs[best], val[0][best], "*", color="black", ms=11, ls="none", label=text)
        finite = np.concatenate([train[0], val[0]])
        finite = finite[np.isfinite(finite)]
        if len(finite) and finite.min() > 0 and finite.max() > 20 * finite.min():
            axes.set_yscale("log")
        axes.set_title(" ".join(part for part in (title, stage) if part))
        axes.set_ylabel("loss")
        axes.legend(loc="upper right")
        bottom = columns[i][-1]
        if varies[i]:
            _draw_band(bottom, epochs, rates[i], color="black", linestyle="solid")
            bottom.set(yscale="log", ylabel="learning rate")
        elif bottom is not axes:
            axes.tick_params(labelbottom=True)
            bottom.remove()
            bottom = axes
        bottom.set_xlabel("epoch")
        bottom.margins(x=0.02)
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


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
