"""Work cut into tasks, done by spawned processes or by the workers of a dask cluster.

Tasks have a fixed size, each its own seed where it needs one, and are gathered in order: the output
is the same for any number of workers. Finished tasks lie in a folder of parts, so that interrupted
work goes on where it stopped.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxad.errors import DAMAGED, UserError
from jaxad.storage.atomic import replacing

Generate = Callable[[str, int, np.random.Generator], dict[str, np.ndarray]]
RowsOf = Callable[["Task"], dict[str, np.ndarray]]

TIMEOUT = "20s"  # to find a scheduler


@dataclass(frozen=True)
class Task:
    """`n` events of `process`, the `index`-th task of the part of the output called `split`."""

    process: str
    split: str
    index: int
    n: int

    @property
    def name(self) -> str:
        return f"{self.process}-{self.split}-{self.index:06d}-{self.n}"


def make_tasks(process: str, split: str, n_events: int, size: int) -> list[Task]:
    """`n_events` cut into tasks of `size`, the last one smaller."""
    full, rest = divmod(n_events, size)
    sizes = [size] * full + ([rest] if rest else [])
    return [Task(process, split, i, n) for i, n in enumerate(sizes)]


def task_rng(seed: int, task: Task) -> np.random.Generator:
    """Random numbers that depend on nothing but the user's seed and the task's place."""
    name = zlib.crc32(f"{task.process}-{task.split}".encode())
    return np.random.default_rng([seed, name, task.index])


def seeded(generate: Generate, seed: int) -> RowsOf:
    """The rows of a task by `generate`, module-level: (process, n, rng) -> arrays with n rows."""
    return partial(_generated, generate, seed)


def _generated(generate: Generate, seed: int, task: Task) -> dict[str, np.ndarray]:
    return generate(task.process, task.n, task_rng(seed, task))


def run_tasks(
    rows_of: RowsOf,
    tasks: list[Task],
    folder: Path,
    workers: int | str | None,
    name: str,
) -> list[Path]:
    """Run every task whose part is not there yet.

    Args:
        rows_of: arrays with one leading axis of a task; it must pickle. See `seeded`.
        tasks: what to run.
        folder: where the parts lie.
        workers: processes; None means all cores, 1 runs in this process. A string is the address
            of a dask scheduler whose workers run the tasks.
        name: shown at the progress bar.

    Returns:
        One npz file a task, in the order of the tasks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [folder / f"{task.name}.npz" for task in tasks]
    todo = [(t, p) for t, p in zip(tasks, parts, strict=True) if not p.exists()]
    if not isinstance(workers, str):
        workers = min(workers or len(os.sched_getaffinity(0)), max(len(todo), 1))
    total = sum(task.n for task in tasks)
    done = total - sum(task.n for task, _ in todo)
    with tqdm(total=total, initial=done, desc=name, unit="ev", leave=False) as bar:
        if workers == 1:
            for task, part in todo:
                bar.update(_run_task(rows_of, task, part))
        else:
            run = _run_on_cluster if isinstance(workers, str) else _run_parallel
            for n in run(rows_of, todo, workers):
                bar.update(n)
    return parts


def _run_on_cluster(rows_of, todo, address) -> Iterator[int]:
    parts = dict(todo)
    for task, rows, error in completed(address, rows_of, list(parts)):
        if error:
            raise UserError(f"{task.name}: a worker of {address} failed: {error}") from error
        _save_part(parts[task], rows)
        yield task.n


def _run_parallel(rows_of, todo, workers) -> Iterator[int]:
    with processes(workers) as pool:
        futures = [pool.submit(_run_task, rows_of, task, part) for task, part in todo]
        for future in as_completed(futures):
            yield future.result()


@contextlib.contextmanager
def processes(
    workers: int, prepare: Callable[..., None] | None = None, arguments: tuple = ()
) -> Iterator[ProcessPoolExecutor]:
    """Spawned processes that leave Ctrl-C to this one and end with it, or at an error here.

    Each begins with `prepare(*arguments)`, which must pickle.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(prepare, arguments),
    )
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        mine = set(multiprocessing.active_children()) - others
        for process in mine:
            process.terminate()
        for process in mine:
            process.join(5)
        # Its thread is waited for: Python would wake it at its end while it closes what wakes it.
        pool.shutdown(cancel_futures=True)
        raise


def _start_worker(prepare: Callable[..., None] | None, arguments: tuple) -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow():
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    if prepare:
        prepare(*arguments)


def _run_task(rows_of: RowsOf, task: Task, part: Path) -> int:
    _save_part(part, rows_of(task))
    return task.n


def _save_part(part: Path, rows: dict[str, np.ndarray]) -> None:
    with replacing(part, shared=True) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **rows)


def load_part(part: Path) -> dict[str, np.ndarray]:
    """The arrays of one task."""
    try:
        with np.load(part, allow_pickle=False) as arrays:
            return dict(arrays)
    except DAMAGED as error:
        raise UserError(f"{part}: damaged ({error}): remove it and run again") from None


def completed(
    address: str, function: Callable[[Any], Any], items: Sequence[Any]
) -> Iterator[tuple[Any, Any, BaseException | None]]:
    """(item, function(item), None) in the order in which the workers finish.

    An item that no worker could do comes as (item, None, its error).

    Args:
        address: of the scheduler, tcp://HOST:PORT.
        function: what workers can import, with arguments that can be pickled.
        items: hashable.

    Raises:
        UserError: distributed is missing, or there is no scheduler.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise UserError(
            "a dask scheduler was given, but distributed is missing: pip install 'jaxad[dask]'"
        ) from None
    try:
        client = Client(address, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"no dask scheduler at {address} ({error})") from None
    with client:
        tasks = {client.submit(function, item, pure=False): item for item in items}
        for task in as_completed(tasks, loop=client.loop):
            if task.status == "finished":
                yield tasks[task], task.result(), None
            else:
                yield tasks[task], None, task.exception()
            task.release()
