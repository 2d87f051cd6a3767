"""How every figure looks: mplhep's style on a screen-sized page, colours that all readers can tell.

Colours are the ten of M. Petroff, arXiv:2107.02270, as recommended by CMS; grey is kept for the
background. Figures are plain `Figure` objects on the Agg canvas: nothing here touches pyplot's
state, and the style lasts only while a figure is drawn or saved.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import matplotlib as mpl
import mplhep
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BACKGROUND = "#717581"
SIGNALS = ("#bd1f01", "#3f90da", "#ffa90e", "#832db6", "#a96b59", "#92dadd", "#e76300", "#b9ac70")
LINES = ("solid", (0, (6, 1.5, 1, 1.5)), (0, (1, 1)))  # after each round of colours
DASHED = (0, (4, 2))
IMAGE_COLORS = "magma_r"  # empty pixels white

STYLE = mplhep.style.ATLAS | {
    "font.size": 12,
    "font.family": ["TeX Gyre Heros", "DejaVu Sans"],  # the second for glyphs the first lacks
    "mathtext.fontset": "stixsans",
    "axes.titlesize": "large",
    "axes.titlelocation": "left",
    "axes.labelsize": "large",
    "axes.labelpad": 4,
    "axes.autolimit_mode": "data",
    "xtick.labelsize": "medium",
    "ytick.labelsize": "medium",
    "ytick.major.size": 8,
    "ytick.minor.size": 4,
    "xtick.major.size": 8,
    "xtick.minor.size": 4,
    "lines.linewidth": 1.8,
    "legend.fontsize": "small",
    "legend.borderpad": 0.4,
    "mathtext.default": "regular",
}


def class_colors(names: Iterable[str]) -> dict[str, str]:
    """Colour of each class: the first, the background, grey; then the signals' palette in order.

    Call it once for a run with [background, *signals] and hand it to every figure.
    """
    names = list(names)
    return dict(zip(names, [BACKGROUND, *signal_colors(names[1:]).values()], strict=True))


def signal_colors(names: Iterable[str]) -> dict[str, str]:
    """The signals' palette, repeated when there are more names than colours."""
    return {name: SIGNALS[i % len(SIGNALS)] for i, name in enumerate(names)}


def line_style(index: int) -> Any:
    """Line style that sets apart the curves sharing a colour."""
    return LINES[index // len(SIGNALS) % len(LINES)]


def new_figure(width: float = 6.4, height: float = 5.2) -> Figure:
    """An empty figure [inches] with constrained layout on the Agg canvas."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def styled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run `function` with the house style, and only for as long."""

    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        with mpl.rc_context(STYLE):
            return function(*args, **kwargs)

    return inner
