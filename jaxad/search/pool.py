"""The rows of a window that pseudo-experiments permute: data, template to train, template to count.

If the data are background and the template is exact, data and template rows are exchangeable: which
of them are called data is a matter of chance. A pool lays its rows out so that the labels belong to
places. Rows are sorted by fold, and within a fold by role; toy t says which row stands at which
place, and toy 0, the identity, is the data as they were observed. Fold, role and mass bin of a
place are the same in all toys, and rows keep their fold and mass bin. The permutation test is exact
for any classifier.

Weights belong to places as well: data of a toy have the weights that were observed, and the
features of background. That is exact where weights do not depend on the features, given the window
(and the mass bin). Where they do, toys lack what the two have in common.
"""

import itertools
from typing import NamedTuple

import numpy as np

from jaxad.data.dataset import Rows
from jaxad.errors import UserError
from jaxad.inputs.features import require_varied
from jaxad.search import weights
from jaxad.training import streams
from jaxad.training.streams import Purpose

DATA, TRAINING, COUNTING, OTHER = 0, 1, 2, 3


class Pool(NamedTuple):
    """Rows of one window, sorted by fold, and in a fold by role.

    Attributes:
        x: (P, F) float32, standardised by the moments of the whole pool: what a statistic is made
            from must not know which rows are data.
        m: (P,) float64, masses [GeV].
        fold: (P,) int32, ascending.
        role: (P,) int8, `DATA`, `TRAINING`, `COUNTING` or `OTHER`, ascending in a fold.
        row: (P,) int64, number of an event in its table; -1 of template rows.
        bin: (P,) int32, bin of the mass.
        weight: (P,) float32 of places, 1 where the data have none, and of all others.
        shift, scale: (F,) moments of `x` before it was standardised.
    """

    x: np.ndarray
    m: np.ndarray
    fold: np.ndarray
    role: np.ndarray
    row: np.ndarray
    bin: np.ndarray
    weight: np.ndarray
    shift: np.ndarray
    scale: np.ndarray

    @property
    def folds(self) -> int:
        """How many there are."""
        return int(self.fold[-1]) + 1

    @property
    def observed(self) -> np.ndarray:
        """Places (P,) bool of observed data."""
        return (self.role == DATA) & (self.row >= 0)

    @property
    def event_weight(self) -> float:
        """One event of the likelihood, of all data of the window."""
        return weights.event_weight(self.weight[self.observed])

    @property
    def weighted(self) -> bool:
        """Whether some data count more than others."""
        return weights.differ(self.weight[self.observed])


def make(
    data: Rows,
    training: Rows,
    counting: Rows,
    folds: int,
    mass_bins: int = 1,
    spare: Rows | None = None,
    others: Rows | None = None,
) -> Pool:
    """The pool of a window.

    Args:
        data: "x" (N, F), "m" (N,) [GeV], "fold" (N,) in 0 ... folds - 1, "row" (N,) number in the
            table; perhaps "weight" (N,).
        training, counting: template rows to train on and to count with, "x" and "m"; they are
            dealt to the folds in turn.
        folds: k >= 2.
        mass_bins: bins of the mass with equally many rows of the pool each.
        spare: template rows that stand behind the data, for toys with more data than were
            observed: `numbers`.
        others: rows that are only scored, out of fold, and stay where they are: "x", "m", "fold"
            and "row", as the data; a signal that toys are given: `injected`.

    Raises:
        UserError: a constant feature, a fold without rows of some role, or spare rows with mass
            bins or with weights.
    """
    spare = {name: training[name][:0] for name in ("x", "m")} if spare is None else spare
    if len(spare["m"]) and mass_bins > 1:
        raise UserError("search.mass_bins: expected 1 where toys have other numbers of data events")
    if len(spare["m"]) and "weight" in data:
        raise UserError("data.weight: expected none where toys have other numbers of data events")
    none = {name: data[name][:0] for name in ("x", "m", "fold", "row")}
    others = none if others is None else others
    parts = (data, spare, training, counting, others)
    sizes = [len(rows["m"]) for rows in parts]
    x = np.concatenate([np.asarray(rows["x"], np.float64) for rows in parts])
    m = np.concatenate([np.asarray(rows["m"], np.float64) for rows in parts])
    n_pooled = sum(sizes[:-1])
    shift, scale = x[:n_pooled].mean(axis=0), x[:n_pooled].std(axis=0)
    require_varied(shift, scale)
    role = np.repeat([DATA, DATA, TRAINING, COUNTING, OTHER], sizes).astype(np.int8)
    dealt = [np.arange(n) % folds for n in sizes[1:-1]]
    fold = np.concatenate([np.asarray(data["fold"]), *dealt, others["fold"]]).astype(np.int32)
    row = np.full(len(m), -1, np.int64)
    row[: sizes[0]], row[n_pooled:] = data["row"], others["row"]
    weight = np.ones(len(m), np.float32)
    weight[: sizes[0]] = data.get("weight", 1.0)
    inner = np.quantile(m[:n_pooled], np.arange(1, mass_bins) / mass_bins)
    order = np.lexsort((role, fold))  # stable: observed data before spare rows
    pool = Pool(
        x=((x - shift) / scale).astype(np.float32),
        m=m,
        fold=fold,
        role=role,
        row=row,
        bin=np.searchsorted(inner, m, side="right").astype(np.int32),
        weight=weight,
        shift=shift,
        scale=scale,
    )
    by_row = ("x", "m", "fold", "role", "row", "bin", "weight")
    pool = pool._replace(**{name: getattr(pool, name)[order] for name in by_row})
    found = {(int(k), int(r)) for k, r in np.unique(np.stack([pool.fold, pool.role]), axis=1).T}
    for k in range(folds):
        for name, r in (("data", DATA), ("training template", TRAINING), ("template", COUNTING)):
            if (k, r) not in found:
                raise UserError(
                    f"classifier.folds: fold {k} of {folds}: expected rows of {name} in it, found "
                    "none: take fewer folds, or a wider window"
                )
    return pool


