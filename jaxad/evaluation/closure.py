"""How wrong the template of a resonant run is, where it can be known: in false windows.

A classifier looks for where its template is wrong, and counts too many events there
(arXiv:2411.00085). The whole training is repeated in windows of the sidebands, with a density that
has seen neither the false nor the true one; the events of the test part that pass say by how much.
`jaxad.metrics.closure` makes of them a correction and an error. No label is read.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import methods
from jaxad.data.dataset import Dataset, Rows, take
from jaxad.data.false_windows import Window, false_windows
from jaxad.data.window import held_out_data
from jaxad.devices import hosts
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.methods import Bench, cathode
from jaxad.methods.stages import density
from jaxad.metrics import closure
from jaxad.scorer import Scorer
from jaxad.training import streams

SETTING = "method.closure_windows"
DENSITY_RATIOS = ("anode", "ranode")
"""Whose score says nothing outside the window."""
STAGE = "closure "
"""What the names of all its stages begin with."""
SHARES = np.geomspace(1e-4, 0.5, 75)
"""Of the samples, that pass the cuts which are counted: steps of 12 %."""


def scores_of_features(scorer: Scorer, m: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Default scores (N,) of masses (N,) [TeV] and features (N, F), mean over the runs."""
    function = methods.get(scorer.method).feature_scores(scorer.config)
    params = jax.device_put(scorer.params)

    def mean(rows: Array) -> Array:
        scores = function(params, rows[:, 0], rows[:, 1:], rows)
        return next(iter(scores.values())).mean(axis=0)

    return in_batches(mean, np.column_stack([m, x]).astype(np.float32), "scoring")


def template_scores(scorer: Scorer, m: np.ndarray, stage: str) -> np.ndarray:
    """Scores of fresh background samples at the masses `m` (N,) [TeV].

    They are neither those that the classifiers were trained on, nor those that are tested.
    """
    samples = cathode.template(scorer.config, scorer.params["background"], m, stage)
    return scores_of_features(scorer, samples["m"], samples["x"])


def windows(config: ConfigDict, dataset: Dataset) -> list[Window]:
    """The false windows that the config asks for; none if it asks for none.

    Raises:
        UserError: one alone, events with weights, too little data for them, or none that were
            held out.
    """
    n = config.method.get("closure_windows", 0)
    if not n:
        return []
    if n == 1:
        raise UserError(f"{SETTING}: expected 0, or 2 and more, found 1, which shows no spread")
    if len(np.unique(dataset.test.get("weight", np.ones(1)))) > 1:
        raise UserError(
            f"{SETTING}: expected 0, as it counts events, and these have weights: jaxad search "
            f"counts weights, found {n}"
        )
    try:
        held_out_data(dataset)
    except UserError as error:
        raise UserError(f"{SETTING}: {error}") from None
    mass = np.concatenate([rows["mass"] for rows in (dataset.train, dataset.val)])
    return false_windows(_window(dataset), mass.astype(np.float64), n, SETTING)


def _window(dataset: Dataset) -> Window:
    return Window(*(1000 * edge for edge in dataset.info["window"]))


def measure(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict[str, Any]:
    """Trains in every false window, and counts there: JSON-able, {} without any.

    Keys: "windows" (W, 2) [GeV]; "size" (W,) events of the test part in them, "drawn" (W,)
    background samples; "n", "passed" (W, len(SHARES)) those of both that pass cuts which `SHARES`
    of the samples pass. Stages begin with `STAGE` in the work directory: stopped, the same call
    goes on.

    Raises:
        UserError: as `windows`, or a window with so few events that nothing can be learned.
    """
    found: dict[str, Any] = {}
    for window in windows(config, dataset):
        for name, value in _counted(config, dataset, window, bench).items():
            found.setdefault(name, []).append(value)
    return found


def _counted(config: ConfigDict, dataset: Dataset, window: Window, bench: Bench) -> dict[str, Any]:
    true = _window(dataset)
    if hosts.leads():
        print(f"{STAGE}{window.name} GeV, blind to {true.name} GeV too", flush=True)
    blind = dataclasses.replace(
        dataset,
        train=_without(dataset.train, true),
        val=_without(dataset.val, true),
        info=dataset.info | {"window": [edge / 1000 for edge in window]},
    )
    own = config.copy_and_resolve_references()
    own.seed = streams.number_of(f"{config.seed} {window.name}") >> 1
    rows = held_out_data(dataset)
    rows = take(rows, window.holds(rows["mass"]))
    size = len(rows["mass"])
    if size < density.MIN_MASSES:
        raise UserError(
            f"{SETTING}: {window.name} GeV: expected {density.MIN_MASSES} or more events of the "
            f"test part in it, found {size}: ask for fewer windows, or 0 for none"
        )
    name = config.method.name
    fitted = methods.get(name).fit(own, blind, bench.under(f"{STAGE}{window.name}, "))
    scorer = Scorer(name, own, jax.tree.map(np.asarray, fitted), dataset.layout)
    template = template_scores(scorer, rows["mass"] / 1000, "closure")
    cuts, score = np.quantile(template, 1 - SHARES), scorer(rows["x"])
    return {
        "windows": [*window],
        "size": size,
        "drawn": len(template),
        "n": [int((score >= cut).sum()) for cut in cuts],
        "passed": [int((template >= cut).sum()) for cut in cuts],
    }


def _without(rows: Rows, window: Window) -> Rows:
    return take(rows, ~window.holds(rows["mass"]))


def summary(measured: dict[str, Any], share: float) -> dict[str, Any] | None:
    """`jaxad.metrics.closure.summary` at the cut that a `share` of the samples passes.

    A false window's own events are its normalisation, so that no fit is tested with the template.
    None of nothing measured; the nearest of `SHARES`.
    """
    if not measured:
        return None
    at = int(np.argmin(np.abs(np.log(SHARES / max(share, SHARES[0])))))
    size, drawn = (np.array(measured[name], np.float64) for name in ("size", "drawn"))
    n, passed = (np.array(measured[name], np.float64)[:, at] for name in ("n", "passed"))
    return closure.summary(
        n, size * passed / drawn, passed, efficiency=float((passed / drawn).mean())
    )


def said(tested: dict[str, dict[str, Any] | None]) -> str:
    """What the errors of the expectations hold, for the report, by their summaries by cut."""
    known = {name: one for name, one in tested.items() if one is not None}
    if not known:
        return (
            f"statistical error of the template only: what else is wrong with it, {SETTING}=6 "
            "measures in false windows, each a training of its own"
        )
    parts = [
        f"{name}: n / b - 1 = {one['mean']:+.1%} ± {one['sigma']:.1%}"
        + (f" (no claim: {one['refused']})" if one["refused"] else "")
        for name, one in known.items()
    ]
    n_windows = len(next(iter(known.values()))["delta"])
    return (
        f"error of the template by {n_windows} false windows, taken off and added to that of the "
        f"samples; cut of {'; '.join(parts)}"
    )
