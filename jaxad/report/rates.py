"""Figures of rates: against an integer threshold, of two detectors, against pile-up and period."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxad.metrics.roc import MIN_BACKGROUND
from jaxad.report.style import BACKGROUND, DASHED, SIGNALS, new_figure, styled

KEYS = ("fraction", "error"), ("rate", "rate_error")
PERIODS = {
    "first": ("first period, threshold fixed here", BACKGROUND, "s"),
    "second": ("second period, same threshold", SIGNALS[0], "o"),
    "after": ("second period, recalibrated", SIGNALS[1], "D"),
}


def _said(value: float, in_hertz: bool) -> str:
    return f"{value:,.0f} Hz" if in_hertz else f"{value:.3g}"


def _text(in_hertz: bool) -> str:
    return "accepted rate [Hz]" if in_hertz else "accepted fraction"


@styled
def rate_figure(
    every: Mapping[str, Sequence], points: Sequence[Mapping[str, Any]], *, score: str
) -> Figure:
    """Accepted rate of each integer threshold, its binomial error, and the wanted ones.

    Args:
        every: of `jaxad.metrics.rates.every_threshold`.
        points: of `jaxad.metrics.rates.at_fraction`; those refused are left out.
    """
    value, error = KEYS["rate" in every]
    x, y, dy = (np.asarray(every[key], np.float64) for key in ("threshold", value, error))
    figure = new_figure()
    axes = figure.add_subplot()
    axes.step(x, y, where="pre", color=BACKGROUND, linewidth=1.4)
    low = np.maximum(y - dy, y / 10)
    axes.fill_between(x, low, y + dy, step="pre", color=BACKGROUND, alpha=0.3, linewidth=0)
    drawn = [point for point in points if not point["reason"]]
    for i, point in enumerate(drawn):
        color = SIGNALS[i % len(SIGNALS)]
        wanted = point["wanted"] * (point[value] / point["fraction"])
        texts = [_said(x, value == "rate") for x in (wanted, point[value])]
        label = f"wanted {texts[0]}: ≥ {point['threshold']} gives {texts[1]}"
        axes.axhline(wanted, color=color, linestyle="dotted", linewidth=1.2)
        axes.errorbar(
            point["threshold"], point[value], point[error], fmt="o", color=color, label=label, ms=6
        )
    axes.set(yscale="log", xlabel=f"{score}, integer threshold", ylabel=_text(value == "rate"))
    if drawn:
        axes.legend(loc="upper right")
    return figure


@styled
def plane_figure(
    counts: Mapping[str, np.ndarray],
    n_total: int,
    points: Sequence[Mapping[str, Any]],
    *,
    names: tuple[str, str],
    input_rate: float | None = None,
    l1: bool = False,
) -> Figure:
    """Contours of the total rate of two detectors over their thresholds, and the working points.

    Args:
        counts: of `jaxad.metrics.rates.grid`; cells under ten events are left white.
        points: of `jaxad.metrics.rates.balanced`, a contour each.
        l1: whether a menu was given, so that contours of the pure rate are drawn too, dashed.
    """
    unit = 1.0 if input_rate is None else input_rate
    ta, tc = counts["thresholds_a"], counts["thresholds_c"]
    total, pure = (
        np.where(counts[name] >= MIN_BACKGROUND, counts[name], np.nan) / n_total * unit
        for name in ("total", "pure")
    )
    figure = new_figure(7.6, 5.6)
    axes = figure.add_subplot()
    with np.errstate(invalid="ignore"):
        shade = axes.pcolormesh(
            ta, tc, np.log10(total).T, cmap="Greys", alpha=0.6, shading="nearest", rasterized=True
        )
    bar = figure.colorbar(shade, ax=axes)
    bar.set_label(f"log10 {_text(input_rate is not None)}")
    for i, point in enumerate(points):
        color = SIGNALS[i % len(SIGNALS)]
        budget = point["budget"] * unit
        _contour(axes, ta, tc, total, budget, color, "solid")
        if l1:
            _contour(axes, ta, tc, pure, budget, color, DASHED)
        text = _said(budget, input_rate is not None)
        axes.plot([], [], color=color, label=f"total {text}")
        if l1:
            axes.plot([], [], color=color, linestyle=DASHED, label=f"pure {text}")
        if not point["reason"]:
            place = point["threshold_a"], point["threshold_c"]
            label = f"({place[0]}, {place[1]}): unique share {point['split']:.2f}"
            axes.plot(*place, "o", color=color, mec="white", ms=9, ls="none", label=label)
    axes.set(xlabel=f"{names[0]}, threshold", ylabel=f"{names[1]}, threshold")
    axes.set(xlim=_limits(ta, counts["n_a"]), ylim=_limits(tc, counts["n_c"]))
    figure.legend(loc="outside upper center", ncols=len(points))
    return figure


def _limits(thresholds: np.ndarray, n: np.ndarray) -> tuple[float, float]:
    """From the lowest threshold to the last that ten events pass."""
    last = thresholds[n >= MIN_BACKGROUND][-1] if (n >= MIN_BACKGROUND).any() else thresholds[-1]
    return float(thresholds[0]), float(max(last, thresholds[0] + 1))


def _contour(
    axes: Axes, ta: np.ndarray, tc: np.ndarray, z: np.ndarray, level: float, color: str, line: Any
) -> None:
    if min(z.shape) > 1 and np.nanmin(z) < level < np.nanmax(z):
        axes.contour(ta, tc, z.T, levels=[level], colors=color, linestyles=[line], linewidths=1.8)


@styled
def stability_figure(
    found: Mapping[str, Any], name: str, *, input_rate: float | None = None
) -> Figure:
    """Rate in bins of a column, in both periods and after the recalibration, with slopes of ln R.

    Args:
        found: of `jaxad.metrics.stability.measure`; name: of one of its columns.
    """
    unit = 1.0 if input_rate is None else input_rate
    column = found["columns"][name]
    figure = new_figure(7.0, 5.2)
    axes = figure.add_subplot()
    for period, (text, color, marker) in PERIODS.items():
        bins, slope = column["bins"][period], column["slope"][period]
        if slope["reason"] is None:
            text += f": d ln R = {slope['slope']:+.2g} ± {slope['error']:.1g}"
        y, error = (np.array(bins[key]) * unit for key in ("fraction", "error"))
        x = np.array(bins["mean"])
        axes.errorbar(x, y, error, fmt=marker, color=color, label=text, ms=5, elinewidth=1)
    axes.axhline(found["point"]["fraction"] * unit, color="black", linestyle="dotted", linewidth=1)
    drift, after = found["drift"], found["recalibrated"]
    title = f"threshold {found['point']['threshold']}"
    if drift["reason"] is None:
        title += f", |ln R2/R1| = {drift['value']:.2f} ± {drift['error']:.2f}"
    if after["after"]["reason"] is None:
        title += f"; offset {after['offset']:+d}: {after['after']['value']:.2f}"
    axes.set(xlabel=name, ylabel=_text(input_rate is not None))
    axes.set_title(title, fontsize="medium")
    axes.margins(x=0.05)
    axes.set_ylim(0, 1.5 * axes.get_ylim()[1])
    axes.legend(loc="upper left")
    return figure
