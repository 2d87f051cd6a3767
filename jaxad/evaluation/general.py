"""Scores of test events by a trained run, and their figures of merit."""

from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad.data.dataset import Dataset, Rows, take
from jaxad.errors import UserError
from jaxad.evaluation import references
from jaxad.metrics import decorrelated, summarise_all, threshold_at_rate, weighted
from jaxad.metrics.sculpting import correlation, mass_sculpting
from jaxad.scorer import Scorer
from jaxad.storage import blockwise, on_disk

BASELINE = "baseline "
N_DRAWN = 2000  # events of a class whose reconstructions are kept

TOGETHER = 256  # events of small classes that are scored at once

Table = dict[str, dict[str, np.ndarray]]  # class -> score -> (n,) or (members, n)


def classes_of(dataset: Dataset, baselines: Sequence[str] = ()) -> dict[str, Rows]:
    """Test rows of every class, the background first, with the observables of the `baselines`."""
    rows = {dataset.info.get("background", "background"): dataset.test, **dataset.signals}
    return {n: references.with_shapes(r, dataset.layout, baselines) for n, r in rows.items()}


def scores_of(
    scorers: Mapping[str, Scorer],
    baselines: Sequence[str],
    classes: Mapping[str, Rows],
    medians: Mapping[str, float] | None = None,
) -> Table:
    """Scores of every class: the method's own, then the baselines' as "baseline NAME".

    medians: of the observables whose two-sided scores are among them, see `references.medians`.
    """
    centres = {references.two_sided(name): name for name in medians or {}}
    table: Table = {name: {} for name in classes}
    for names in tqdm(_together(classes), desc="scoring", unit="class", delay=2):
        x = _rows_of(names, classes)
        folder = on_disk.folder_of(x)
        found = scorers["method"].member_scores(x, folder)
        found |= {BASELINE + b: scorers[b](x, folder) for b in baselines if b in scorers}
        ends = np.cumsum([len(classes[name]["x"]) for name in names])[:-1]
        for column, values in found.items():
            for name, own in zip(names, np.split(values, ends, axis=-1), strict=True):
                table[name][column] = own
    for name, rows in classes.items():
        known = {}
        for b in baselines:
            if b in scorers:
                known[BASELINE + b] = table[name][BASELINE + b]
            elif b in centres:
                own = centres[b]
                known[BASELINE + b] = _distances(rows[own], medians[own])
            else:
                known[BASELINE + b] = rows[b]
        table[name] = part(table[name], False) | known
    return table


def _distances(values: np.ndarray, centre: float) -> np.ndarray:
    return on_disk.mapped(lambda block: np.abs(block - np.float32(centre)), values)


def _together(classes: Mapping[str, Rows]) -> list[list[str]]:
    """Names of the classes that are scored in one call: alone, small ones leave batches empty."""
    groups: list[list[str]] = []
    size, shape = 0, None
    for name, x in ((name, rows["x"]) for name, rows in classes.items()):
        size += len(x)
        if x.shape[1:] != shape or size > TOGETHER:
            groups, size, shape = [*groups, []], len(x), x.shape[1:]
        groups[-1].append(name)
    return groups


def _rows_of(names: Sequence[str], classes: Mapping[str, Rows]) -> np.ndarray:
    """Raw events of the classes, one after another; those of one class where they lie."""
    if len(names) == 1:
        return classes[names[0]]["x"]
    return np.concatenate([classes[name]["x"] for name in names])


def part(scores: Mapping[str, np.ndarray], baselines: bool) -> dict[str, np.ndarray]:
    """The scores of the baselines, or those of the method, by their own names."""
    return {
        name.removeprefix(BASELINE): values
        for name, values in scores.items()
        if name.startswith(BASELINE) == baselines
    }


def default_scores(table: Table) -> dict[str, np.ndarray]:
    """The default score of every class, (n,) of the first member."""
    default = next(iter(part(next(iter(table.values())), False)))
    return {name: first_member(scores[default]) for name, scores in table.items()}


def first_member(scores: np.ndarray) -> np.ndarray:
    """Scores (n,) of one network, of (n,) or (members, n)."""
    return scores if scores.ndim == 1 else scores[0]


def mean_of_members(scores: np.ndarray) -> np.ndarray:
    """Scores (n,) of a scorer, of (n,) or (members, n)."""
    if scores.ndim == 1:
        return scores
    # As rows of all members a block holds fewer the more there are.
    return on_disk.mapped(lambda rows: rows.T.mean(axis=0), scores.T)


