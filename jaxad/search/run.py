"""The whole search, window by window: template, closure, pseudo-experiments, results.

What costs time is kept: densities as checkpoints, counts of pseudo-experiments in `toys.h5`; the
rest is made anew by every call, the same each time.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxad import workdir
from jaxad.data.dataset import Rows
from jaxad.data.dequantisation import atoms_of, floored
from jaxad.data.false_windows import Window, false_windows
from jaxad.data.folds import folds
from jaxad.data.table import Table, table_summary
from jaxad.errors import Preempted
from jaxad.evaluation.resonant import two_sample_auc
from jaxad.methods import Bench, settings
from jaxad.metrics.moments import moment_pulls
from jaxad.metrics.sculpting import mass_sculpting
from jaxad.search import analysis, inject, pool, results, reweight, spectra, template, toys
from jaxad.search.analysis import Cut, FalseCount, Normalisation, Sizes
from jaxad.search.pool import Pool
from jaxad.search.results import Scored
from jaxad.search.settings import FREE, chunk_of, recipe, require_choices, settled
from jaxad.search.table import search_table
from jaxad.search.windows import windows_of
from jaxad.training import streams
from jaxad.training.streams import Purpose

Draw = Callable[[int, str], Rows]
"""(n, what for) -> n rows of background in a window: "x" (n, F) and "m" (n,) [GeV]."""

MIN_QUALITY, N_QUALITY = 25, 20_000  # rows that are compared with a template


class Draws(NamedTuple):
    """What draws background in a window, and in each of its false ones.

    Attributes:
        sidebands: -> data of the sidebands and draws at their masses; None of an exact template.
    """

    window: Draw
    false: list[tuple[Window, Draw]]
    sidebands: Callable[[], tuple[Rows, Rows]] | None = None


class Searched(NamedTuple):
    """A window with all that was counted there.

    Attributes:
        counts: (toys + 1, cuts) events of the likelihood that pass, the data first.
        false: of every false window.
        template: two-sample AUC of data and draws in the false windows.
    """

    window: Window
    draws: Draws
    size: Sizes
    counts: np.ndarray
    false: list[FalseCount]
    template: list[dict[str, Any]]


def densities(config: ConfigDict, table: Table, window: Window, bench: Bench) -> Draws:
    """Fits the background beside a window, and beside its false windows."""
    fitted_here = template.fit(config, table, window, bench)
    draw = partial(_drawn, config, table, fitted_here)
    n_false = config.search.closure_windows
    false = false_windows(window, table.mass, n_false) if n_false else []
    fitted = template.fit_false(config, table, window, false, bench) if false else []
    others = [partial(_drawn, config, table, one) for one in fitted]
    sidebands = partial(template.beside, config, fitted_here, table)
    return Draws(draw, list(zip(false, others, strict=True)), sidebands)


def _drawn(config: ConfigDict, table: Table, one: template.Template, n: int, what: str) -> Rows:
    return template.draw(config, one, table, n, what)


def pool_of(
    config: ConfigDict, table: Table, window: Window, draw: Draw, others: Rows | None = None
) -> Pool:
    """Data and fresh template rows of a window, and other rows to score."""
    section = config.search
    inside = np.flatnonzero(window.holds(table.mass))
    n_training = round(section.train_factor * len(inside))
    n_counting = round(max(section.count_factor * len(inside), 100 / min(section.efficiencies)))
    return pool.make(
        _events(config, table, inside),
        draw(n_training, "training template"),
        draw(n_counting, "counting template"),
        folds=recipe(config).folds,
        mass_bins=section.mass_bins,
        others=others,
    )


def _folds(config: ConfigDict, table: Table) -> np.ndarray:
    return folds(table.fold_key, recipe(config).folds, config.search.fold_salt)


def _events(config: ConfigDict, table: Table, row: np.ndarray) -> Rows:
    """Rows of a table as a pool takes them."""
    fold = _folds(config, table)[row]
    x = floored(table.x[row], atoms_of(table))
    rows = {"x": x, "m": table.mass[row], "fold": fold, "row": row}
    return rows if table.weight is None else rows | {"weight": table.weight[row]}


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
    section, how, scored = config.search, recipe(config), list(scored_folds(config))

    def counted(place: Window, draw: Draw, n: int, name: str) -> tuple[Pool, np.ndarray]:
        rows = pool_of(config, table, place, draw)
        counts = toys.run_toys(
            *(rows, how, section.efficiencies, config.seed, n, folder / "toys.h5"),
            chunk=min(chunk_of(config), n + 1),
            stop=stop,
            name=name,
        )
        return rows, counts[:, scored].sum(axis=1)

    false, quality = [], []
    for other, draw in draws.false:
        if stop():
            raise Preempted
        rows, counts = counted(other, draw, 0, f"{window.name} false {other.name}")
        false.append(FalseCount(other, analysis.sizes(rows, scored), counts[0]))
        quality.append(_quality(config, rows, table.names))
    rows, counts = counted(window, draws.window, n_toys, window.name)
    size = analysis.sizes(rows, scored)
    return Searched(window, draws, size, counts, false, quality)


def _quality(config: ConfigDict, rows: Pool, names: Sequence[str]) -> dict[str, Any]:
    """Data of a false window against fresh draws: AUC 0.5 and pulls of width 1 where it is exact.

    Data with weights are thinned to events that count alike, for draws follow the weights.
    """
    data, drawn = (rows.x[rows.role == role] for role in (pool.DATA, pool.COUNTING))
    rng = streams.generator(config.seed, Purpose.COMPARED, "moments")
    if rows.weighted:
        weight = rows.weight[rows.role == pool.DATA]
        data = data[rng.random(len(data)) * weight.max() < weight]
    if len(data) < MIN_QUALITY:
        return {"auc": None, "auc_err": None, "pulls": None}
    pulls = {name: moment_pulls(drawn[:, i], data[:, i], rng) for i, name in enumerate(names)}
    data = data[:N_QUALITY]
    return two_sample_auc(drawn[: 4 * len(data)], data, config.seed) | {"pulls": pulls}


def scores(
    config: ConfigDict, table: Table, found: Searched
) -> tuple[Scored, dict[str, dict[str, Any]]]:
    """All events of data, by the classifiers of a window that did not see them.

    Returns also the counts by weighted conformal p-values, by cut; {} of an exact template.
    """
    outside = np.flatnonzero(~found.window.holds(table.mass))
    others = _events(config, table, outside)
    rows = pool_of(config, table, found.window, found.draws.window, others)
    section = config.search
    seen = toys.observed(rows, recipe(config), section.efficiencies, config.seed, chunk=1)
    scored = Scored(rows.row[seen.rows], seen.score, seen.u)
    if found.draws.sidebands is None:
        return scored, {}
    weights = reweight.fit(*found.draws.sidebands(), config.seed)
    return scored, reweight.counts(rows, seen, weights, section.efficiencies)


def power(
    config: ConfigDict,
    table: Table,
    found: Searched,
    row: Sequence[Cut],
    normal: Normalisation | None,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Significances that an injected signal would have, by pseudo-experiments that hold one.

    The density is that of the data: signal in the sidebands of an experiment is not in it. Of
    weighted data `search.power` is a sum of weights.

    Raises:
        UserError: no signal, or less than there is to be injected.
        Preempted: `stop()` was true.
    """
    section, how, scored = config.search, recipe(config), list(scored_folds(config))
    background = found.draws.window(N_QUALITY, "background of the signal")
    signal = inject.signal(config, table, background)
    inside = found.window.holds(signal["m"])
    if not inside.any():
        return {"reason": "none of the signal lies in the window"}
    others = {name: values[inside] for name, values in signal.items()}
    others["fold"] = inject.dealt(others.pop("fold_key"), how.folds)
    others["row"] = np.full(len(others["m"]), -1)
    rows = pool_of(config, table, found.window, found.draws.window, others)
    numbers, weight = range(1, section.power_sets + 1), rows.weight[rows.observed]
    points = []
    for total in section.power:
        if stop():
            raise Preempted
        n_signal = total * inside.mean()
        counts = toys.counts(
            *(rows, how, section.efficiencies, config.seed, numbers),
            chunk=chunk_of(config),
            injected=n_signal / weight.mean(dtype=np.float64),
        )[:, scored].sum(axis=1)
        likely = n_signal / rows.event_weight * len(scored) / how.folds
        points.append(analysis.power(counts, found.size, row, normal, likely, config.seed))
    return {"injected": list(section.power), "in_window": float(inside.mean()), "points": points}


