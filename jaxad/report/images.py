"""Figures of images: the average of each class, and inputs beside their reconstructions."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from jaxad.report.style import IMAGE_COLORS, new_figure, styled

Extent = tuple[float, float, float, float]
DECADES = 4  # of the colour scale below its largest value


def _plane(image: ArrayLike) -> np.ndarray:
    """(ny, nx) of a (ny, nx) or (ny, nx, channels) image, channels summed."""
    image = np.asarray(image, np.float64)
    return image.sum(-1) if image.ndim == 3 else image


def _log_scale(images: Sequence[np.ndarray]) -> LogNorm:
    """One logarithmic scale for all: from the smallest entry, at most `DECADES` deep."""
    values = np.concatenate([image.ravel() for image in images])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return LogNorm(1e-1, 1)
    low, high = max(values.min(), values.max() * 10.0**-DECADES), values.max()
    return LogNorm(low if low < high else high / 1e3, high)


def _draw(axes: Axes, image: np.ndarray, norm: LogNorm, extent: Extent | None) -> AxesImage:
    colors = mpl.colormaps[IMAGE_COLORS].with_extremes(bad="white", under="white")
    shown = np.ma.masked_invalid(image)
    style = {"origin": "lower", "interpolation": "nearest", "aspect": "auto"}
    return axes.imshow(shown, norm=norm, cmap=colors, extent=extent, **style)


def _shape(image: np.ndarray, extent: Extent | None) -> float:
    """Height over width as drawn, kept between 1/2 and 2."""
    height, width = image.shape
    if extent is not None:
        height, width = extent[3] - extent[2], extent[1] - extent[0]
    return float(np.clip(height / width, 0.5, 2))


def _add_scale(
    figure: Figure, drawn: AxesImage, grid: np.ndarray, label: str, aspect: float
) -> None:
    """The colour scale to the right of a grid of axes.

    Its corners say where: the layout measures the scale once for each axes that it is given.
    """
    figure.colorbar(drawn, ax=[grid[0, 0], grid[-1, -1]], label=label, aspect=aspect, pad=0.015)


@styled
def average_image_figure(
    images: Mapping[str, ArrayLike],
    *,
    extent: Extent | None = None,
    labels: tuple[str, str] = ("column", "row"),
    unit: str = "",
    title: str = "",
) -> Figure:
    """Average image of each class on one logarithmic colour scale; empty pixels are white.

    images: class -> (N, ny, nx) or (N, ny, nx, 1), or an average (ny, nx). extent: (xmin, xmax,
    ymin, ymax) of the image; labels: of the x and y axis; unit: of a pixel's content.
    """
    averages = {
        name: _plane(stack)
        if np.ndim(stack) == 2
        else _plane(np.mean(np.asarray(stack, np.float64), 0))
        for name, stack in images.items()
    }
    n_columns = min(len(averages), 4)
    n_rows = -(-len(averages) // n_columns)
    first = next(iter(averages.values()))
    size = 3.4
    figure = new_figure(size * n_columns + 1.0, size * _shape(first, extent) * n_rows + 0.9)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    norm = _log_scale(list(averages.values()))
    for axes, (name, image) in zip(grid.flat, averages.items(), strict=False):
        drawn = _draw(axes, image, norm, extent)
        axes.set_title(name)
        axes.minorticks_off()
    for axes in grid.flat[len(averages) :]:
        axes.set_visible(False)
    for i, axes in enumerate(grid.flat[: len(averages)]):
        if i + n_columns >= len(averages):
            axes.set_xlabel(labels[0])
            axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel(labels[1])
    content = "average pixel" + (f" [{unit}]" if unit else "")
    _add_scale(figure, drawn, grid, content, aspect=30)
    figure.suptitle(title)
    return figure


CLASSES_IN_A_BLOCK = 5  # one below the other


@styled
def reconstruction_figure(
    inputs: Mapping[str, ArrayLike],
    reconstructions: Mapping[str, ArrayLike],
    scores: Mapping[str, ArrayLike],
    *,
    score: str = "score",
    extent: Extent | None = None,
    labels: tuple[str, str] = ("column", "row"),
    unit: str = "",
    n_events: int = 4,
    title: str = "",
) -> Figure:
    """Events of every class: the input above its reconstruction, with the event's score.

    inputs, reconstructions: class -> (n, ny, nx) or (n, ny, nx, 1), the first `n_events` shown, on
    one logarithmic colour scale (values below it white); scores: class -> (n,). More than five
    classes stand side by side in blocks. The rest as in `average_image_figure`.
    """
    pairs = {
        name: (
            [_plane(image) for image in inputs[name][:n_events]],
            [_plane(image) for image in reconstructions[name][:n_events]],
        )
        for name in inputs
    }
    n_columns = max(len(pair[0]) for pair in pairs.values())
    first = next(iter(pairs.values()))[0][0]
    height, n_blocks = 2.0 * _shape(first, extent), -(-len(pairs) // CLASSES_IN_A_BLOCK)
    n_rows = -(-len(pairs) // n_blocks)
    size = (2.0 * n_columns + 0.6) * n_blocks + 1.0, (2 * height + 0.5) * n_rows + 0.6
    figure = new_figure(*size)
    # No shared limits and no ticks inside: with many classes they would take most of the time.
    whole = figure.subplots(2 * n_rows, n_blocks * n_columns, squeeze=False)
    # Blocks of all rows, one below the other: grid[2 i] and grid[2 i + 1] are those of class i.
    grid = np.concatenate(np.split(whole, n_blocks, axis=1))
    norm = _log_scale([image for pair in pairs.values() for image in pair[0]])
    for axes in grid.flat:
        axes.set_visible(False)
        axes.minorticks_off()
    for axes in whole[:-1].flat:
        axes.set_xticks([])
    for axes in whole[:, 1:].flat:
        axes.set_yticks([])
    for axes in {*whole[-1], *whole[:, 0]}:
        axes.tick_params(labelsize="x-small", size=3)
    for row, (name, pair) in enumerate(pairs.items()):
        for kind, images in enumerate(pair):
            for axes, image in zip(grid[2 * row + kind], images, strict=False):
                axes.set_visible(True)
                drawn = _draw(axes, image, norm, extent)
            what = ("input", "reconstruction")[kind]
            grid[2 * row + kind, 0].set_ylabel(f"{name}\n{what}", loc="center", fontsize="small")
        for axes, value in zip(grid[2 * row], np.asarray(scores[name]), strict=False):
            axes.set_title(f"{score} = {value:.3g}", fontsize="small", loc="center")
    figure.supxlabel(labels[0], fontsize="medium")
    figure.supylabel(labels[1], fontsize="medium")
    content = "pixel" + (f" [{unit}]" if unit else "")
    _add_scale(figure, drawn, whole, content, aspect=20 * n_rows)
    figure.suptitle(title)
    return figure
