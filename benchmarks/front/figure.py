"""The front as a figure: four measures against what the network costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.front.summary import FPRS, mean_of_signals
from benchmarks.front.ways import CONTROL, FAMILIES, FLOAT
from jaxad import metrics
from jaxad.report.curves import draw_band
from jaxad.report.style import BACKGROUND, DASHED, new_figure, signal_colors, styled

LEVEL = metrics.level_key(FPRS[0])
PANELS = {
    "drift": "drift: median |ln s − ln s of float|",
    "overlap": "overlap of the highest 1 %",
    "tpr": f"TPR at FPR {LEVEL}, mean of signals",
    "auc": "AUC, mean of signals",
}
AXES = {"ebops": "EBOPs", "lut": "LUTs, estimated by da4ml"}
MARKERS = "osv^D*PX"
LINES = (
    (FLOAT.family, {"color": "black", "linestyle": "solid"}),
    (CONTROL.family, {"color": "black", "linestyle": DASHED}),
    ("trees", {"color": BACKGROUND, "linestyle": "dotted"}),
)
"""What has no such cost, as horizontal lines; the last of a family is drawn."""


def _values(record: Mapping[str, Any], panel: str) -> list[float] | None:
    """Of every seed; None where a TPR is refused."""
    if panel == "tpr":
        return mean_of_signals(record["tpr"][LEVEL])
    return mean_of_signals(record["auc"]) if panel == "auc" else record[panel]


def _draw(axes: Axes, records: Sequence[Mapping[str, Any]], panel: str, cost: str) -> None:
    colors = signal_colors(FAMILIES)
    for (family, label), marker in zip(FAMILIES.items(), MARKERS, strict=True):
        own = [r for r in records if r["family"] == family and cost in r and _values(r, panel)]
        if not own:
            continue
        own.sort(key=lambda record: np.median(record[cost]))
        x = [np.median(record[cost]) for record in own]
        values = np.array([_values(record, panel) for record in own]).T
        band = (np.median(values, 0), values.min(0), values.max(0))
        style = {"color": colors[family], "marker": marker, "markersize": 5, "linewidth": 1.4}
        draw_band(axes, x, band, label=label, **style)
    for family, style in LINES:
        own = [r for r in records if r["family"] == family and _values(r, panel)]
        own = [] if any(cost in r for r in own) else own
        if own and not (family == FLOAT.family and panel == "drift"):
            value = np.median(_values(own[-1], panel))
            axes.axhline(value, linewidth=1.2, zorder=1, label=own[-1]["way"], **style)


@styled
def front_figure(records: Sequence[Mapping[str, Any]], cost: str = "ebops") -> Figure:
    """Median of the seeds, and the band from the least to the largest, see `summary.measured`."""
    figure = new_figure(10.5, 8.6)
    axes = figure.subplots(2, 2, sharex=True).ravel()
    for one, (panel, title) in zip(axes, PANELS.items(), strict=True):
        _draw(one, records, panel, cost)
        one.set(xscale="log", title=title)
        one.margins(x=0.04, y=0.06)
        one.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        one.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        one.xaxis.set_minor_formatter(NullFormatter())
        if panel == "drift":
            one.set_yscale("log")
    for one in axes[2:]:
        one.set_xlabel(AXES[cost])
    handles = {
        label: handle
        for one in axes
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return figure
