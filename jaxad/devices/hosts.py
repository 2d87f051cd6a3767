"""Several processes as one machine: each runs the same program, and they agree on every step.

A computation over the devices of all processes must be called by all of them, with equal
arguments. What depends on a clock, a signal or the disk is therefore agreed upon here. Process 0,
the leader, alone writes to the work directory.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from jaxad.errors import UserError

ENVIRONMENT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
LAUNCHERS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
"""Numbers of processes that srun and mpirun started together; JAX finds the rest."""
_MEETINGS = itertools.count()
"""Numbers of the meetings so far, the same in all processes: each needs a name of its own."""


def initialize() -> None:
    """Join the other processes of a launcher; a single process has nothing to do.

    Those of Slurm's srun and of Open MPI are recognised by their environment; anything else sets
    JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID. Call it
    before anything touches a device.

    Raises:
        UserError: some of the three variables are missing, or they or a launcher's are no numbers.
    """
    values = [os.environ.get(name, "").strip() for name in ENVIRONMENT]
    if any(values):
        if not all(values):
            missing = ", ".join(n for n, v in zip(ENVIRONMENT, values, strict=True) if not v)
            raise UserError(f"environment: several processes need {missing} too")
        (address, *_), (number, process) = values, map(_number, ENVIRONMENT[1:])
        if not process < number:
            raise UserError(
                f"environment: JAX_PROCESS_ID: expected 0 to {number - 1}, as JAX_NUM_PROCESSES is "
                f"{number}, found {process}"
            )
        jax.distributed.initialize(address, number, process)
        return
    started = [name for name in LAUNCHERS if _number(name) > 1]
    if started:
        try:
            jax.distributed.initialize()
        except (KeyError, ValueError) as error:
            raise UserError(
                f"environment: {started[0]} speaks of {_number(started[0])} processes, which "
                f"cannot be found ({error}): start them with srun or mpirun, or unset it"
            ) from error


def _number(name: str) -> int:
    """The whole number in a variable of the environment; 0 where it is empty or not there."""
    text = os.environ.get(name, "").strip()
    if text and not text.isdecimal():
        raise UserError(f"environment: {name}: expected a whole number, found {text!r}: unset it")
    return int(text or 0)


def leads() -> bool:
    """Whether this process is the leader; a single process is."""
    return jax.process_index() == 0


def largest(*values: float) -> list[int]:
    """The largest of all processes' values, one by one: a vote where they are booleans."""
    if jax.process_count() == 1:
        return [int(value) for value in values]
    votes = multihost_utils.process_allgather(np.asarray(values, np.int32))
    return votes.max(axis=0).tolist()


def meet(what: str) -> None:
    """Wait for the last of the processes, a day if need be; the first computation waits 30 s."""
    from orbax.checkpoint import multihost  # slow to import

    key = f"jaxad {what} {next(_MEETINGS)}"
    multihost.get_barrier_sync_fn()(key=key, timeout_ms=24 * 3_600_000)


@contextlib.contextmanager
def leader_first(what: str) -> Iterator[None]:
    """The leader runs the body, then all others: what it made or mended, they find done.

    They end together.
    """
    if not leads():
        meet(f"before {what}")
    try:
        yield
    finally:
        if leads():
            meet(f"before {what}")
        meet(f"after {what}")


def place(values: np.ndarray, sharding: Sharding) -> jax.Array:
    """An array of the host, equal in all processes, on the devices of all."""
    if jax.process_count() == 1:
        return jax.device_put(values, sharding)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def of_leader(tree: Any) -> Any:
    """The leader's arrays of the host in every process: other CPUs may round otherwise."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def fetch(tree: Any) -> Any:
    """The arrays of a pytree, wherever their parts lie, as NumPy arrays in every process."""

    def whole(a: jax.Array) -> np.ndarray:
        if not (a.is_fully_addressable or a.is_fully_replicated):
            a = multihost_utils.process_allgather(a, tiled=True)
        return np.asarray(a)

    return jax.tree.map(whole, tree)
