"""The published files of a simulation, made once: its tasks run, then put together.

The files appear under their names only when complete, beside a summary of what made them.
"""

import json
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxad.errors import UserError
from jaxad.simulation.pythia import PACKAGES, require_packages
from jaxad.storage.atomic import replacing
from jaxad.storage.lock import held
from jaxad.tasks import RowsOf, Task, run_tasks

SUMMARY = "simulation.json"


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
    paths = [out_dir / file for file in files]
    request = json.loads(json.dumps(request))
    key = zlib.crc32(json.dumps(request | {"n_events": 0}, sort_keys=True).encode())
    folder = out_dir / f"parts-{key:08x}"
    with held(out_dir):
        _remove_temporaries([*paths, out_dir / SUMMARY])
        if _is_finished(out_dir, request, paths, folder):
            shutil.rmtree(folder, ignore_errors=True)
            return paths
        require_packages(packages)
        parts = run_tasks(rows_of, tasks, folder, workers, request["name"])
        for path in paths:
            chosen: dict[str, list[Path]] = {}
            for task, part in zip(tasks, parts, strict=True):
                if task.split == path.name:
                    chosen.setdefault(task.process, []).append(part)
            _begun(folder, path).touch()
            with replacing(path) as temporary:
                write(temporary, path.name, chosen)
        with replacing(out_dir / SUMMARY) as temporary:
            temporary.write_text(json.dumps(request, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder)
    return paths


def _remove_temporaries(paths: list[Path]) -> None:
    """What killed runs left under the temporary names of these files; nobody else writes now."""
    for path in paths:
        path.with_name(f".{path.name}.tmp").unlink(missing_ok=True)


def _begun(folder: Path, path: Path) -> Path:
    """A file of the parts' folder that is there when a file was written, or was about to be."""
    return folder / f"{path.name}.begun"


def _is_finished(out_dir: Path, request: dict, paths: list[Path], folder: Path) -> bool:
    summary = out_dir / SUMMARY
    if not summary.exists():
        present = [p.name for p in paths if p.exists() and not _begun(folder, p).exists()]
        if present:
            raise UserError(
                f"{out_dir}: already holds {', '.join(present)}, "
                "which jaxad did not make; choose another folder"
            )
        return False
    try:
        found = dict(json.loads(summary.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{summary}: damaged ({error}): choose another folder") from None
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
