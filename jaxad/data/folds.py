"""Folds of events by a hash of their ids, so that neither order nor values of features decide."""

import numpy as np

from jaxad.errors import UserError

UINT32 = np.uint64(0xFFFFFFFF)


def keys_of(ids: np.ndarray) -> np.ndarray:
    """The key (N,) uint64 of ids (N,) or (N, K) int64: equal ids have equal keys.

    One column is its own key; of several it is a hash of 64 bits.
    """
    columns = np.asarray(ids, np.int64).reshape(len(ids), -1).T.astype(np.uint64)
    if len(columns) == 1:
        return columns[0]
    key = np.zeros(len(ids), np.uint64)
    for column in columns:
        low, high = _mixed(key, column), _mixed(column, key + np.uint64(1))
        key = low | high << np.uint64(32)
    return key


def folds(fold_key: np.ndarray, k: int, salt: int = 0) -> np.ndarray:
    """The fold (N,) int32 of each event, 0 ... k - 1: a salted hash of its key.

    Args:
        fold_key: (N,) uint64, see `jaxad.data.table.Table`; hashed as pairs of uint32.
        k: 2 or more.

    Raises:
        UserError: a fold that is empty, or more than 5 binomial standard deviations off N / k,
            where events of one key count as one draw of their number.

    Examples:
        >>> folds(np.arange(8, dtype=np.uint64), k=2)
        array([0, 0, 1, 1, 1, 0, 0, 1], dtype=int32)
    """
    if k < 2:
        raise UserError(f"classifier.folds: expected 2 or more, found {k}")
    hashed = _mixed(fold_key, np.uint64(salt % 2**32))
    fold = (hashed * np.uint64(k) >> np.uint64(32)).astype(np.int32)
    sizes = fold_sizes(fold, k)
    _, repeats = np.unique(fold_key, return_counts=True)
    p = 1 / k
    spread = np.sqrt(p * (1 - p) * float((repeats.astype(np.float64) ** 2).sum()))
    worst = int(np.argmax(np.abs(sizes - p * len(fold))))
    empty = (sizes == 0).any()
    if empty or abs(sizes[worst] - p * len(fold)) > 5 * spread:
        listed = ", ".join(f"{size:,}" for size in sizes)
        raise UserError(
            f"classifier.folds: folds of {listed} events, of {len(repeats):,} ids: "
            + ("one is empty" if empty else f"fold {worst} is more than 5 sigma off")
            + ": take fewer folds, another search.fold_salt, or an id that tells events apart"
        )
    return fold


def fractions(key: np.ndarray, salt: int = 0) -> np.ndarray:
    """A number (N,) from 0 to 1 of each key, the same for equal ones: a salted hash."""
    return _mixed(key, np.uint64(salt % 2**32)) / 2.0**32


def fold_sizes(fold: np.ndarray, k: int) -> np.ndarray:
    """Number of events of each fold, (k,)."""
    return np.bincount(fold, minlength=k)


def _mixed(values: np.ndarray, salt: np.ndarray | np.uint64) -> np.ndarray:
    """MurmurHash3 (N,) uint64 below 2^32 of the two uint32 of each value; the salt below 2^32."""
    keys = np.asarray(values, np.uint64)
    state = np.broadcast_to(np.asarray(salt, np.uint64) & UINT32, keys.shape)
    for part in (keys & UINT32, keys >> np.uint64(32)):
        part = part * np.uint64(0xCC9E2D51) & UINT32
        part = (part << np.uint64(15) | part >> np.uint64(17)) & UINT32
        state = state ^ (part * np.uint64(0x1B873593) & UINT32)
        state = (state << np.uint64(13) | state >> np.uint64(19)) & UINT32
        state = (state * np.uint64(5) + np.uint64(0xE6546B64)) & UINT32
    state = state ^ np.uint64(8)
    state = (state ^ state >> np.uint64(16)) * np.uint64(0x85EBCA6B) & UINT32
    state = (state ^ state >> np.uint64(13)) * np.uint64(0xC2B2AE35) & UINT32
    return state ^ state >> np.uint64(16)
