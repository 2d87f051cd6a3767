"""Chunks of files scored by the workers of a dask cluster; `distributed` is imported only here.

Workers read the run and the files by the same paths as the caller and send scores back; whatever
they cannot score is left to the caller.
"""

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxad.data.streams import opened_events
from jaxad.errors import UserError
from jaxad.scorer import Scorer, load

TIMEOUT = "20s"


class Chunk(NamedTuple):
    """Rows of one file."""

    file: str
    key: str
    branches: tuple[tuple[str, str], ...]  # column, branch
    start: int
    stop: int


@functools.lru_cache(maxsize=1)
def _scorer(run: str, digest: str) -> Scorer:
    scorer = load(run)
    if scorer.digest != digest:
        raise UserError(f"{run}: the worker finds another scorer there")
    return scorer


def _scores(run: str, digest: str, chunk: Chunk) -> dict[str, np.ndarray]:
    from jaxad.score import scores_of_rows

    scorer = _scorer(run, digest)
    with opened_events(chunk.file, chunk.key, dict(chunk.branches)) as events:
        return scores_of_rows(scorer, events, chunk.file, chunk.key, chunk.start, chunk.stop)


def scored(
    address: str, run: str, digest: str, chunks: Sequence[Chunk]
) -> Iterator[tuple[Chunk, dict[str, np.ndarray]]]:
    """Chunks with their scores, in the order in which the workers of a scheduler finish them.

    Args:
        run, digest: work directory of the scorer, and the scorer's `digest`.

    Raises:
        UserError: distributed is missing, or there is no scheduler.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise UserError("--scheduler: distributed is missing: pip install 'jaxad[dask]'") from None
    try:
        client = Client(address, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--scheduler: no dask scheduler at {address} ({error})") from None
    refused: dict[Chunk, Any] = {}
    with client:
        tasks: Mapping[Any, Chunk] = {
            client.submit(_scores, run, digest, chunk, pure=False): chunk for chunk in chunks
        }
        for task in as_completed(tasks, loop=client.loop):
            if task.status == "finished":
                yield tasks[task], task.result()
            else:
                refused[tasks[task]] = task.exception()
            task.release()
    if refused:
        chunk, error = next(iter(refused.items()))
        print(
            f"{len(refused)} of {len(chunks)} chunks are scored here, because workers could not: "
            f"{chunk.file}: {error}",
            file=sys.stderr,
        )
