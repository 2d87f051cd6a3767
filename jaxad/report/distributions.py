"""Figures of distributions: scores, latent space, mass spectra after cuts, score against mass."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from jaxad.metrics import band, given
from jaxad.metrics.sculpting import correlation
from jaxad.report.style import SIGNALS, class_colors, line_style, new_figure, styled
from jaxad.storage import blockwise, on_disk

MAX_POINTS = 1500  # scattered per class
ENOUGH = 1 << 20  # events of a class that quantiles are taken of; every so-manieth of more
MAX_LEGEND = 8
MAX_NAMES = 24  # of features, below an axis


def _members(scores: ArrayLike) -> list[np.ndarray]:
    """Scores (N,) of each member of (N,) or (M, N)."""
    scores = np.asanyarray(scores)
    return [*scores] if scores.ndim == 2 else [scores]


def _finite(scores: ArrayLike) -> np.ndarray:
    """Members and events, of many some, flattened; infinite and missing values dropped."""
    kept = np.concatenate([blockwise.thinned(row, ENOUGH) for row in _members(scores)])
    kept = kept.astype(np.float64)
    return kept[np.isfinite(kept)]


def _both_finite(*columns: ArrayLike) -> list[np.ndarray]:
    """The rows of columns (N,) that are finite in all, beside them."""
    own = [given.own(np.asanyarray(column)) for column in columns]
    if not any(blockwise.count(lambda block: ~np.isfinite(block), column) for column in own):
        return own
    rows = on_disk.rows_where(lambda *blocks: np.isfinite(blocks).all(axis=0), *own)
    return [on_disk.take(column, rows) for column in own]


def _spans_decades(values: np.ndarray, factor: float = 50) -> bool:
    """Whether a logarithmic axis suits: positive and stretched over more than `factor`."""
    if not len(values) or values.min() <= 0:
        return False
    low, high = np.quantile(values, (0.01, 0.99))
    return bool(high > factor * low)


def _score_edges(classes: list[np.ndarray], n_least: int) -> tuple[np.ndarray, bool]:
    """Bin edges over the central 99.8 % of every class, of which the smallest has so many events;
    whether they are logarithmic."""
    logarithmic = _spans_decades(np.concatenate(classes))
    quantiles = np.array([np.quantile(values, (0.001, 0.999)) for values in classes if len(values)])
    low, high = (quantiles[:, 0].min(), quantiles[:, 1].max()) if len(quantiles) else (0.0, 1.0)
    if not high > low:
        low, high = low - 0.5, high + 0.5
        logarithmic = False
    n_bins = int(np.clip(0.8 * n_least**0.5, 15, 60))
    edges = np.geomspace if logarithmic else np.linspace
    return edges(low, high, n_bins + 1), logarithmic


def _beside(axes: Axes, n_labels: int, title: str | None = None) -> None:
    """Legend inside while short, else beside the axes."""
    if n_labels > MAX_LEGEND:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title=title)
    else:
        axes.legend(loc="best", title=title)


@styled
def score_figure(
    background: ArrayLike,
    signals: Mapping[str, ArrayLike],
    *,
    score: str = "score",
    background_name: str = "background",
    colors: Mapping[str, str] | None = None,
    title: str = "",
    weights: Mapping[str, ArrayLike] | None = None,
) -> Figure:
    """Histogram of a score: background filled, signals as lines, log y, statistical errors.

    Scores are (N,) or (M, N); the members' histograms are averaged. Each class is normalised to
    its events, those outside the axis included. Errors are sqrt(n) of the events in a bin; with
    more than five signals only the background shows them. weights: class -> (N,): sums of these
    and sqrt(sum w^2) for events and sqrt(n); a bin below 0 is not drawn.
    """
    classes = {background_name: background, **signals}
    colors = {**class_colors(classes), **(colors or {})}
    values = {name: _members(scores) for name, scores in classes.items()}
    sizes = {
        name: sum(blockwise.count(np.isfinite, row) for row in rows)
        for name, rows in values.items()
    }
    edges, logarithmic = _score_edges([*map(_finite, classes.values())], min(sizes.values()))
    centres = np.sqrt(edges[1:] * edges[:-1]) if logarithmic else (edges[1:] + edges[:-1]) / 2
    figure = new_figure(8.6 if len(classes) > MAX_LEGEND else 6.4)
    axes = figure.add_subplot()
    smallest = []
    for i, (name, found) in enumerate(values.items()):
        own = (weights or {}).get(name)
        if own is None:
            counts = sum(blockwise.histogram(edges, row) for row in found)
            total = max(sizes[name], 1)
            density, error = counts / total, np.sqrt(counts * len(found)) / total
        else:
            density, error = _weighted_histogram(found, own, edges)
            counts = np.maximum(density, 0)
            density = counts.copy()
        smallest.extend(density[counts > 0])
        if i == 0:
            style = {"fill": True, "facecolor": colors[name], "alpha": 0.3, "linewidth": 0}
            axes.stairs(density, edges, label=name, **style)
            axes.stairs(density, edges, color=colors[name], linewidth=1)
            low, high = density - error, density + error
            axes.stairs(
                high,
                edges,
                baseline=low,
                fill=True,
                hatch="/////",
                lw=0,
                fc="none",
                ec=colors[name],
                alpha=0.6,
            )
        else:
            style = {"color": colors[name], "linestyle": line_style(i - 1)}
            density[counts == 0] = np.nan
            axes.stairs(density, edges, baseline=None, label=name, linewidth=1.8, **style)
            if len(signals) <= 5:
                bars = {"ecolor": colors[name], "elinewidth": 0.8}
                axes.errorbar(centres, density, error, fmt="none", **bars)
    if logarithmic:
        axes.set_xscale("log")
    axes.set(yscale="log", xlim=(edges[0], edges[-1]), title=title)
    if smallest:
        axes.set_ylim(min(smallest) / 2, 10 * max(smallest))
    axes.set_xlabel(score)
    axes.xaxis.get_offset_text().set(x=0, ha="left")  # the label stands at the right
    axes.set_ylabel("fraction of events per bin")
    _beside(axes, len(classes))
    return figure


def _weighted_histogram(
    members: list[np.ndarray], weight: ArrayLike, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the weights (N,) of scores (N,) of members in bins, and their errors."""
    w = np.asanyarray(weight)

    def sums(power: int) -> np.ndarray:
        def weights(_: np.ndarray, w: np.ndarray) -> np.ndarray:
            return w.astype(np.float64) ** power

        return sum(
            blockwise.histogram(edges, row, w, of=lambda s, _: s, weights=weights)
            for row in members
        )

    total = sum(
        float(b[np.isfinite(a)].sum(dtype=np.float64))
        for row in members
        for a, b in on_disk.blocks(row, w)
    )
    return sums(1) / total, np.sqrt(sums(2) * len(members)) / total


