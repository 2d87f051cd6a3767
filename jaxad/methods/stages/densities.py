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
    """What one density learns from: rows "x" (N, F) and "m" (N,), perhaps "weight".

    The first `n_train` rows train, the others choose epochs. Members of an ensemble have `seed` and
    those that follow it.
    """

    rows: dict[str, np.ndarray]
    n_train: int
    seed: int


def fit_each(config: ConfigDict, cases: Sequence[Case], bench: Bench, stage: str) -> list[dict]:
    """A density of every case, ensembles as `density.fit` makes, all trained at once.

    Nothing is shared but the program: each has a frame of its own rows. All see equally many
    events, as few as the one that sees the fewest.
    """
    settings = config.flow_train.copy_and_resolve_references()
    members, frames = settings.ensemble, [frame.fit(config.flow, case.rows) for case in cases]
    seen = [frame.seen(own, case.rows) for own, case in zip(frames, cases, strict=True)]
    rows = {key: np.concatenate([each[key] for each in seen]) for key in seen[0]}
    ends = np.cumsum([len(case.rows["m"]) for case in cases])
    every = [np.split(own, [case.n_train]) for own, case in zip(_ranges(ends), cases, strict=True)]
    n_train, n_val = (min(map(len, each)) for each in zip(*every, strict=True))
    places = [density.turns(train[:n_train], val[:n_val], members) for train, val in every]
    index = [np.concatenate(each) for each in zip(*places, strict=True)]
    settings.ensemble = len(cases) * members
    flow = density.network(config.flow, rows["x"].shape[1])
    result = bench.fit(
        *(density.task(flow), rows, rows, settings),
        [case.seed + i for case in cases for i in range(members)],
        stage=stage,
        train_index=index[0],
        val_index=index[1],
    )
    params = density.best_first(result)
    return [
        own | {"params": jax.tree.map(lambda a, i=i: a[i * members : (i + 1) * members], params)}
        for i, own in enumerate(frames)
    ]


def _ranges(ends: np.ndarray) -> list[np.ndarray]:
    """Numbers up to each end, from the one before."""
    return np.split(np.arange(ends[-1]), ends[:-1])


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
