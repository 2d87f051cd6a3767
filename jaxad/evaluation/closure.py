"""How wrong the template of a resonant run is, where it can be known: in false windows.

A classifier looks for where its template is wrong, and counts too many events there
(arXiv:2411.00085). The whole training is repeated in windows of the sidebands, with a density that
has seen neither the false nor the true one; the events of the test part that pass say by how much.
`jaxad.metrics.closure` makes of them a correction and an error. No label is read.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import methods
from jaxad.data.dataset import Dataset, Rows, take
from jaxad.data.false_windows import Window, false_windows
from jaxad.data.window import held_out_data
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


def scores_of_features(scorer: Scorer, m: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Default scores (N,) of masses (N,) [TeV] and features (N, F), mean over the runs."""
    function = methods.get(scorer.method).feature_scores(scorer.config)
    params = jax.tree.map(jnp.asarray, scorer.params)

    def mean(rows: Array) -> Array:
        scores = function(params, rows[:, 0], rows[:, 1:], rows)
        return next(iter(scores.values())).mean(axis=0)

    return in_batches(mean, np.column_stack([m, x]).astype(np.float32))


def cuts(
    scorer: Scorer, m: np.ndarray, beside: np.ndarray, stage: str, efficiencies: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds (cuts,), and the scores of fresh background samples at the masses `m` (N,) [TeV].

    A cut has its efficiency among the scores `beside` the window, or, where those say nothing, of
    the samples.
    """
    # Not the samples that the classifiers were trained on, nor those that are tested.
    samples = cathode.template(scorer.config, scorer.params["background"], m, stage)
    template = scores_of_features(scorer, samples["m"], samples["x"])
    reference = template if scorer.method in DENSITY_RATIOS else beside
    return np.quantile(reference, 1 - np.asarray(efficiencies)), template


def windows(config: ConfigDict, dataset: Dataset) -> list[Window]:
    """The false windows that the config asks for; none if it asks for none.

    Raises:
        UserError: one alone, too little data for them, or none that were held out.
    """
    n = config.method.get("closure_windows", 0)
    if not n:
        return []
    if n == 1:
        raise UserError(f"{SETTING}: expected 0, or 2 and more, found 1, which shows no spread")
    try:
        held_out_data(dataset)
    except UserError as error:
        raise UserError(f"{SETTING}: {error}") from None
    mass = np.concatenate([rows["mass"] for rows in (dataset.train, dataset.val)])
    return false_windows(_window(dataset), mass.astype(np.float64), n, SETTING)


def _window(dataset: Dataset) -> Window:
    return Window(*(1000 * edge for edge in dataset.info["window"]))


def measure(
    config: ConfigDict, dataset: Dataset, bench: Bench, efficiencies: Sequence[float]
) -> dict[str, Any]:
    """Trains in every false window, and counts there: JSON-able, {} without any.

    Keys: "windows" (W, 2) [GeV]; "size" (W,) events of the test part in them, "drawn" (W,)
    background samples; "n", "passed" (W, cuts) those of both that pass cuts of `efficiencies`.
    Stages begin with `STAGE` in the work directory: stopped, the same call goes on.

    Raises:
        UserError: as `windows`, or a window with so few events that nothing can be learned.
    """
    found: dict[str, Any] = {}
    for window in windows(config, dataset):
        one = _counted(config, dataset, window, bench, efficiencies)
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return found | {"efficiencies": [*efficiencies]} if found else {}


def _counted(
    config: ConfigDict,
    dataset: Dataset,
    window: Window,
    bench: Bench,
    efficiencies: Sequence[float],
) -> dict[str, Any]:
    true = _window(dataset)
    print(f"{STAGE}{window.name} GeV, blind to {true.name} GeV too", flush=True)
    blind = dataclasses.replace(
        dataset,
        train=_without(dataset.train, true),
        val=_without(dataset.val, true),
        info=dataset.info | {"window": [edge / 1000 for edge in window]},
    )
    own = config.copy_and_resolve_references()
    own.seed = streams.number_of(f"{config.seed} {window.name}") >> 1
    prefix = f"{STAGE}{window.name}, "

    def fit(*args: Any, stage: str, **kwargs: Any) -> Any:
        return bench.fit(*args, stage=prefix + stage, **kwargs)

    name = config.method.name
    fitted = methods.get(name).fit(own, blind, bench._replace(fit=fit))
    scorer = Scorer(name, own, jax.tree.map(np.asarray, fitted), dataset.layout)
    rows = _without(held_out_data(dataset), true)
    inside, score = window.holds(rows["mass"]), scorer(rows["x"])
    if inside.sum() < density.MIN_MASSES:
        raise UserError(
            f"{SETTING}: {window.name} GeV: expected {density.MIN_MASSES} or more events of the "
            f"test part in it, found {int(inside.sum())}: ask for fewer windows, or 0 for none"
        )
    thresholds, template = cuts(
        scorer, rows["mass"][inside] / 1000, score[~inside], "closure", efficiencies
    )
    return {
        "windows": [*window],
        "size": int(inside.sum()),
        "drawn": len(template),
        "n": [int((score[inside] >= cut).sum()) for cut in thresholds],
        "passed": [int((template >= cut).sum()) for cut in thresholds],
    }


def _without(rows: Rows, window: Window) -> Rows:
    return take(rows, ~window.holds(rows["mass"]))


def summaries(measured: dict[str, Any]) -> dict[str, dict[str, Any] | None]:
    """`jaxad.metrics.closure.summary` of what `measure` counted, by cut; {} of nothing.

    A false window's own events are its normalisation, so that no fit is tested with the template.
    None where in some window no sample passes.
    """
    if not measured:
        return {}
    size, drawn = (np.array(measured[name], float)[:, None] for name in ("size", "drawn"))
    n, passed = (np.array(measured[name], float) for name in ("n", "passed"))
    found: dict[str, dict[str, Any] | None] = {}
    for i, efficiency in enumerate(measured["efficiencies"]):
        share = passed[:, i] / drawn[:, 0]
        found[f"{efficiency:g}"] = (
            closure.summary(
                *(n[:, i], size[:, 0] * share, passed[:, i]), efficiency=float(share.mean())
            )
            if share.all()
            else None
        )
    return found


def said(measured: dict[str, Any]) -> str:
    """What the errors of the expectations hold, for the report."""
    if not measured:
        return (
            f"statistical error of the template only: what else is wrong with it, {SETTING}=6 "
            "measures in false windows, each a training of its own"
        )
    parts = [
        f"{float(name):.2g}: n / b - 1 = {one['mean']:+.1%} ± {one['sigma']:.1%}"
        + (f" (no claim: {one['refused']})" if one["refused"] else "")
        for name, one in summaries(measured).items()
        if one is not None
    ]
    return (
        f"error of the template by {len(measured['windows'])} false windows, taken off and added "
        f"to that of the samples; cut of {'; '.join(parts)}"
    )
