"""Scores of test events by a trained run, and their figures of merit."""

from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad import methods
from jaxad.data.dataset import Dataset, Rows, take
from jaxad.errors import UserError
from jaxad.metrics import summarise_all, threshold_at_rate
from jaxad.metrics.sculpting import correlation, mass_sculpting
from jaxad.scorer import Scorer

BASELINE = "baseline "
N_DRAWN = 2000  # events of a class whose reconstructions are kept

Table = dict[str, dict[str, np.ndarray]]  # class -> score -> (n,) or (members, n)


def classes_of(dataset: Dataset) -> dict[str, Rows]:
    """Test rows of every class, the background first."""
    return {dataset.info.get("background", "background"): dataset.test, **dataset.signals}


def baselines_of(config: ConfigDict, dataset: Dataset) -> list[str]:
    """Names of the trivial scores and references: "observables" are those of the reader.

    Raises:
        UserError: a name that is neither a method nor an observable of these events.
    """
    found: list[str] = []
    for name in config.baselines:
        found += dataset.baselines if name == "observables" else [name]
    known = {"teacher", *methods.NAMES, *dataset.test.keys() - {"x"}}
    for name in found:
        if name not in known:
            raise UserError(
                f"baselines: {name!r} is neither a method nor an observable of these events, "
                f"which are {', '.join(sorted(dataset.test.keys() - {'x'}))}"
            )
    return list(dict.fromkeys(found))


def scores_of(
    scorers: Mapping[str, Scorer], baselines: Sequence[str], classes: Mapping[str, Rows]
) -> Table:
    """Scores of every class: the method's own, then the baselines' as "baseline NAME"."""
    table: Table = {}
    for name, rows in tqdm(classes.items(), desc="scoring", unit="class", delay=2):
        scores = scorers["method"].member_scores(rows["x"])
        for baseline in baselines:
            known = scorers[baseline](rows["x"]) if baseline in scorers else rows[baseline]
            scores[BASELINE + baseline] = known
        table[name] = scores
    return table


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


def measure(table: Table, n_bootstrap: int) -> dict:
    """`metrics.json`: figures of merit of every signal, score and baseline; first class against."""
    background, *signals = table
    return summarise_all(
        part(table[background], False),
        {name: part(table[name], False) for name in signals},
        part(table[background], True),
        {name: part(table[name], True) for name in signals},
        n_bootstrap=n_bootstrap,
    )


def rates(config: ConfigDict, background: dict[str, np.ndarray]) -> dict:
    """{SCORE: {RATE: threshold}} for the accepted rates [Hz] of `config.trigger`; {} without.

    background: score -> (n,) or (members, n); members are averaged, as a scorer does.
    """
    if "trigger" not in config:
        return {}
    return {
        "rates": {
            name: {
                f"{rate:g}": threshold_at_rate(
                    np.atleast_2d(values).mean(axis=0), rate, config.trigger.input_rate
                )
                for rate in config.trigger.rates
            }
            for name, values in background.items()
        }
    }


def correlations(table: Table, background: Rows, observables: Sequence[str]) -> dict:
    """{"correlations": {SCORE: {OBSERVABLE: ...}}} on the background's test rows."""
    scores = part(next(iter(table.values())), False)
    return {
        "correlations": {
            column: {
                name: correlation(first_member(values), background[name]) for name in observables
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
    found = {
        method: {name: scorer.outputs(rows["x"]) for name, rows in few.items()}
        for method, scorer in scorers.items()
    }
    return {method: outputs for method, outputs in found.items() if all(outputs.values())}