def search(
    config: ConfigDict,
    directory: Path,
    bench: Bench,
    n_toys: int,
    unblind: bool = False,
    draws_of: Callable[[ConfigDict, Table, Window, Bench], Draws] = densities,
    publish: Callable[[Path, dict[str, Any], dict[str, np.ndarray]], None] | None = None,
) -> dict[str, Any]:
    """Search the data of a config in a work directory; returns the content of `search.json`.

    Args:
        n_toys: pseudo-experiments a window; those that are there count.
        unblind: show what was observed.
        draws_of: what makes the templates of a window, for data whose background is known.
        publish: writes what others read, of folder, content, window -> (toys, cuts) counts of toys.

    Raises:
        UserError: anything the user can mend.
        Preempted: stopped by SIGTERM or Ctrl-C, with everything saved.
    """
    settings.check(config)
    require_choices(config)
    began = time.monotonic()
    with workdir.opened(directory), workdir.stop_signals() as stop:
        workdir.settle_config(directory, config, [f"search.{name}" for name in FREE])
        table = search_table(config)
        config = settled(config, table.x.shape[1])
        how = recipe(config)
        print(table_summary(table, how.folds, config.search.fold_salt), flush=True)
        windows = windows_of(config, table.mass, table.mass_unit)
        if config.search.power:
            inject.require(config, table)
        folder = directory / "search"
        folder.mkdir(exist_ok=True)
        searched = [
            search_window(
                *(config, table, window, draws_of(config, table, window, bench)),
                *(n_toys, folder, stop),
            )
            for window in windows
        ]
        shown = unblind or not config.search.blind
        cuts, more, scored = [], [], []
        for found in searched:
            row, normal, entries = _analysed(config, table, found)
            cuts.append(row)
            if config.search.power and len(row[0].z_toys):
                entries["power"] = power(config, table, found, row, normal, stop)
            elif config.search.power:
                entries["power"] = {"reason": "no pseudo-experiments: there are --toys of them"}
            if shown:
                seen, entries["conformal"] = scores(config, table, found)
                scored.append(seen)
                entries |= _spectra(config, table, found.window, seen)
            more.append(entries)
        seconds = time.monotonic() - began
        content = results.content(config, table, windows, cuts, more, shown, seconds)
        if shown:
            results.write_scores(folder / "scores.h5", table, windows, scored)
        results.write(folder / "search.json", content)
        if publish is not None:
            publish(folder, content, {found.window.name: found.counts[1:] for found in searched})
        print(results.terminal(content), flush=True)
        print(f"search: {folder / 'search.json'}")
        return content


