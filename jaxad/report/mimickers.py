"""Figures of mimickers: agreement with the teacher pass by pass, and the chosen graphs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxad import metrics
from jaxad.observables.graphs import draw_graph
from jaxad.report.style import DASHED, line_style, new_figure, styled

MAX_POINTS = 1500
N_COLUMNS = 4
GOAL = 0.02  # distance from the teacher's AUC that counts as matched


def mimicker_figures(
    numbers: Mapping[str, Any],
    taught: Mapping[str, np.ndarray],
    last: Mapping[str, np.ndarray],
    colors: Mapping[str, str],
    *,
    name: str,
) -> dict[str, Figure]:
    """All figures of a mimicker called `name`.

    Args:
        numbers: "selection", "teacher" and "ordering" of `jaxad.evaluation.mimickers.measure`.
        taught, last: scores of teacher (n,) and mimicker (members, n) of every class.
    """
    entries = numbers["selection"]
    figures = {
        "selection": selection_figure(entries, numbers["teacher"], colors, name=name),
        "ordering": scatter_figure(taught, last, numbers["ordering"], colors, name=name),
        "sic": sic_panels(taught, last, colors, name=name),
    }
    return figures | ({"graphs": graphs_figure(entries[1:])} if len(entries) > 1 else {})


def _passes(axes: Axes, entries: Sequence[Mapping[str, Any]]) -> None:
    """The x axis: passes by what joined."""
    names = [entries[0]["observable"], *(f"+ {e['observable']}" for e in entries[1:])]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize="small")
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    axes.margins(x=0.04)


@styled
def selection_figure(
    entries: Sequence[Mapping[str, Any]],
    teacher: Mapping[str, Mapping[str, Any]],
    colors: Mapping[str, str],
    *,
    name: str,
) -> Figure:
    """ADO with the teacher, and each signal's AUC less the teacher's, against the passes.

    entries: "selection" of metrics.json; teacher: signal -> {"auc"}. Points are medians over the
    members, the ADO's errors statistical; with several members their 16-84 % range is shaded.
    """
    figure = new_figure(6.0 + 0.75 * len(entries), 5.0)
    left, right = figure.subplots(1, 2)
    passes = np.arange(len(entries))
    ado, error = (np.array([entry[key] for entry in entries]) for key in ("ado", "ado_err"))
    left.errorbar(passes, ado, error, fmt="o-", color="black", ms=5, capsize=2)
    _shade(left, passes, [entry["ado_members"] for entry in entries], "black")
    left.set(ylabel="ADO with the teacher", title=f"{name}: background jets")
    right.axhspan(-GOAL, GOAL, color="0.92", linewidth=0, label=f"within {GOAL:g}")
    right.axhline(0, color="black", linewidth=1)
    for i, (signal, reference) in enumerate(teacher.items()):
        found = [entry["signals"][signal] for entry in entries]
        members = [np.array(f["auc_members"]) - reference["auc"] for f in found]
        label = f"{signal}: {found[-1]['auc']:.3f} ({reference['auc']:.3f})"
        style = {"color": colors[signal], "linestyle": line_style(i), "label": label}
        right.plot(passes, [np.median(m) for m in members], marker="o", ms=4, **style)
        _shade(right, passes, members, colors[signal])
    right.ticklabel_format(axis="y", style="plain", useOffset=False)
    right.set_ylabel(f"AUC of {name} − AUC of the teacher")
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="AUC, last pass (teacher)")
    for axes in (left, right):
        _passes(axes, entries)
    return figure


def _shade(axes: Axes, x: np.ndarray, members: Sequence[Any], color: str) -> None:
    if len(members[0]) > 1:
        _, low, high = np.transpose([metrics.band(np.asarray(m)) for m in members])
        axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


@styled
def graphs_figure(entries: Sequence[Mapping[str, Any]]) -> Figure:
    """The chosen graphs, with EnergyFlow's names and the sums they stand for; tau_N undrawn."""
    n_columns = min(len(entries), N_COLUMNS)
    n_rows = -(-len(entries) // n_columns)
    figure = new_figure(3.3 * n_columns, 2.9 * n_rows)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, entry in zip(grid.flat, entries, strict=False):
        if entry["edges"]:
            draw_graph(entry["edges"], axes)
        title = f"{entry['k']}: {entry['observable'].replace('*', ' · ')}"
        axes.set_title(title, loc="center", fontsize="medium")
        size = "small" if len(entry["formula"]) < 90 else "x-small"
        axes.text(0.5, -0.06, f"${entry['formula']}$", transform=axes.transAxes, ha="center",
                  va="top", fontsize=size)  # fmt: skip
    return figure


def _panels(classes: Sequence[str]) -> tuple[Figure, dict[str, Axes]]:
    """One panel a class on shared axes."""
    n_columns = min(len(classes), N_COLUMNS + (len(classes) > 2 * N_COLUMNS))
    n_rows = -(-len(classes) // n_columns)
    figure = new_figure(3.0 * n_columns + 0.8, 2.8 * n_rows + 0.6)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(classes) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(len(classes) - n_columns, 0) : len(classes)]:
        axes.tick_params(labelbottom=True)
    return figure, dict(zip(classes, grid.flat, strict=False))


@styled
def scatter_figure(
    teacher: Mapping[str, np.ndarray],
    mimicker: Mapping[str, np.ndarray],
    ordering: Mapping[str, float],
    colors: Mapping[str, str],
    *,
    name: str,
) -> Figure:
    """Score of the mimicker's first member against the teacher's, a panel a class with its ADO.

    teacher: class -> (n,), its logarithm is drawn where it can be; mimicker: class ->
    (members, n); ordering: class -> ADO.
    """
    figure, panels = _panels(list(teacher))
    positive = min(values.min() for values in teacher.values()) > 0
    x = {label: np.log(values) if positive else values for label, values in teacher.items()}
    y = {label: values[0] for label, values in mimicker.items()}
    limits = [np.quantile(np.concatenate(list(v.values())), (0.001, 0.999)) for v in (x, y)]
    for label, axes in panels.items():
        points = x[label][:MAX_POINTS], y[label][:MAX_POINTS]
        axes.scatter(*points, s=4, alpha=0.35, color=colors[label], linewidths=0, rasterized=True)
        axes.set(xlim=limits[0], ylim=limits[1])
        axes.set_title(f"{label}: ADO {ordering[label]:.3f}", fontsize="medium")
    figure.supxlabel(
        "ln(score of the teacher)" if positive else "score of the teacher", fontsize="medium"
    )
    figure.supylabel(f"score of the {name}", fontsize="medium")
    return figure


@styled
def sic_panels(
    teacher: Mapping[str, np.ndarray],
    mimicker: Mapping[str, np.ndarray],
    colors: Mapping[str, str],
    *,
    name: str,
    max_relative_error: float = 0.2,
) -> Figure:
    """Significance improvement against FPR of mimicker (solid) and teacher (dashed), by signal.

    Classes with the background first, as in `scatter_figure`; curves start where the background
    leaves a relative error of FPR below `max_relative_error`.
    """
    background, *signals = teacher
    figure, panels = _panels(signals)
    start = min(metrics.min_sic_fpr(len(teacher[background]), max_relative_error), 0.5)
    grid = np.geomspace(start, 1, 300)
    for signal, axes in panels.items():
        for scores, style, label in ((mimicker, "solid", name), (teacher, DASHED, "teacher")):
            median, low, high = metrics.roc_band(scores[background], scores[signal], grid)
            color = colors[signal] if scores is mimicker else "black"
            axes.plot(grid, median / np.sqrt(grid), color=color, linestyle=style, label=label)
            if np.any(high > low):
                band = {"color": color, "alpha": 0.25, "linewidth": 0}
                axes.fill_between(grid, low / np.sqrt(grid), high / np.sqrt(grid), **band)
        axes.plot(grid, np.sqrt(grid), color="0.5", linestyle="dotted", linewidth=1, label="random")
        axes.set(xscale="log", xlim=(start, 1))
        axes.set_title(signal, fontsize="medium")
    axes.set_ylim(0, None)
    panels[signals[0]].legend(loc="best")
    figure.supxlabel("false positive rate (background)", fontsize="medium")
    figure.supylabel("significance improvement  TPR / √FPR", fontsize="medium")
    return figure
