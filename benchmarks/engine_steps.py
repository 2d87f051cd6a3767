"""Training steps of jaxad alone, through its engine's compiled loop, shuffled gather included."""

from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxad.training import step as engine


def engine_steps(task: engine.Task, train: ConfigDict, x: np.ndarray, n: int) -> Callable[[], None]:
    """Function that takes n steps on rows "x", of `train.batch_size` each."""
    run = engine.compile_programs(task, train, 1, n)
    order = np.random.default_rng(0).permutation(len(x))[None]
    index, weight = engine.make_batches(order, train.batch_size, run.width(train.batch_size))
    data, seeds = run.place({"x": x}, "replicated"), run.place(np.zeros(1, np.uint32), "members")
    block = engine.Block(data, run.place(index, "index"), run.place(weight, "weight"), 0)
    members = [run.init(block, seeds)]

    def steps() -> None:
        members[0] = jax.block_until_ready(run.train(members[0], block, seeds, 0, 0, n))

    return steps
