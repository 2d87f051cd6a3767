"""Seeded splits by index: the same seed, length and parts always give the same disjoint events."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxad.data.dataset import Rows, concatenate, n_rows, take
from jaxad.errors import UserError
from jaxad.storage import on_disk


def split_indices(
    n: int,
    parts: Mapping[str, int | float],
    seed: int | list[int] = 0,
    folder: Path | None = None,
) -> dict[str, np.ndarray]:
    """Disjoint, shuffled indices of range(n), one array a part.

    Args:
      n: number of events.
      parts: name -> a fraction (float in (0, 1)), a count (int), or -1 for all that is left (once
        at most). Fractions are of n and round to the nearest event, so that fractions which add
        up to one use every event.
      seed: of NumPy's generator.
      folder: where the indices lie on disk; None: in memory.

    Raises:
      UserError: parts that need more events than there are, or an empty part.

    Examples:
        >>> parts = split_indices(10, {"train": 0.6, "val": 0.2, "test": 0.2}, seed=0)
        >>> {name: len(index) for name, index in parts.items()}
        {'train': 6, 'val': 2, 'test': 2}
    """
    values = list(parts.values())
    listed = ", ".join(f"{name} {value:g}" for name, value in parts.items())
    rest = [value for value in values if value == -1]
    if len(rest) > 1 or any(value != -1 and value <= 0 for value in values):
        raise UserError(f"split {listed}: expected positive parts and at most one -1")
    if all(isinstance(value, float) for value in values):
        edges = np.rint(np.cumsum(values) * n).astype(int)
        sizes = np.diff(edges, prepend=0)
    else:
        sizes = np.array([round(v * n) if isinstance(v, float) else v for v in values])
        if rest:
            sizes[values.index(-1)] = n - sizes[sizes > 0].sum()
    if sizes.sum() > n or (sizes <= 0).any():
        raise UserError(
            f"split {listed}: {n} events cannot be cut so (sizes {sizes.tolist()}); "
            "ask for fewer, or give more events"
        )
    order = on_disk.shuffle(on_disk.numbered(n, folder), np.random.default_rng(seed))
    return dict(zip(parts, np.split(order[: sizes.sum()], np.cumsum(sizes)[:-1]), strict=True))


def hold_out(
    test: Rows, signals: dict[str, Rows], share: float, seed: int
) -> tuple[dict[str, Rows], Rows, dict[str, Rows]]:
    """Parts "supervised_train" and "supervised_val" (4 to 1), and what is left of test and signals.

    Args:
        share: of every class that is taken away.

    Returns:
        The two parts, with "label" 0 for background and 1, 2, ... for the signals; test; signals.
    """
    shares = {"train": 0.8 * share, "val": 0.2 * share, "left": -1}
    taken: dict[str, list[Rows]] = {"train": [], "val": []}
    left = []
    for number, rows in enumerate((test, *signals.values())):
        index = split_indices(n_rows(rows), shares, [seed, 3, number])
        for name, parts in taken.items():
            part = take(rows, index[name])
            parts.append(part | {"label": np.full(n_rows(part), number, np.float32)})
        left.append(take(rows, np.sort(index["left"])))
    extra = {f"supervised_{name}": concatenate(parts) for name, parts in taken.items()}
    return extra, left[0], dict(zip(signals, left[1:], strict=True))


def choose(n: int, limit: int, seed: int | list[int] | np.random.Generator = 0) -> np.ndarray:
    """Sorted indices of `limit` random events out of n; all of them when limit is 0.

    Raises UserError when more are asked for than there are.

    Examples:
        >>> choose(5, limit=0)
        array([0, 1, 2, 3, 4])
        >>> len(choose(1000, limit=10, seed=1))
        10
    """
    if limit < 0 or limit > n:
        raise UserError(f"expected a limit of 0 (all) to {n} events, found {limit}")
    if limit == 0:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))
