"""Baselines that stand beside a method: observables, one or two sided, and which beat it.

An observable of a jet that its reader does not give is computed here from the raw particles. Where
nothing says on which side signal lies, |value - median| of the training background is a score of
its own: it is named so, since a two-sided score pays for the tail that holds no signal.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jax import Array
from ml_collections import ConfigDict

from jaxad import methods
from jaxad.data.dataset import Dataset, Rows
from jaxad.data.layout import PARTICLES, Layout
from jaxad.data.particles import JET_BASELINES
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.inputs.particles import momenta_of
from jaxad.observables.shapes import SHAPES
from jaxad.storage import blockwise


def two_sided(observable: str) -> str:
    """Name of the two-sided score of an observable.

    Examples:
        >>> two_sided("mass")
        '|mass - median|'
    """
    return f"|{observable} - median|"


def names_of(config: ConfigDict, dataset: Dataset) -> list[str]:
    """Names of the trivial scores and references: "observables" are those of the reader.

    Those of jets are followed by the two-sided ones.

    Raises:
        UserError: a name that is neither a method nor an observable of these events.
    """
    found: list[str] = []
    jets = JET_BASELINES if set(JET_BASELINES) <= set(dataset.baselines) else ()
    for name in config.baselines:
        own = [*dataset.baselines, *map(two_sided, jets)] if name == "observables" else [name]
        found += own
    known = _observables(dataset)
    for name in found:
        if name not in {"teacher", *methods.NAMES, *known, *map(two_sided, known)}:
            raise UserError(
                f"baselines: {name!r} is neither a method nor an observable of these events, "
                f"which are {', '.join(sorted(known))}"
            )
    return list(dict.fromkeys(found))


def _observables(dataset: Dataset) -> set[str]:
    shapes = SHAPES if dataset.layout.format in PARTICLES else ()
    return {*dataset.test.keys() - {"x"}, *shapes}


def medians(dataset: Dataset, baselines: Iterable[str]) -> dict[str, float]:
    """Observable -> median in the training background, of the two-sided scores of `baselines`."""
    sided = set(baselines)
    wanted = [name for name in sorted(_observables(dataset)) if two_sided(name) in sided]
    rows = with_shapes(dataset.train, dataset.layout, wanted)
    return {name: blockwise.median(rows[name]) for name in wanted}


def with_shapes(rows: Rows, layout: Layout, names: Iterable[str]) -> Rows:
    """The rows, and beside them the shapes among `names` that they lack, (N,) float32.

    A two-sided score needs its observable.
    """
    wanted = [
        shape for shape in SHAPES if shape not in rows and {shape, two_sided(shape)} & set(names)
    ]
    if not wanted:
        return rows
    in_gev = momenta_of(layout)

    def of(shape: str) -> Callable[[Array], Array]:
        return lambda raw: SHAPES[shape](in_gev(raw))

    return rows | {shape: in_batches(of(shape), rows["x"], shape) for shape in wanted}


def beaten(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """{"beaten": {SIGNAL: {...}}}: signals that baselines separate better than the default score.

    That is: their AUC lies above its by more than both errors, squared and added. Each entry has
    "score", its "auc" and "auc_err", and "by": baseline -> "auc" and "auc_err", the best first.
    """
    found = {}
    for name, signal in metrics["signals"].items():
        score, own = next(iter(signal["scores"].items()))
        better = {
            key: {figure: other[figure] for figure in ("auc", "auc_err")}
            for key, other in signal.get("baselines", {}).items()
            if None not in (own["auc"], other["auc"])
            and other["auc"] - own["auc"] > math.hypot(own["auc_err"] or 0, other["auc_err"] or 0)
        }
        if better:
            best_first = sorted(better.items(), key=lambda item: -item[1]["auc"])
            figures = {key: own[key] for key in ("auc", "auc_err")}
            found[name] = {"score": score, **figures, "by": dict(best_first)}
    return {"beaten": found}