def permutation(pool: Pool, seed: int, toy: int) -> np.ndarray:
    """Rows (P,) int32 that stand at the places of toy `toy`, within folds and mass bins.

    Toy 0 is the identity; any other follows from (seed, toy) alone.
    """
    rows = np.arange(len(pool.m), dtype=np.int32)
    if toy == 0:
        return rows
    rng = streams.generator(seed, Purpose.TOY_ROWS, toy)
    edges = np.searchsorted(pool.fold, np.arange(pool.folds + 1))
    for start, stop in itertools.pairwise(edges):
        stop -= np.count_nonzero(pool.role[start:stop] == OTHER)
        bins = pool.bin[start:stop]
        if not bins.any():
            rows[start:stop] = start + rng.permutation(stop - start)
            continue
        for b in np.unique(bins):
            places = start + np.flatnonzero(bins == b)
            rows[places] = rng.permutation(places)
    return rows


def injected(
    pool: Pool, rows: np.ndarray, numbers: np.ndarray, expected: float, seed: int, toy: int
) -> np.ndarray:
    """The rows (P,) of a toy where a Poisson number of its data events are of the `others`.

    Args:
        rows: of `permutation`; numbers: (folds,) data events.
        expected: mean of the number in all folds.

    Raises:
        UserError: more than there are in a fold, of the others or of data.
    """
    rng, rows = streams.generator(seed, Purpose.TOY_SIGNAL, toy), rows.copy()
    for k in range(pool.folds):
        places = np.flatnonzero((pool.fold == k) & (pool.role == DATA))[: numbers[k]]
        others = np.flatnonzero((pool.fold == k) & (pool.role == OTHER))
        n, most = rng.poisson(expected / pool.folds), min(len(places), len(others))
        if n > most:
            raise UserError(
                f"search.power: {expected:.4g} signal events in a window: expected at most {most} "
                f"in a fold, which has {len(places)} events of data and {len(others)} of signal to "
                f"take, found {n}"
            )
        rows[rng.permutation(places)[:n]] = rng.permutation(others)[:n]
    return rows


def numbers(pool: Pool, seed: int, toy: int, expected: float | None = None) -> np.ndarray:
    """Data events (folds,) int64 of a toy: the first so many data places of each fold count.

    Args:
        expected: mean of their Poisson number in all folds; None: as many as were observed, which
            is what toy 0 has in any case.

    Raises:
        UserError: the pool has too few places for data; `make` takes `spare` rows.
    """
    places = np.bincount(pool.fold[pool.role == DATA], minlength=pool.folds)
    observed = np.bincount(pool.fold[pool.observed], minlength=pool.folds)
    if expected is None or toy == 0:
        return observed
    rng = streams.generator(seed, Purpose.TOY_NUMBER, toy)
    found = rng.poisson(expected / pool.folds, pool.folds)
    if (found > places).any():
        k = int(np.argmax(found - places))
        raise UserError(
            f"search: toy {toy} has {found[k]} data events in fold {k}, and the pool has places "
            f"for {places[k]}: give it more spare rows"
        )
    return found


def places_of_data(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Which places (P,) bool are for data, and the number (P,) of each among those of its fold."""
    data = pool.role == DATA
    before = np.cumsum(data) - data
    first = np.searchsorted(pool.fold, np.arange(pool.folds))
    return data, before - before[first][pool.fold]
