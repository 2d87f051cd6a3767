"""Where the sidebands say that a density is wrong: weights of its draws.

Boosted classifiers of sideband data against draws at the same masses give w(x, m) = p / (1 - p)
(Andreassen, Nachman, arXiv:1907.08209). Draws are accepted in proportion to w, in the window too:
a fault of the density's shape is much the same there. The window's data are never seen, for the
weights would absorb a signal.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.data.dataset import Rows
from jaxad.devices.cores import side_by_side
from jaxad.errors import UserError
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
"""To multiples of so many trees, and rows or more, a forest and its rows are filled up."""
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

    On a CPU a core has a classifier, elsewhere they are one program. A case has the same weights in
    any company, to rounding.

    A classifier of 200,000 rows takes 3.6 GB at 100 features, and four times as much at twice as
    many: an accelerator holds some 150.

    Raises:
        UserError: one takes more than `MEMORY`, or on a CPU than a quarter of all memory.

    Returns:
        {"trees": as of `trees.fit`, "members" of them; "bound": () float32, the largest weight}.
    """
    each = [(case, i) for case in cases for i in range(case.members)]
    on_cpu = jax.default_backend() == "cpu"
    size = max(map(_size, cases))
    most = _at_once(size, each[0][0].data["x"].shape[1] + 1, _memory() if on_cpu else MEMORY)
    at_once = -(-len(each) // -(-len(each) // most))
    grown: list[dict[str, np.ndarray]] = []

    def alone(one: tuple[Case, int]) -> dict[str, np.ndarray]:
        return _grown([one], _size(one[0]))[0]

    for start in range(0, len(each), at_once):
        chunk = each[start : start + at_once]
        if on_cpu:
            grown += side_by_side(alone, chunk, "correction", "classifier")
        else:
            grown += _grown(chunk + chunk[:1] * (at_once - len(chunk)), size)
    fitted, start = [], 0
    for case in cases:
        forest = _forest(grown[start : start + case.members])
        weights = _weights(forest, _inputs(case.draws["x"], case.draws["m"]))
        fitted.append({"trees": forest, "bound": np.float32(np.quantile(weights, BOUND))})
        start += case.members
    return fitted


def _bag(case: Case) -> int:
    """Rows that each classifier of a case sees."""
    return min(round(BAG * (len(case.data["m"]) + len(case.draws["m"]))), MAX_ROWS)


def _size(case: Case) -> int:
    """Rows that a bag is filled up to: some four sizes an octave, for each is compiled."""
    bag = _bag(case)
    step = max(FILLED, (1 << (bag - 1).bit_length()) // 8)
    return min(-(-bag // step) * step, MAX_ROWS)


def _split(bag: int) -> tuple[int, int]:
    """Of so many rows, those that train, and those that end the training."""
    val = round(VALIDATION * bag)
    return bag - val, val


def _memory() -> int:
    """Bytes of a CPU's memory, that fits which train at once may take: a quarter of it."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4


def _at_once(size: int, n_features: int, allowed: int) -> int:
    """Fits of `size` rows that `allowed` bytes hold; a `UserError` if it is none."""
    taken = boosting.memory(*_split(size), n_features)
    if taken > allowed:
        raise UserError(
            f"flow.correction: expected trees that take at most {allowed / 1e9:.1f} GB, found "
            f"{taken / 1e9:.1f} GB, for {size} rows of {n_features} features with the mass; "
            "flow.correction=0 does without, fewer features take less, by their square"
        )
    return allowed // taken


def _grown(members: Sequence[tuple[Case, int]], size: int) -> list[dict[str, np.ndarray]]:
    """What `boosting.fit` finds for members of cases, by number, all at once, filled up to `size`.

    Their rows are copied here, and no longer than they train.
    """
    filled = [
        [_filled(*part) for part in zip(_parts(*one), _split(size), strict=True)] for one in members
    ]
    train, val = (Columns(*map(np.stack, zip(*p, strict=True))) for p in zip(*filled, strict=True))
    found = jax.device_get(boosting.fit(SLOW, train, val))
    return [{name: of[i] for name, of in found.items()} for i in range(len(members))]


def _parts(case: Case, member: int) -> list[Columns]:
    """Rows that train a member of a case, and rows that end its training."""
    inputs = [_inputs(rows["x"], rows["m"]) for rows in (case.draws, case.data)]
    x, y = np.concatenate(inputs), np.repeat([0.0, 1.0], [len(part) for part in inputs])
    share = [rows.get("weight", np.ones(len(rows["m"]))) for rows in (case.draws, case.data)]
    weight = np.concatenate([w / w.sum() * len(y) / 2 for w in share])
    rng = streams.generator(case.seed, Purpose.ROWS, case.stage, member)
    bag = np.split(rng.permutation(len(y))[: _bag(case)], [_split(_bag(case))[0]])
    return [
        Columns(x[rows], *(a[rows].astype(np.float32) for a in (y, weight)), len(rows))
        for rows in bag
    ]


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
