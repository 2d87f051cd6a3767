"""The whole search, window by window: template, closure, pseudo-experiments, results.

What costs time is kept: densities as checkpoints, counts of pseudo-experiments in files `toys-*`;
the rest is made anew by every call, the same each time.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxad import workdir
from jaxad.data import table as tables
from jaxad.data.dataset import Rows
from jaxad.data.table import Table
from jaxad.errors import Preempted
from jaxad.methods import Bench, settings
from jaxad.search import analysis, pool, results, template, toys
from jaxad.search.pool import Pool
from jaxad.search.settings import recipe
from jaxad.search.table import search_table
from jaxad.search.windows import Window, false_windows, windows_of

Draw = Callable[[int, str], Rows]
"""(n, what for) -> n rows of background in a window: "x" (n, F) and "m" (n,) [GeV]."""


class Draws(NamedTuple):
    """What draws background in a window, and in each of its false ones."""

    window: Draw
    false: list[tuple[Window, Draw]]


class Searched(NamedTuple):
    """A window with all that was counted there.

    Attributes:
        counts: (toys + 1, cuts) events that pass, the data first.
        false: window, sizes and counts (cuts,) of every false window.
    """

    window: Window
    pool: Pool
    size: analysis.Sizes
    counts: np.ndarray
    false: list[tuple[Window, analysis.Sizes, np.ndarray]]


def densities(config: ConfigDict, table: Table, window: Window, bench: Bench) -> Draws:
    """Fits the background beside a window, and beside its false windows."""
    draw = partial(_drawn, config, table, template.fit(config, table, window, bench))
    n_false = config.search.closure_windows
    false = false_windows(window, table.mass, n_false) if n_false else []
    fitted = template.fit_false(config, table, window, false, bench) if false else []
    others = [partial(_drawn, config, table, one) for one in fitted]
    return Draws(draw, list(zip(false, others, strict=True)))


def _drawn(config: ConfigDict, table: Table, one: template.Template, n: int, what: str) -> Rows:
    return template.draw(config, one, table, n, what)


def pool_of(config: ConfigDict, table: Table, window: Window, draw: Draw) -> Pool:
    """Data and fresh template rows of a window."""
    section, folds = config.search, recipe(config).folds
    inside = np.flatnonzero(window.holds(table.mass))
    fold = tables.folds(table.fold_key, folds, section.fold_salt)
    n_training = round(section.train_factor * len(inside))
    n_counting = round(max(section.count_factor * len(inside), 100 / min(section.efficiencies)))
    data = {"x": table.x[inside], "m": table.mass[inside], "fold": fold[inside], "row": inside}
    if table.weight is not None:
        data["weight"] = table.weight[inside]
    return pool.make(
        data,
        draw(n_training, "training template"),
        draw(n_counting, "counting template"),
        folds=folds,
        mass_bins=section.mass_bins,
    )


def scored_folds(config: ConfigDict) -> Sequence[int]:
    """Folds whose data are counted: all, or one of a half-split."""
    return (1,) if config.search.half_split else range(recipe(config).folds)


def search_window(
    config: ConfigDict,
    table: Table,
    window: Window,
    draws: Draws,
    n_toys: int,
    folder: Path,
    stop: Callable[[], bool],
) -> Searched:
    """Counts of the data, of pseudo-experiments, and of the false windows.

    Raises:
        Preempted: `stop()` was true; the same call goes on.
    """
    how, folds = recipe(config), scored_folds(config)

    def counted(place: Window, draw: Draw, n: int, name: str) -> tuple[Pool, np.ndarray]:
        rows = pool_of(config, table, place, draw)
        path = folder / f"toys-{name}.h5"
        efficiencies, chunk = config.search.efficiencies, config.search.chunk
        counts = toys.run_toys(rows, how, efficiencies, config.seed, n, path, chunk, stop)
        return rows, counts[:, list(folds)].sum(axis=1)

    tested = []
    for other, draw in draws.false:
        rows, counts = counted(other, draw, 0, f"{window.name}-false-{other.name}")
        tested.append((other, analysis.sizes(rows, folds), counts[0]))
    rows, counts = counted(window, draws.window, n_toys, window.name)
    return Searched(window, rows, analysis.sizes(rows, folds), counts, tested)


def search(
    config: ConfigDict,
    directory: Path,
    bench: Bench,
    n_toys: int,
    unblind: bool = False,
    draws_of: Callable[[ConfigDict, Table, Window, Bench], Draws] = densities,
) -> dict:
    """Search the data of a config in a work directory; returns the content of `search.json`.

    Args:
        n_toys: pseudo-experiments a window; those that are there count.
        unblind: show what was observed.
        draws_of: what makes the templates of a window, for data whose background is known.

    Raises:
        UserError: anything the user can mend.
        Preempted: stopped by SIGTERM or Ctrl-C, with everything saved.
    """
    settings.check(config)
    recipe(config)
    began = time.monotonic()
    with workdir.opened(directory), workdir.stop_signals() as stop:
        workdir.settle_config(directory, config)
        table = search_table(config)
        print(tables.summary(table), flush=True)
        windows = windows_of(config.search, table.mass, table.mass_unit, table.info.get("window", ""))
        folder = directory / "search"
        folder.mkdir(exist_ok=True)
        found = []
        for window in windows:
            if stop():
                raise Preempted
            draws = draws_of(config, table, window, bench)
            found.append(
                search_window(config, table, window, draws, n_toys, folder, stop)
            )
            print(results.line(config, found[-1]), flush=True)
        seconds = time.monotonic() - began
        return results.write(config, table, found, folder, unblind, seconds)