def _contour_levels(density: np.ndarray, fractions: tuple[float, ...]) -> list[float]:
    """Heights of a density above which the given fractions of it lie, in rising order."""
    ordered = np.sort(density.ravel())[::-1]
    cumulative = np.cumsum(ordered) / ordered.sum()
    return sorted({float(ordered[np.searchsorted(cumulative, f)]) for f in fractions})


def _draw_class(axes: Axes, points: np.ndarray, limits: Any, color: str, name: str) -> None:
    shown = points[:: max(1, len(points) // MAX_POINTS)]
    axes.scatter(*shown.T, s=5, color=color, alpha=0.25, linewidths=0, rasterized=True)
    counts, x, y = np.histogram2d(*points.T, bins=60, range=limits)
    density = gaussian_filter(counts, 1.5)
    if len(points) >= 50 and density.max() > 0:
        centres = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
        levels = _contour_levels(density, (0.68, 0.95))
        axes.contour(*centres, density.T, levels=levels, colors=color, linewidths=(0.9, 1.8))
    axes.plot([], [], "-", color=color, label=name)


@styled
def latent_figure(
    spaces: Mapping[str, Mapping[str, ArrayLike]],
    *,
    colors: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """Two latent components per class, a panel a space: points with 68 and 95 % contours.

    spaces: name of the space (autoencoder, PCA) -> class -> (N, 2), background first. The axes hold
    the central 99 % of every class.
    """
    figure = new_figure(5.4 * len(spaces) + 0.4, 5.2)
    panels = figure.subplots(1, len(spaces), squeeze=False)[0]
    for axes, (space, classes) in zip(panels, spaces.items(), strict=True):
        shades = {**class_colors(classes), **(colors or {})}
        points = {name: np.asarray(p, np.float64) for name, p in classes.items()}
        points = {name: p[np.isfinite(p).all(1)] for name, p in points.items()}
        filled = [np.quantile(p, (0.005, 0.995), axis=0) for p in points.values() if len(p)]
        low, high = np.min([q[0] for q in filled], 0), np.max([q[1] for q in filled], 0)
        margin = 0.08 * np.where(high > low, high - low, 1)
        limits = np.stack([low - margin, high + margin], 1)
        for name, p in points.items():
            _draw_class(axes, p, limits, shades[name], name)
        axes.set(xlim=limits[0], ylim=limits[1], title=space)
        axes.set_xlabel("component 1")
        axes.set_ylabel("component 2")
    _beside(panels[-1], max(map(len, spaces.values())), "68 and 95 % contours")
    figure.suptitle(title)
    return figure


@styled
def feature_error_figure(
    errors: Mapping[str, ArrayLike], *, names: Sequence[str] = (), title: str = ""
) -> Figure:
    """Mean squared error of each feature by class: which of them are reconstructed badly.

    errors: class -> (N, d), background first; features in units of their spread in the background.
    names: of the features; more than 24 are not written.
    """
    figure = new_figure(7.6, 4.6)
    axes, shades = figure.subplots(), class_colors(errors)
    for name, values in errors.items():
        mean = np.mean(np.asarray(values, np.float64), axis=0)
        axes.stairs(mean, np.arange(len(mean) + 1) - 0.5, color=shades[name], label=name, lw=1.8)
    axes.set(ylabel="mean squared error [spread$^2$]")
    axes.set(xlim=(-0.5, len(mean) - 0.5), ylim=(0, None))
    if names and len(names) <= MAX_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize="small")
    else:
        axes.set(xlabel="feature (column)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    _beside(axes, len(errors))
    figure.suptitle(title)
    return figure


@styled
def sculpting_figure(
    sculpting: Mapping[str, Any], *, observable: str = "mass", unit: str = "GeV", title: str = ""
) -> Figure:
    """Background spectra before and after cuts, normalised, with the ratio to the one before.

    sculpting: the result of `jaxad.metrics.sculpting.mass_sculpting`. The legend gives the
    Jensen-Shannon divergence in bits and, after "noise", what random cuts of the same size reach
    (95 %).
    """
    edges, total = np.asarray(sculpting["edges"]), np.asarray(sculpting["counts"])
    figure = new_figure(6.4, 6.4)
    axes, ratio_axes = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2.6, 1]})
    centres, before = (edges[1:] + edges[:-1]) / 2, total / max(total.sum(), 1)
    style = {"fill": True, "facecolor": "0.85", "label": f"no cut ({total.sum():,} events)"}
    axes.stairs(before, edges, **style)
    ratio_axes.axhline(1, color="0.5", linewidth=1)
    strongest = 1.0  # ratio that is beyond doubt by two standard deviations
    for i, (efficiency, cut) in enumerate(sculpting["cuts"].items()):
        counts = np.asarray(cut["counts"])
        if cut["jsd"] is None:
            axes.plot([], [], color=SIGNALS[i], label=f"{float(efficiency):.4g}: {cut['reason']}")
            continue
        after, error = counts / counts.sum(), np.sqrt(counts) / counts.sum()
        text = f"JSD {cut['jsd']:.2g} bit (noise {cut['jsd_noise_95']:.2g})"
        text = f"{float(efficiency):.4%}".rstrip("%").rstrip("0").rstrip(".") + f" %: {text}"
        axes.stairs(after, edges, baseline=None, color=SIGNALS[i], label=text, linewidth=1.8)
        axes.errorbar(centres, after, error, fmt="none", ecolor=SIGNALS[i], elinewidth=1)
        ratio = np.divide(after, before, out=np.full(len(after), np.nan), where=before > 0)
        spread = np.divide(error, before, out=np.full(len(after), np.nan), where=before > 0)
        strongest = max(strongest, np.nanmax(ratio - 2 * spread))
        ratio_axes.errorbar(centres, ratio, spread, fmt="o", ms=3, color=SIGNALS[i], elinewidth=1)
    width = f"{(edges[-1] - edges[0]) / len(total):.3g} {unit}".strip()
    axes.set_ylabel(f"fraction of events / {width}")
    axes.set_ylim(0, 1.45 * axes.dataLim.y1)
    axes.set_title(title)
    axes.legend(loc="upper right", title="background efficiency")
    if strongest > 2.4:
        ratio_axes.set(yscale="log", ylim=(0.05, 3 * strongest))
    else:
        ratio_axes.set_ylim(0, 2.4)
    ratio_axes.set(xlim=(edges[0], edges[-1]), ylabel="ratio to no cut")
    ratio_axes.set_xlabel(f"{observable} [{unit}]" if unit else observable)
    return figure


