"""Figure of a training: losses and learning rate against the epoch, stage by stage."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxad.metrics import band
from jaxad.report.curves import draw_band
from jaxad.report.style import BACKGROUND, DASHED, SIGNALS, new_figure, styled

Records = Sequence[Mapping[str, Any]]
N_COLUMNS = 3


def _over_members(records: Records, key: str) -> list[np.ndarray]:
    """Median, low and high of a record's value over the members, per epoch; NaN where missing."""
    rows = []
    for record in records:
        value = record.get(key)
        values = np.atleast_1d(np.asarray(np.nan if value is None else value, np.float64))
        values = values[np.isfinite(values)]
        rows.append(band(values) if len(values) else (np.nan,) * 3)
    return list(np.transpose(rows))


def _draw_distances(axes: Axes, records: Records, title: str) -> None:
    """Of samples from background where that chose the epoch, in place of a loss without meaning."""
    epochs = np.array([record["epoch"] for record in records])
    for key, label, color, linestyle in (
        ("val_wasserstein", "samples to validation", SIGNALS[0], "solid"),
        ("val_floor", "validation, two halves", SIGNALS[1], DASHED),
    ):
        found = _over_members(records, key)
        marker = "o" if len(epochs) == 1 else None
        draw_band(axes, epochs, found, label=label, color=color, linestyle=linestyle, marker=marker)
    chosen = _over_members(records, "val_guarded")[0]
    if np.isfinite(chosen).any():
        epoch = epochs[int(np.nanargmin(chosen))]
        text = f"chosen epoch {epoch}"
        axes.axvline(epoch, color=BACKGROUND, linestyle="dotted", linewidth=1.2, label=text)
    axes.set(title=title, ylabel="sliced Wasserstein distance", ylim=(0, None))
    axes.legend(loc="best")
    _epoch_axis(axes)


def _epoch_axis(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_losses(axes: Axes, records: Records, title: str) -> None:
    epochs = np.array([record["epoch"] for record in records])
    train, val = (_over_members(records, key) for key in ("train_loss", "val_loss"))
    marker = "o" if len(epochs) == 1 else None  # one epoch makes no line
    style = {"marker": marker, "color": SIGNALS[1], "linestyle": DASHED}
    draw_band(axes, epochs, train, label="training", **style)
    style = {"marker": marker, "color": SIGNALS[0], "linestyle": "solid"}
    draw_band(axes, epochs, val, label="validation", **style)
    if np.isfinite(val[0]).any():
        best = int(np.nanargmin(val[0]))
        text = f"best epoch {epochs[best]} ({val[0][best]:.4g})"
        axes.axvline(epochs[best], color=BACKGROUND, linestyle="dotted", linewidth=1.2)
        axes.plot(epochs[best], val[0][best], "*", color="black", ms=11, ls="none", label=text)
    losses = np.concatenate([train[0], val[0]])
    losses = losses[np.isfinite(losses)]
    if len(losses) and losses.min() > 0 and losses.max() > 20 * losses.min():
        axes.set_yscale("log")
    axes.set(title=title, ylabel="loss")
    axes.legend(loc="best")
    _epoch_axis(axes)


def _draw_rate(axes: Axes, records: Records) -> None:
    epochs = [record["epoch"] for record in records]
    rate = _over_members(records, "learning_rate")
    draw_band(axes, epochs, rate, color="black", linestyle="solid")
    axes.set(yscale="log", ylabel="learning rate")
    _epoch_axis(axes)


def _rate_varies(records: Records) -> bool:
    _, low, high = _over_members(records, "learning_rate")
    return bool(np.isfinite(low).any() and np.nanmax(high) > np.nanmin(low) > 0)


@styled
def training_figure(history: Records, *, title: str = "") -> Figure:
    """Training and validation loss against the epoch, one panel a stage, best epoch marked.

    history: records with stage, epoch, train_loss, val_loss and optionally learning_rate; losses
    are numbers or lists over the members (drawn as median and 68 % band; the best epoch is that of
    the median). None and NaN leave gaps. With up to three stages a learning rate that changes has
    its own panel beneath; more stages are laid out three abreast. A stage whose records have
    val_wasserstein, val_floor and val_guarded shows these distances instead.
    """
    stages = list(dict.fromkeys(record.get("stage", "") for record in history))
    by_stage = [[r for r in history if r.get("stage", "") == stage] for stage in stages]
    n_columns = min(max(len(stages), 1), N_COLUMNS)
    n_rows = -(-len(stages) // n_columns)
    with_rate = n_rows == 1 and any(_rate_varies(records) for records in by_stage)
    height = 5.2 if with_rate else 4.2
    figure = new_figure(5.2 * n_columns + 0.8, height * max(n_rows, 1))
    figure.suptitle(title)
    if not stages:
        figure.text(0.5, 0.5, "no epochs recorded", ha="center")
        return figure
    heights = [3.5, 1] if with_rate else [1] * n_rows
    grid = figure.subplots(
        len(heights), n_columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes in grid.flat[len(stages) :]:
        axes.set_visible(False)
    for axes, stage, records in zip(grid.flat, stages, by_stage, strict=False):
        draw = _draw_distances if "val_guarded" in records[0] else _draw_losses
        draw(axes, records, stage)
    for i, records in enumerate(by_stage if with_rate else []):
        if _rate_varies(records):
            grid[1, i].set_visible(True)
            _draw_rate(grid[1, i], records)
    return figure
