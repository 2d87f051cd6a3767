"""Training steps of jaxad alone, through its engine's compiled loop, shuffled gather included."""

from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxad.training import step as engine


def engine_steps(
    task: engine.Task,
    train: ConfigDict,
    x: np.ndarray | dict[str, np.ndarray],
    n: int,
    members: int = 1,
) -> Callable[[], None]:
    """Function that takes n steps of `train.batch_size` rows each, of all members at once.

    Args:
        x: rows "x", or all rows by their names.
    """
    rows = x if isinstance(x, dict) else {"x": x}
    run = engine.compile_programs(task, train, members, n)
    size, n_rows = train.batch_size, len(next(iter(rows.values())))
    order = [np.random.default_rng(seed).permutation(n_rows) for seed in range(members)]
    index, weight = engine.make_batches(np.stack(order), size, run.width(size))
    data = run.place(rows, "replicated")
    seeds = np.stack([np.arange(members), np.zeros(members)], axis=1).astype(np.uint32)
    seeds = run.place(seeds, "members")
    block = engine.Block(data, run.place(index, "index"), run.place(weight, "weight"), 0)
    state = [run.init(block, seeds)]

    def steps() -> None:
        state[0] = jax.block_until_ready(run.train(state[0], block, seeds, 0, 0, n))

    return steps