def weights_of(classes: Mapping[str, Rows]) -> dict[str, np.ndarray]:
    """Weights (n,) of the events of each class; {} where they are alike within every class."""
    found = {name: rows["weight"] for name, rows in classes.items() if "weight" in rows}
    alike = all(blockwise.are_constant([weight]) for weight in found.values())
    return {} if alike else found


def measure(
    table: Table, n_bootstrap: int, weights: Mapping[str, np.ndarray] | None = None
) -> dict:
    """`metrics.json`: figures of merit of every signal, score and baseline; first class against.

    weights: of the events of the classes, where they differ; {"weights"} says what they are.
    """
    background, *signals = table
    weights = weights or {}
    found = summarise_all(
        part(table[background], False),
        {name: part(table[name], False) for name in signals},
        part(table[background], True),
        {name: part(table[name], True) for name in signals},
        weights.get(background),
        {name: weights[name] for name in signals if name in weights},
        n_bootstrap=n_bootstrap,
    )
    if weights:
        found["weights"] = {name: weighted.summary(w) for name, w in weights.items()}
    return found


def rates(
    config: ConfigDict, background: dict[str, np.ndarray], weight: np.ndarray | None = None
) -> dict:
    """{SCORE: {RATE: threshold}} for the accepted rates [Hz] of `config.trigger`; {} without.

    background: score -> (n,) or (members, n); weight: (n,) of its events.
    """
    if "trigger" not in config:
        return {}
    return {
        "rates": {
            name: {
                f"{rate:g}": threshold_at_rate(
                    mean_of_members(values), rate, config.trigger.input_rate, weight
                )
                for rate in config.trigger.rates
            }
            for name, values in background.items()
        }
    }


def following(config: ConfigDict, table: Table, classes: Mapping[str, Rows]) -> dict:
    """{"following": ...}: thresholds that follow the observables of `config.trigger`; {} without.

    Of the default score, on the test rows; see `jaxad.metrics.decorrelated.measure`.

    Raises:
        UserError: an observable that these events do not have; too few of them.
    """
    names = tuple(config.get("trigger", {}).get("observables", ()))
    if not names:
        return {}
    background, *signals = classes
    for kind, rows in classes.items():
        for name in names:
            if name not in rows.keys() - {"x"}:
                known = ", ".join(sorted(rows.keys() - {"x"}))
                raise UserError(
                    f"trigger.observables: {name!r} is no observable of the events of {kind}: "
                    f"{known}"
                )
    score = next(iter(part(table[background], False)))
    pairs = {
        name: (mean_of_members(table[name][score]), {column: rows[column] for column in names})
        for name, rows in classes.items()
    }
    found = decorrelated.measure(
        pairs[background], {name: pairs[name] for name in signals}, config.trigger.fpr
    )
    return {"following": {"score": score} | found}


def correlations(
    table: Table,
    background: Rows,
    observables: Sequence[str],
    weight: np.ndarray | None = None,
) -> dict:
    """{"correlations": {SCORE: {OBSERVABLE: ...}}} on the background's test rows."""
    scores = part(next(iter(table.values())), False)
    return {
        "correlations": {
            column: {
                name: correlation(first_member(values), background[name], weight)
                for name in observables
            }
            for column, values in scores.items()
        }
    }


def sculpting(table: Table, background: Rows) -> dict:
    """{"sculpting": ...} of the default score on the background; {} if it has no mass."""
    if "mass" not in background:
        return {}
    scores = next(iter(default_scores(table).values()))
    return {"sculpting": mass_sculpting(background["mass"], scores)}


def outputs_of(
    scorers: Mapping[str, Scorer], classes: Mapping[str, Rows]
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Method -> class -> inputs, reconstructions and latents, of methods that have them."""
    few = {name: take(rows, slice(N_DRAWN)) for name, rows in classes.items()}
    found: dict = {method: {} for method in scorers}
    for names in _together(few):
        x, ends = _rows_of(names, few), np.cumsum([len(few[name]["x"]) for name in names])[:-1]
        for method, scorer in scorers.items():
            parts = {key: np.split(values, ends) for key, values in scorer.outputs(x).items()}
            for i, name in enumerate(names):
                found[method][name] = {key: values[i] for key, values in parts.items()}
    return {method: outputs for method, outputs in found.items() if all(outputs.values())}