def _analysed(
    config: ConfigDict, table: Table, found: Searched
) -> tuple[list[Cut], Normalisation | None, dict[str, Any]]:
    """The cuts of a window, and what else is known without looking at its data."""
    section = config.search
    normal, entries = None, {"template": found.template}
    if section.normalise == "fit":
        seen = np.isin(_folds(config, table), scored_folds(config))
        order = spectra.family_of(config, table, found.window, seen)
        entries["order"] = {
            "name": order.family.name,
            "n_parameters": order.family.n_parameters,
            "reason": order.reason,
            "passed": order.passed,
        }
        n_toys = len(found.counts) - 1
        normal = spectra.normalisation(config, table, found.window, order.family, n_toys, seen)
    row = [
        analysis.cut(
            *(found.counts[:, i], found.size, efficiency),
            *([(f.size, f.counts[i].item()) for f in found.false], normal, config.seed),
        )
        for i, efficiency in enumerate(section.efficiencies)
    ]
    size = found.size
    entries["n_data"] = size.data if size.event_weight == 1 else size.data * size.event_weight
    entries["n_template"] = int(size.template.sum())
    entries["false_windows"] = [[f.window.low, f.window.high] for f in found.false]
    return row, normal, entries


def _spectra(config: ConfigDict, table: Table, window: Window, scored: Scored) -> dict[str, Any]:
    """Mass spectra after cuts, and whether a cut shapes that of the sidebands."""
    mass, cuts = table.mass[scored.row], config.search.efficiencies
    outside = ~window.holds(mass) & np.isfinite(scored.u)
    carved = mass_sculpting(mass[outside], -scored.u[outside], efficiencies=cuts)
    fits = spectra.after_cuts(config, table, window, scored.row, scored.u)
    return {"spectra": fits, "sculpting": carved}
