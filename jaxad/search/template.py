"""What the background looks like in a window: a density of the sidebands, drawn from there.

The outer density of CATHODE (Hallin et al., arXiv:2109.00546), fitted beside the window, and for
the closure test beside the window and a false one each, all of these at once. A fit sees no event
of the windows that it is for.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.dataset import Rows
from jaxad.data.dequantisation import atoms_of, dequantised, floored
from jaxad.data.false_windows import Window
from jaxad.data.table import Table
from jaxad.errors import UserError
from jaxad.methods import Bench
from jaxad.methods.stages import densities, density
from jaxad.search import weights
from jaxad.training import streams
from jaxad.training.streams import Purpose

VAL_FRACTION = 0.25
MIN_SIDEBAND = 200


class Template(NamedTuple):
    """A density, and the window that it is drawn in.

    Attributes:
        fitted: of `density.fit`.
        window: where it is drawn.
        blinded: windows whose events it has not seen.
    """

    fitted: dict
    window: Window
    blinded: tuple[Window, ...]


def _split(config: ConfigDict, rows: np.ndarray, stage: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows that train, and of those that choose epochs."""
    order = streams.generator(config.seed, Purpose.ROWS, stage).permutation(rows)
    n_val = round(VAL_FRACTION * len(order))
    return order[n_val:], order[:n_val]


def _sidebands(table: Table, blinded: Sequence[Window]) -> np.ndarray:
    outside = np.ones(len(table.mass), bool)
    for window in blinded:
        outside &= ~window.holds(table.mass)
    rows = np.flatnonzero(outside)
    if len(rows) < MIN_SIDEBAND:
        raise UserError(
            f"search.windows: {blinded[0].name} GeV: expected {MIN_SIDEBAND} or more events beside "
            f"it to learn the background from, found {len(rows)}"
        )
    return rows


def fit(config: ConfigDict, table: Table, window: Window, bench: Bench) -> Template:
    """The density beside a window.

    Raises:
        UserError: too few events there.
    """
    stage = f"density {window.name}"
    rows = _sidebands(table, [window])
    train, val = (_rows(table, part, config.seed) for part in _split(config, rows, stage))
    fitted = density.fit(config, train, val, bench, stage)
    asked = densities.Uncorrected(config, fitted, _rows(table, rows, config.seed), stage)
    return Template(densities.corrected([asked])[0], window, (window,))


def fit_false(
    config: ConfigDict, table: Table, window: Window, false: Sequence[Window], bench: Bench
) -> list[Template]:
    """A density for every false window, blind to it and to the true one, all trained at once.

    They see equally many events, as few as the one that sees the fewest.
    """
    asked = Asked(config, table, window, false)
    return corrected([asked], fit_false_of([asked], bench))[0]


class Asked(NamedTuple):
    """A search whose false windows are asked for."""

    config: ConfigDict
    table: Table
    window: Window
    false: Sequence[Window]


def fit_false_of(searches: Sequence[Asked], bench: Bench) -> list[list[Template]]:
    """Densities for the false windows of each of many searches, all trained at once.

    They are as `fit_false` makes them before their correction, with the settings of the first
    search but for rows and seeds. In company of others of equally many rows a search has the
    densities that it has alone, to rounding.
    """
    cases = []
    for config, table, window, false in searches:
        for i, other in enumerate(false):
            rows = _sidebands(table, [window, other])
            parts = _split(config, rows, _closure(window, other))
            seed = config.seed + i * config.flow_train.ensemble
            rows = _rows(table, np.concatenate(parts), config.seed)
            cases.append(densities.Case(rows, len(parts[0]), seed))
    first = searches[0]
    fitted = iter(densities.fit_each(first.config, cases, bench, _closure(first.window)))
    return [
        [Template(next(fitted), other, (one.window, other)) for other in one.false]
        for one in searches
    ]


def corrected(
    searches: Sequence[Asked], fitted: Sequence[Sequence[Template]]
) -> list[list[Template]]:
    """The same templates of searches, whose draws the sidebands correct (`densities.corrected`)."""
    asked = []
    for (config, table, *_), templates in zip(searches, fitted, strict=True):
        for one in templates:
            rows = _rows(table, _sidebands(table, one.blinded), config.seed)
            stage = _closure(*one.blinded)
            asked.append(densities.Uncorrected(config, one.fitted, rows, stage))
    found = iter(densities.corrected(asked))
    return [[one._replace(fitted=next(found)) for one in templates] for templates in fitted]


def _closure(window: Window, *other: Window) -> str:
    return " ".join([f"closure {window.name}", *(one.name for one in other)])


def _rows(table: Table, index: np.ndarray, seed: int) -> Rows:
    x = dequantised(table.x[index], atoms_of(table), seed)
    rows = {"x": x, "m": table.mass[index].astype(np.float32)}
    return rows | _weighed(table, index)


def _weighed(table: Table, index: np.ndarray) -> Rows:
    """Their "weight" of mean 1, where events of the table do not count alike.

    Rows that happen to count alike have one too: what is trained or compared together has it or not
    together.
    """
    if not weights.differ(table.weight):
        return {}
    return {"weight": weights.relative(table.weight[index]).astype(np.float32)}


def draw(config: ConfigDict, template: Template, table: Table, n: int, what: str) -> Rows:
    """`n` rows "x" (n, F) float32 and "m" (n,) [GeV] of the background in the template's window.

    Masses follow those of the data there, with their weights. `what`: what they are for; draws for
    something else are others.
    """
    stage = f"{what} {template.window.name} of {template.blinded[0].name}"
    inside = np.flatnonzero(template.window.holds(table.mass))
    mass, weight = table.mass[inside].astype(np.float32), _weighed(table, inside).get("weight")
    rng = streams.generator(config.seed, Purpose.MASSES, stage)
    m = density.sample_mass(mass, n, rng, config.method.bandwidth, weight)
    x = density.sample(config, template.fitted, stage, m)
    return {"x": floored(x, atoms_of(table)), "m": m.astype(np.float64)}


def beside(config: ConfigDict, template: Template, table: Table) -> tuple[Rows, Rows]:
    """Data of the sidebands, and a draw of the density at each of their masses: "x" and "m".

    Both have the "weight" of the data, where events do not count alike.
    """
    rows = _sidebands(table, template.blinded)
    m = table.mass[rows]
    stage, common = f"sidebands of {template.blinded[0].name}", {"m": m} | _weighed(table, rows)
    atoms = atoms_of(table)
    x = density.sample(config, template.fitted, stage, m)
    return tuple({"x": floored(values, atoms)} | common for values in (table.x[rows], x))
