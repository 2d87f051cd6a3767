"""Boosted trees of toys, folds and members, toy by toy in processes of their own.

A member is scikit-learn's histogram gradient boosting on a random subset of the features, half of
its rows to stop early on ("Back to the roots", Finke et al., arXiv:2309.13111; attribute bagging,
arXiv:2604.20965). The subsets are part of the recipe, the same for all toys.
"""

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from ml_collections import ConfigDict
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from jaxad import tasks
from jaxad.search import fits
from jaxad.search.plan import Engine, Plan, feature_masks
from jaxad.training import streams
from jaxad.training.streams import Purpose

_toy = None  # of a process that counts toys: their number -> counts


def _fit(
    seed: int,
    max_iter: int,
    masks: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    place: tuple[int, int, int],
) -> fits.Score:
    rng = streams.generator(seed, Purpose.TOY_INITIAL, *place)
    model = HistGradientBoostingClassifier(
        max_iter=max_iter,
        early_stopping=True,
        validation_fraction=0.5,
        random_state=int(rng.integers(2**32)),
    )
    seen = masks[place[1:]]
    with threadpool_limits(1):
        model.fit(x[:, seen], y, sample_weight=weight)

    def score(rows: np.ndarray) -> np.ndarray:
        with threadpool_limits(1):
            return model.decision_function(rows[:, seen])

    return score


def _start(plan: Plan, fit: fits.SeededFit, members: int) -> None:
    global _toy
    _toy = partial(fits.counts_of, plan, fit, members)


def _counts(toy: int) -> np.ndarray:
    return _toy(toy)


@contextlib.contextmanager
def engine(plan: Plan, recipe: ConfigDict) -> Iterator[Engine]:
    """All cores, a toy each; with one core, in this process."""
    masks = feature_masks(plan, recipe.members, recipe.feature_fraction)
    fit, members = partial(_fit, plan.seed, recipe.max_iter, masks), recipe.members
    scores = partial(fits.scores_of, plan, fit, members)
    workers = len(os.sched_getaffinity(0))
    if workers == 1:
        yield Engine(partial(_in_turn, partial(fits.counts_of, plan, fit, members)), scores)
        return
    with tasks.processes(workers, _start, (plan, fit, members)) as executor:

        def counts(parts: Iterable[Sequence[int]]) -> Iterator[np.ndarray]:
            flying: deque = deque()
            for part in parts:
                flying.append([executor.submit(_counts, toy) for toy in part])
                if len(flying) > 1:
                    yield np.stack([future.result() for future in flying.popleft()])
            while flying:
                yield np.stack([future.result() for future in flying.popleft()])

        yield Engine(counts, scores)


def _in_turn(count, parts: Iterable[Sequence[int]]) -> Iterator[np.ndarray]:
    for part in parts:
        yield np.stack([count(toy) for toy in part])
