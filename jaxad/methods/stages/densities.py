"""Densities of many data sets, trained at once as members of one ensemble (`density.fit`), and
corrected at once by what their sidebands say."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxad.methods import Bench
from jaxad.methods.stages import correction, density, frame

DRAWS_PER_ROW = 2  # of sideband data, that a correction compares it with


class Case(NamedTuple):
    """Events, and pairs of numbers of those that train a density, and that choose its epochs.

    `seed` is that of its first density; further ones and their members count on from it.
    """

    rows: dict[str, np.ndarray]
    splits: Sequence[tuple[np.ndarray, np.ndarray]]
    seed: int


def fit_each(
    config: ConfigDict, cases: Sequence[Case], bench: Bench, stage: str
) -> list[list[dict]]:
    """A density of every split of every case, ensembles as `fit` makes, all trained at once.

    A case has one scale and range, but with `flow.frame_order` each of its splits has its own, of
    its rows alone. All see equally many events, as few as the one that sees the fewest.
    """
    if config.flow.get("frame_order", 0) and any(len(case.splits) > 1 for case in cases):
        apart = [one for case in cases for one in _apart(case, config.flow_train.ensemble)]
        each = iter(fit_each(config, apart, bench, stage))
        return [[next(each)[0] for _ in case.splits] for case in cases]
    settings = config.flow_train.copy_and_resolve_references()
    members, frames = settings.ensemble, [frame.fit(config.flow, case.rows) for case in cases]
    seen = [frame.seen(*each) for each in zip(frames, (c.rows for c in cases), strict=True)]
    first = np.cumsum([0, *(len(case.rows["m"]) for case in cases)])
    splits = [[row + i for row in s] for case, i in zip(cases, first) for s in case.splits]  # noqa: B905
    n_train, n_val = (min(map(len, each)) for each in zip(*splits, strict=True))
    places = [density.turns(train[:n_train], val[:n_val], members) for train, val in splits]
    index = [np.concatenate(each) for each in zip(*places, strict=True)]
    rows = {key: np.concatenate([each[key] for each in seen]) for key in seen[0]}
    settings.ensemble = len(splits) * members
    flow = density.network(config.flow, rows["x"].shape[1])
    seeds = [case.seed + i for case in cases for i in range(len(case.splits) * members)]
    result = bench.fit(
        *(density.task(flow), rows, rows, settings, seeds),
        stage=stage,
        train_index=index[0],
        val_index=index[1],
    )
    params, start, found = density.best_first(result), 0, []
    for case, own in zip(cases, frames, strict=True):
        found.append([])
        for _ in case.splits:
            part = slice(start, start + members)
            found[-1].append(own | {"params": jax.tree.map(lambda a, i=part: a[i], params)})
            start += members
    return found


def _apart(case: Case, members: int) -> list[Case]:
    """A case of each split, with the rows and the seeds of that split alone."""
    found = []
    for i, split in enumerate(case.splits):
        rows = {key: values[np.concatenate(split)] for key, values in case.rows.items()}
        places = np.split(np.arange(len(rows["m"])), [len(split[0])])
        found.append(Case(rows, [tuple(places)], case.seed + i * members))
    return found


class Uncorrected(NamedTuple):
    """A fitted density, and sideband data "x" (N, F) and "m" (N,), perhaps "weight", as of
    `density.fit`.

    `stage` names what is random.
    """

    config: ConfigDict
    fitted: dict
    rows: dict[str, np.ndarray]
    stage: str


def corrected(each: Sequence[Uncorrected]) -> list[dict]:
    """Fitted densities whose samples make up for what is wrong with them in the sidebands.

    Each has a "correction", of its `config.flow.correction` classifiers, which all train together,
    or is as it was with 0.
    """
    cases = []
    for config, fitted, rows, stage in (one for one in each if one.config.flow.correction):
        draws = {k: np.tile(rows[k], DRAWS_PER_ROW) for k in ("m", "weight") if k in rows}
        draws["x"] = density.sample(config, fitted, f"{stage}, correction", draws["m"])
        cases.append(correction.Case(config.flow.correction, rows, draws, config.seed, stage))
    found = iter(correction.fit(cases) if cases else ())
    return [
        one.fitted | ({"correction": next(found)} if one.config.flow.correction else {})
        for one in each
    ]