@styled
def profile_figure(
    observables: Mapping[str, ArrayLike],
    scores: Mapping[str, ArrayLike],
    *,
    observable: str = "mass",
    unit: str = "GeV",
    score: str = "score",
    colors: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """Median and 16-84 % range of a score against an observable, with Spearman's correlation.

    observables, scores: class -> (N,), background first. Each class is cut into up to 15 bins of
    equal content, at least 20 events each.
    """
    colors = {**class_colors(observables), **(colors or {})}
    figure = new_figure(8.6 if len(observables) > MAX_LEGEND else 6.4)
    axes = figure.add_subplot()
    for i, name in enumerate(observables):
        every = _both_finite(scores[name], observables[name])
        rank = correlation(*every)["spearman"]
        y, x = (blockwise.thinned(v, ENOUGH).astype(np.float64) for v in every)
        edges = np.unique(np.quantile(x, np.linspace(0, 1, min(15, max(len(x) // 20, 1)) + 1)))
        bins = np.clip(np.searchsorted(edges, x, "right") - 1, 0, max(len(edges) - 2, 0))
        filled = np.unique(bins)
        centres = [np.median(x[bins == b]) for b in filled]
        median, low, high = np.transpose([band(y[bins == b]) for b in filled])
        text = name if rank is None else f"{name} (Spearman {rank:+.2f})"
        style = {"color": colors[name], "linestyle": line_style(max(i - 1, 0))}
        axes.plot(centres, median, marker="o", ms=4, label=text, **style)
        axes.fill_between(centres, low, high, color=colors[name], alpha=0.2, linewidth=0)
    if _spans_decades(np.concatenate([*map(_finite, scores.values())])):
        axes.set_yscale("log")
    axes.set_xlabel(f"{observable} [{unit}]" if unit else observable)
    axes.set_ylabel(score)
    axes.set_title(title)
    axes.margins(x=0.03)
    _beside(axes, len(observables))
    return figure
