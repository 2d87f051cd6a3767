"""Where the sidebands say that a density is wrong: weights of its draws.

Boosted classifiers of sideband data against draws at the same masses give w(x, m) = p / (1 - p)
(Andreassen, Nachman, arXiv:1907.08209). Draws are accepted in proportion to w, in the window too:
a fault of the density's shape is much the same there. The window's data are never seen, for the
weights would absorb a signal.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.data.dataset import Rows
from jaxad.methods.stages import boosting, trees
from jaxad.methods.stages.histograms import Rows as Columns
from jaxad.training import streams
from jaxad.training.streams import Purpose

LARGEST = 2.0
"""No weight is more than this, or less than one over it."""
BOUND = 0.999
"""Draws whose weight is beyond this quantile count as if it were that."""
ROWS_AT_ONCE, MIN_ROWS = 65_536, 1024
MAX_ROWS = 200_000  # that a classifier learns from
BAG = 0.75
"""Of the rows, that each classifier sees."""
VALIDATION = 0.3
"""Of these, that end its training."""
TREES, FILLED = 16, 2048
"""To multiples of so many trees, and rows, a forest and its rows are filled up."""
MEMORY = 2**33
"""Bytes of an accelerator, that fits which train at once may take."""
SLOW = boosting.Settings(learning_rate=0.04, leaves=12, min_rows=400, trees=200, patience=15)
"""A good density errs by a few per cent: hasty trees would add more noise than they take away."""


class Case(NamedTuple):
    """What one density is corrected by.

    Attributes:
        members: classifiers.
        data, draws: of the sidebands, both "x" (N, F) and "m" (N,), perhaps "weight".
        seed, stage: of the random numbers.
    """

    members: int
    data: Rows
    draws: Rows
    seed: int
    stage: str


def fit(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Weights for each case; all train together, as many at once as the device likes.

    A case has the same weights in any company, to rounding.

    Returns:
        {"trees": as of `trees.fit`, "members" of them; "bound": () float32, the largest weight}.
    """
    each = [part for case in cases for part in _parts(case)]
    sizes = [-(-max(len(rows.y) for rows in part) // FILLED) * FILLED for part in zip(*each)]  # noqa: B905
    at_once = 1
    if jax.default_backend() != "cpu":
        most = max(1, MEMORY // boosting.memory(*sizes, each[0][0].x.shape[1]))
        at_once = -(-len(each) // -(-len(each) // most))
    grown: list[dict[str, np.ndarray]] = []
    for start in range(0, len(each), at_once):
        chunk = each[start : start + at_once]
        chunk += chunk[:1] * (at_once - len(chunk))
        train, val = (
            Columns(*map(np.stack, zip(*(_filled(rows, n) for rows in part), strict=True)))
            for part, n in zip(zip(*chunk, strict=True), sizes, strict=True)
        )
        found = jax.device_get(boosting.fit(SLOW, train, val))
        grown += [{name: of[i] for name, of in found.items()} for i in range(at_once)]
    fitted, start = [], 0
    for case in cases:
        forest = _forest(grown[start : start + case.members])
        weights = _weights(forest, _inputs(case.draws["x"], case.draws["m"]))
        fitted.append({"trees": forest, "bound": np.float32(np.quantile(weights, BOUND))})
        start += case.members
    return fitted


def _parts(case: Case) -> list[tuple[Columns, Columns]]:
    """Rows that train each member of a case, and rows that end its training."""
    inputs = [_inputs(rows["x"], rows["m"]) for rows in (case.draws, case.data)]
    x, y = np.concatenate(inputs), np.repeat([0.0, 1.0], [len(part) for part in inputs])
    share = [rows.get("weight", np.ones(len(rows["m"]))) for rows in (case.draws, case.data)]
    weight = np.concatenate([w / w.sum() * len(y) / 2 for w in share])
    size = min(round(BAG * len(y)), MAX_ROWS)
    found = []
    for i in range(case.members):
        rng = streams.generator(case.seed, Purpose.ROWS, case.stage, i)
        bag = np.split(rng.permutation(len(y))[:size], [size - round(VALIDATION * size)])
        found.append(
            tuple(
                Columns(x[rows], *(a[rows].astype(np.float32) for a in (y, weight)), len(rows))
                for rows in bag
            )
        )
    return found


def _filled(rows: Columns, n: int) -> Columns:
    """The same with arrays of `n` rows."""
    arrays = (np.pad(a, [(0, n - len(a))] + [(0, 0)] * (a.ndim - 1)) for a in rows[:3])
    return Columns(*arrays, np.int32(rows.number))


def _forest(members: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Trees of several fits as `trees.leaf_sums` reads them, no more than are needed.

    Their number is a multiple of `TREES`: few shapes, for each is compiled.
    """
    used = -(-max(int(one["n"]) for one in members) // TREES) * TREES
    nodes = {name: np.stack([one[name][:used] for one in members]) for name in trees.FIELDS}
    base = np.stack([one["base"] for one in members])
    return nodes | {"base": base, "depth": max(one["depth"] for one in members)}


def _inputs(x: np.ndarray, m: np.ndarray) -> np.ndarray:
    return np.column_stack([x, m]).astype(np.float32)


def _weights(fitted: dict, inputs: np.ndarray) -> np.ndarray:
    logits = []
    for start in range(0, len(inputs), ROWS_AT_ONCE):
        rows = inputs[start : start + ROWS_AT_ONCE]
        # Few shapes, for each is compiled.
        size = max(MIN_ROWS, 1 << (len(rows) - 1).bit_length())
        filled = np.pad(rows, ((0, size - len(rows)), (0, 0)))
        found = np.asarray(trees.leaf_sums(fitted, jnp.asarray(filled)))
        logits.append(found[:, : len(rows)].mean(axis=0))
    return np.clip(np.exp(np.concatenate(logits)), 1 / LARGEST, LARGEST)


def accepted(correction: dict, x: np.ndarray, m: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Which draws `x` (N, F) at masses `m` (N,) stay, bool (N,), by uniform numbers `u` (N,)."""
    return u * correction["bound"] < _weights(correction["trees"], _inputs(x, m))
