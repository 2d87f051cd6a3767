"""Average decision ordering: how often two scores order pairs of events alike.

Faucett, Thaler, Whiteson (arXiv:2010.11998, eq. 9 and 10): DO(a, b) = H[(T_a - T_b)(f_a - f_b)],
where H is 1 above 0, 0 below and 1/2 at 0, and ADO is its mean over pairs. Every pair of n events
counts, n (n - 1) / 2 of them, in square blocks on the device, so that no array of pairs ever
exists. Only the order matters: scores become dense ranks in small integers, counts are exact.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jaxad.devices.arrays import numbers
from jaxad.errors import UserError

_BLOCK = 512


def decision_ordering(
    teacher: ArrayLike, scores: ArrayLike, current: ArrayLike | None = None
) -> np.ndarray:
    """ADO (k,) of `teacher` (n,) with each column of `scores` (n, k), over all pairs of events.

    With `current` (n,), the mean runs over the pairs that `current` and `teacher` order
    oppositely, ties excluded; nan if there is none.

    Raises:
        UserError: other shapes, values that are masked or not finite, or no real numbers.

    Examples:
        >>> teacher, scores = np.array([1.0, 2.0, 3.0]), np.array([[10.0], [30.0], [20.0]])
        >>> print(decision_ordering(teacher, scores).round(3))
        [0.667]
    """
    teacher, scores = _real(teacher, "teacher", "(n,)"), _real(scores, "scores", "(n, k)")
    current = teacher if current is None else _real(current, "current", "(n,)")
    _require(teacher, scores, current)
    columns = np.stack([teacher, current, *scores.T])
    restricted = current is not teacher
    ranks, valid = _blocked_ranks(columns)
    agreement, n_pairs = np.zeros(scores.shape[1]), 0
    for row, column in _block_pairs(len(valid)):
        block = _block_counts(ranks, valid, row, column, restricted)
        counts, pairs = (np.asarray(x, dtype=np.int64) for x in block)
        agreement, n_pairs = agreement + counts, n_pairs + pairs
    with np.errstate(invalid="ignore"):
        return 0.5 + 0.5 * agreement / n_pairs


def ado_with_error(
    teacher: ArrayLike, scores: ArrayLike, n_bootstrap: int = 100, seed: int = 0
) -> tuple[float, float]:
    """ADO of two scores (n,) and (n,), and its standard deviation over bootstraps of the events.

    A bootstrap draws n events with replacement; two copies of one event are a tie. Raises what
    `decision_ordering` raises.
    """
    teacher, scores = _real(teacher, "teacher", "(n,)"), _real(scores, "scores", "(n,)")
    _require(teacher, scores[:, None], teacher)
    n = len(teacher)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
    weights = np.concatenate([np.ones((1, n)), weights])
    ranks, valid = _blocked_ranks(np.stack([teacher, scores]))
    padded = np.zeros((len(weights), valid.size), dtype=np.float32)
    padded[:, :n] = weights
    padded = padded.reshape(len(weights), *valid.shape)
    agreement = sum(
        np.asarray(_weighted_counts(ranks, valid, padded, row, column), dtype=np.float64)
        for row, column in _block_pairs(len(valid))
    )
    ado = 0.5 + agreement / (n * (n - 1))
    return float(ado[0]), float(ado[1:].std(ddof=1))


def _real(x: ArrayLike, name: str, expected: str) -> np.ndarray:
    return numbers(x, f"decision ordering: {name}", expected)


def _require(teacher: np.ndarray, scores: np.ndarray, current: np.ndarray) -> None:
    n = len(teacher)
    shapes = teacher.shape == current.shape == scores.shape[:1] == (n,)
    if not shapes or scores.ndim != 2 or n < 2:
        raise UserError(
            "decision ordering: expected teacher (n,), scores (n, k), current (n,), n > 1, found "
            f"shapes {teacher.shape}, {scores.shape}, {current.shape}"
        )
    for name, array in (("teacher", teacher), ("scores", scores), ("current", current)):
        if not np.isfinite(array).all():
            raise UserError(f"decision ordering: {name} holds values that are not finite")


def _blocked_ranks(columns: np.ndarray) -> tuple[Array, Array]:
    """Dense ranks (c, n_blocks, block) of columns (c, n), zero padded, and which are events."""
    n = columns.shape[1]
    block = min(_BLOCK, n)
    n_blocks = -(-n // block)
    dtype = np.int16 if n <= np.iinfo(np.int16).max else np.int32
    ranks = np.zeros((len(columns), n_blocks * block), dtype=dtype)
    for row, column in zip(ranks, columns, strict=True):
        row[:n] = np.unique(column, return_inverse=True)[1]
    valid = np.arange(n_blocks * block) < n
    return (
        jnp.asarray(ranks.reshape(len(columns), n_blocks, block)),
        jnp.asarray(valid.reshape(n_blocks, block)),
    )


def _block_pairs(n_blocks: int) -> Iterator[tuple[int, int]]:
    return ((row, column) for row in range(n_blocks) for column in range(row, n_blocks))


def _signs(a: Array, b: Array) -> Array:
    """sign(a_i - b_j) of integers (block,) and (block,), as a matrix of the same integers."""
    return jnp.clip(a[:, None] - b[None, :], -1, 1)


def _pairs(valid: Array, row: Array, column: Array) -> Array:
    """Which (i, j) of a block are pairs of events i < j."""
    inside = valid[row][:, None] & valid[column][None, :]
    index = jnp.arange(valid.shape[1])
    return inside & ((row < column) | (index[:, None] < index[None, :]))


@partial(jax.jit, static_argnames="restricted")
def _block_counts(
    ranks: Array, valid: Array, row: int, column: int, restricted: bool
) -> tuple[Array, Array]:
    """Agreements minus disagreements with the teacher (k,), and pairs, of one block of pairs.

    `ranks` holds the teacher, the current model and the k candidates. A sum over the rows of a
    block fits the small integers; the sum over its columns is taken in int32.
    """
    first, second = ranks[:, row], ranks[:, column]
    teacher = _signs(first[0], second[0])
    pairs = _pairs(valid, row, column)
    if restricted:
        pairs &= teacher * _signs(first[1], second[1]) < 0
    teacher = jnp.where(pairs, teacher, 0)

    def count(candidate: tuple[Array, Array]) -> Array:
        agreement = teacher * _signs(*candidate)
        return agreement.sum(axis=0, dtype=agreement.dtype).sum(dtype=jnp.int32)

    return jax.lax.map(count, (first[2:], second[2:])), pairs.sum()


@jax.jit
def _weighted_counts(ranks: Array, valid: Array, weights: Array, row: int, column: int) -> Array:
    """Sums (b,) of w_i w_j sign sign over one block of pairs, for weights (b, n_blocks, block)."""
    agreement = _signs(ranks[0, row], ranks[0, column]) * _signs(ranks[1, row], ranks[1, column])
    agreement = jnp.where(_pairs(valid, row, column), agreement, 0).astype(weights.dtype)
    right = jnp.matmul(weights[:, row], agreement, precision="highest")
    return (right * weights[:, column]).sum(axis=1)
