"""Runs many tasks in spawned processes and keeps their results on disk until all are done.

The work is cut into tasks of fixed size, each with its own seed where it needs one, and gathered in
order: the output is the same for any number of workers. Finished tasks lie in a folder of parts, so
that interrupted work goes on where it stopped; the files of the published layout appear under their
names only when complete.
"""

import contextlib
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxad import cluster
from jaxad.data.checks import DAMAGED
from jaxad.errors import UserError
from jaxad.simulation.pythia import PACKAGES, require_packages

SUMMARY = "simulation.json"

Generate = Callable[[str, int, np.random.Generator], dict[str, np.ndarray]]
RowsOf = Callable[["Task"], dict[str, np.ndarray]]


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


def concatenate(batches: list[dict[str, np.ndarray]], n: int) -> dict[str, np.ndarray]:
    """The first n rows of dictionaries of arrays with one leading axis."""
    return {k: np.concatenate([b[k] for b in batches])[:n] for k in batches[0]}


def accept(
    batch: Callable[[int], dict[str, np.ndarray]], n: int, batch_size: int = 250
) -> dict[str, np.ndarray]:
    """Call `batch(n_tried)` until n rows have been accepted."""
    batch_size = min(batch_size, max(2 * n, 10))
    batches, accepted, fruitless = [], 0, 0
    while accepted < n:
        rows = batch(batch_size)
        found = len(next(iter(rows.values())))
        fruitless = 0 if found else fruitless + 1
        if fruitless == 200:
            raise RuntimeError(f"no event accepted in {fruitless * batch_size} tries")
        batches.append(rows)
        accepted += found
    return concatenate(batches, n)


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
    for task, rows, error in cluster.completed(address, rows_of, list(parts)):
        if error:
            raise UserError(f"{task.name}: a worker of {address} failed: {error}") from error
        _save_part(parts[task], rows)
        yield task.n


def _run_parallel(rows_of, todo, workers) -> Iterator[int]:
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        futures = [pool.submit(_run_task, rows_of, task, part) for task, part in todo]
        for future in as_completed(futures):
            yield future.result()
        pool.shutdown()
    except BaseException:
        mine = set(multiprocessing.active_children()) - others
        for process in mine:
            process.terminate()
        for process in mine:
            process.join(5)
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow():
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _run_task(rows_of: RowsOf, task: Task, part: Path) -> int:
    _save_part(part, rows_of(task))
    return task.n


def _save_part(part: Path, rows: dict[str, np.ndarray]) -> None:
    with replacing(part) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **rows)


def load_part(part: Path) -> dict[str, np.ndarray]:
    """The arrays of one task."""
    try:
        with np.load(part, allow_pickle=False) as arrays:
            return dict(arrays)
    except DAMAGED as error:
        raise UserError(f"{part}: damaged ({error}): remove it and run again") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process at a time in a folder; a second one waits, then finds the work finished."""
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def produce(
    out_dir: str | os.PathLike,
    request: dict,
    files: list[str],
    tasks: list[Task],
    rows_of: RowsOf,
    write: Callable[[Path, str, dict[str, list[Path]]], None],
    workers: int | str | None,
    packages: Sequence[str] = PACKAGES,
) -> list[Path]:
    """Produce the published files once in `out_dir`, or return those of an earlier, equal run.

    Args:
        out_dir: folder to fill.
        request: JSON-able settings that decide the content; holds "name".
        files: names of the files.
        tasks: every task, of all files; `task.split` is the file it belongs to.
        rows_of: see `run_tasks`.
        write: (temporary path, file name, {process: parts in order}) writes one file.
        workers: see `run_tasks`.
        packages: what the tasks need of the extra `simulation`.

    Raises:
        UserError: the folder holds files made otherwise, or a package is missing.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    paths = [out_dir / file for file in files]
    request = json.loads(json.dumps(request))
    key = zlib.crc32(json.dumps(request | {"n_events": 0}, sort_keys=True).encode())
    folder = out_dir / f"parts-{key:08x}"
    with _lock(out_dir):
        _remove_temporaries([*paths, out_dir / SUMMARY])
        if _is_finished(out_dir, request, paths):
            shutil.rmtree(folder, ignore_errors=True)
            return paths
        require_packages(packages)
        parts = run_tasks(rows_of, tasks, folder, workers, request["name"])
        for path in paths:
            chosen: dict[str, list[Path]] = {}
            for task, part in zip(tasks, parts, strict=True):
                if task.split == path.name:
                    chosen.setdefault(task.process, []).append(part)
            with replacing(path) as temporary:
                write(temporary, path.name, chosen)
        with replacing(out_dir / SUMMARY) as temporary:
            temporary.write_text(json.dumps(request, indent=1) + "\n")
        shutil.rmtree(folder)
    return paths


def _remove_temporaries(paths: list[Path]) -> None:
    """What killed runs left under the temporary names of these files; nobody else writes now."""
    for path in paths:
        for left in path.parent.glob(f".{path.name}.*"):
            left.unlink()


def _is_finished(out_dir: Path, request: dict, paths: list[Path]) -> bool:
    summary = out_dir / SUMMARY
    if not summary.exists():
        present = [path.name for path in paths if path.exists()]
        if present and not list(out_dir.glob("parts-*")):
            raise UserError(
                f"{out_dir}: already holds {', '.join(present)}, "
                "which jaxad did not make; choose another folder"
            )
        return False
    try:
        found = dict(json.loads(summary.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{summary}: damaged ({error}): remove {out_dir} and run again") from None
    if found == request:
        if missing := [path.name for path in paths if not path.exists()]:
            raise UserError(f"{out_dir}: {missing[0]} is missing: remove the folder and run again")
        return True
    differing = sorted(k for k in request | found if request.get(k) != found.get(k))
    raise UserError(
        f"{out_dir}: holds files made with other settings "
        f"({', '.join(f'{k}: {found.get(k)!r} here, {request.get(k)!r} asked' for k in differing)}"
        "); choose another folder, or remove this one"
    )
