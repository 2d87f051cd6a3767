"""Training steps of jaxad alone, through its engine's compiled loop, shuffled gather included."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxad.training import step as engine

LONG = 100_000  # steps of the training that these are of: a short one is compiled in haste


def first_block(
    run: engine.Programs, size: int, rows: dict[str, np.ndarray], members: int
) -> tuple[engine.Block, Any]:
    """The first epoch of `rows` in batches of `size`, and the members' seeds, on the devices."""
    n_rows = len(next(iter(rows.values())))
    order = [np.random.default_rng(seed).permutation(n_rows) for seed in range(members)]
    index, weight = engine.make_batches(np.stack(order), size, run.width(size))
    seeds = np.stack([np.arange(members), np.zeros(members)], axis=1).astype(np.uint32)
    data = run.place(rows, "replicated")
    block = engine.Block(data, run.place(index, "index"), run.place(weight, "weight"), 0)
    return block, run.place(seeds, "members")


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
    run = engine.compile_programs(task, train, members, LONG)
    block, seeds = first_block(run, train.batch_size, rows, members)
    state = [run.init(block, seeds)]

    def steps() -> None:
        state[0] = jax.block_until_ready(run.train(state[0], block, seeds, 0, 0, n))

    return steps


def compiled_steps(
    task: engine.Task, train: ConfigDict, rows: dict[str, np.ndarray], members: int = 1
) -> tuple[str, int]:
    """The compiled loop over steps as HLO text, and the parameters of all members in it.

    Over the rows twice: what is the same in every step, as a lone step is, leaves the loop.
    """
    rows = {name: np.concatenate([values, values]) for name, values in rows.items()}
    run = engine.compile_programs(task, train, members, 2)
    block, seeds = first_block(run, train.batch_size, rows, members)
    state = jax.eval_shape(run.init, block, seeds)
    text = run.train.lower(state, block, seeds, 0, 0, 2).compile().as_text()
    return text, sum(a.size for a in jax.tree.leaves(state.params))
