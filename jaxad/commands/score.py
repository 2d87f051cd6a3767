"""Scores of files of any size, with a trained run.

    jaxad score RUN FILES... --out scores.h5

FILES are read as the run's own data were, in their layout and their units; or they are HDF5, npz or
npy files with an array of raw events as the scorer takes them, "x" or the one --key names; or ROOT
files, FILE.root or FILE.root:TREE, whose branches --branches names: pt=Jet_pt,eta=Jet_eta,
phi=Jet_phi for particles, any names in the order of the features otherwise. Events are read, scored
and kept chunk by chunk, so the same command again goes on where it was killed. A bad file is left
out, reported at the end, and makes the exit code 1; a file under several names is scored once, and
the output of an earlier call is no input. With --scheduler the workers of a dask cluster score the
chunks; they read the run and the files by the same paths.

Writes scores.h5 under a temporary name first: every score of the method as SCORE (N,), the number
of the file "file" and the row in it "row", both (N,); attributes "run", "method", "files". A score
that is an integer of firmware times 2^-F has the attribute "fraction", F.
"""

import contextlib
import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from tqdm import tqdm

from jaxad import tasks, workdir
from jaxad.commands import cli
from jaxad.data import Events, checks, open_events
from jaxad.data.dataset import as_mapping
from jaxad.data.rows import file_of
from jaxad.errors import DAMAGED, UserError
from jaxad.methods.stages.fractions import FRACTION, fractions_of
from jaxad.scorer import Scorer, load
from jaxad.storage.atomic import named, replacing
from jaxad.storage.own import same
from jaxad.storage.paths import expanded

CHUNK = 1 << 24  # numbers read at once, 64 MiB as float32
PART = re.compile(r"[0-9a-f]{16}-\d+-\d+\.npz|\.[0-9a-f]{16}-\d+-\d+\.npz\.tmp|\.lock")
N_LONGEST = 256  # objects reckoned with where an event may have any number


def _rows_per_chunk(scorer: Scorer) -> int:
    return max(1, CHUNK // int(np.prod([size or N_LONGEST for size in scorer.shape])))


def scores_of_rows(
    scorer: Scorer, events: Events, file: str, start: int, stop: int
) -> dict[str, np.ndarray]:
    """Every score of some rows of a file, name -> (stop - start,) float32.

    Raises:
        UserError: they cannot be read, or are bad events.
    """
    with checks.reading(file, "events"):
        rows = events[start:stop]
    try:
        return scorer.scores(rows)
    except UserError as error:
        raise UserError(f"{file}: rows from {start}: {error}") from None


def _part(prefix: Path, start: int, stop: int) -> Path:
    return prefix.with_name(f"{prefix.name}-{start}-{stop}.npz")


def _save(part: Path, scores: Mapping[str, np.ndarray]) -> None:
    with replacing(part) as temporary, temporary.open("wb") as file:
        np.savez(file, **scores)


def _bounds(scorer: Scorer, n: int) -> list[tuple[int, int]]:
    step = _rows_per_chunk(scorer)
    return [(start, min(start + step, n)) for start in range(0, n, step)]


def score_file(
    scorer: Scorer, file: str, key: str, branches: Mapping[str, str], prefix: Path, bar: tqdm
) -> Iterator[Path]:
    """Paths of the parts of a file, npz files of scores; those that are there are kept.

    Raises:
        UserError: a bad file, or bad events in it.
    """
    with open_events(scorer.config.data, file, key, branches) as events:
        bar.set_description(Path(file).name, refresh=False)
        bar.reset(len(events))
        for start, stop in _bounds(scorer, len(events)):
            part = _part(prefix, start, stop)
            if not part.exists():
                _save(part, scores_of_rows(scorer, events, file, start, stop))
            bar.update(stop - start)
            yield part


class Chunk(NamedTuple):
    """Rows of one file, for a worker."""

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


def _scores_of_chunk(run: str, digest: str, chunk: Chunk) -> dict[str, np.ndarray]:
    scorer, branches = _scorer(run, digest), dict(chunk.branches)
    with open_events(scorer.config.data, chunk.file, chunk.key, branches) as events:
        return scores_of_rows(scorer, events, chunk.file, chunk.start, chunk.stop)


def _score_on_cluster(
    scheduler: str,
    run: Path,
    scorer: Scorer,
    prefixes: Mapping[str, Path],
    key: str,
    branches: Mapping[str, str],
    bar: tqdm,
) -> None:
    """Leave the parts that are missing to a dask cluster, which may leave some to the caller."""
    parts = {}
    for file, prefix in prefixes.items():
        # What is wrong with a file is said by who scores it alone.
        opened = open_events(scorer.config.data, file, key, branches)
        with contextlib.suppress(UserError), opened as events:
            for start, stop in _bounds(scorer, len(events)):
                place = str(expanded(file).absolute()), key, tuple(branches.items())
                parts[Chunk(*place, start, stop)] = _part(prefix, start, stop)
    missing = [chunk for chunk, part in parts.items() if not part.exists()]
    bar.reset(sum(chunk.stop - chunk.start for chunk in missing))
    function, refused = functools.partial(_scores_of_chunk, str(run.resolve()), scorer.digest), []
    for chunk, scores, error in tasks.completed(scheduler, function, missing):
        if error:
            refused.append(f"{chunk.file}: {error}")
            continue
        _save(parts[chunk], scores)
        bar.update(chunk.stop - chunk.start)
    if refused:
        print(
            f"{len(refused)} of {len(missing)} chunks are scored here, because workers could not: "
            f"{refused[0]}",
            file=sys.stderr,
        )


def _identity(file: str) -> list[str | int]:
    """Path, size and time of change of a file, which its finished parts belong to."""
    path, _ = file_of(file)
    try:
        state = path.stat()
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    if _is_scores(path):
        raise UserError(f"{file}: holds scores, which jaxad score wrote, and no events")
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def _rows(part: Path) -> tuple[int, int]:
    start, stop = part.stem.rsplit("-", 2)[1:]
    return int(start), int(stop)


def write(
    out: Path,
    names: Sequence[str],
    parts: Mapping[str, list[Path]],
    about: dict,
    fractions: Mapping[str, int],
) -> None:
    """Join the parts of every file into one HDF5 file; `fractions`: see `fractions_of`."""
    n = sum(stop - start for paths in parts.values() for start, stop in map(_rows, paths))
    n_bytes = n * (4 * len(names) + 12)
    with replacing(out, n_bytes) as temporary, h5py.File(temporary, "w") as file:
        for name in names:
            stored = file.create_dataset(name, (n,), np.float32)
            if name in fractions:
                stored.attrs[FRACTION] = fractions[name]
        file.create_dataset("file", (n,), np.int32)
        file.create_dataset("row", (n,), np.int64)
        begin = 0
        for number, paths in enumerate(parts.values()):
            for path in paths:
                start, stop = _rows(path)
                here = slice(begin, begin + stop - start)
                with np.load(path, allow_pickle=False) as scores:
                    for name in names:
                        file[name][here] = scores[name]
                file["file"][here] = number
                file["row"][here] = np.arange(start, stop)
                begin = here.stop
        file.attrs.update(about | {"files": json.dumps(list(parts))})


def _is_scores(path: Path) -> bool:
    """Whether this command wrote a file."""
    try:
        with h5py.File(path) as file:
            return {"run", "method", "files"} <= file.attrs.keys() and {
                "file",
                "row",
            } <= file.keys()
    except (*DAMAGED, AttributeError):
        return False


def _check_out(out: Path, files: Sequence[str]) -> None:
    """Refuses an output that is an input, or that this command did not write."""
    if out.is_dir():
        raise UserError(f"--out: {out} is a folder: expected the name of the file to write")
    if not out.exists() or _is_scores(out):
        return
    if any(same(out, file_of(file)[0]) for file in files):
        raise UserError(f"--out: {out} is also an input: choose another name")
    raise UserError(f"--out: {out} holds something else: choose another name")


def _inputs(files: Sequence[str], out: Path) -> list[str]:
    """The files to score: each once, whatever its names, and not the output; says what is not.

    Raises:
        UserError: none is left.
    """
    kept: dict[tuple, str] = {}
    for file in dict.fromkeys(files):
        path, tree = file_of(file)
        if out.exists() and same(out, path):
            print(f"{file}: is the output: its scores are not scored", file=sys.stderr)
            continue
        state = path.stat() if path.exists() else None
        one = (state.st_dev, state.st_ino, tree) if state else (file,)
        if (first := kept.setdefault(one, file)) != file:
            print(f"{file}: the same file as {first}: scored once", file=sys.stderr)
    if not kept:
        raise UserError(f"{out}: the only file given is the output: name files of events")
    return list(kept.values())


def _remove_parts(folder: Path) -> None:
    """The folder of finished parts, and nothing else that lies there."""
    for path in folder.iterdir():
        if PART.fullmatch(path.name):
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def score(
    run: Path,
    files: Sequence[str],
    out: Path,
    key: str,
    branches: Mapping[str, str],
    scheduler: str | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Score the files and write `out`; returns those scored, and what is wrong with the others.

    With the address of a dask `scheduler` its workers do it, chunk by chunk; the scores are the
    same.
    """
    _check_out(out, files)
    files = _inputs(files, out)
    scorer = load(run)
    folder = out.with_name(f".{out.name}.parts")
    parts: dict[str, list[Path]] = {}
    problems: dict[str, str] = {}
    with named(out), workdir.opened(folder, "--out"), contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(desc="scoring", unit="event", unit_scale=True))
        prefixes = {}
        for file in files:
            try:
                asked = [scorer.digest, *_identity(file)]
            except UserError as error:
                problems[file] = str(error)
                continue
            asked += [file, key, dict(branches), _rows_per_chunk(scorer)]
            prefixes[file] = folder / hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        if scheduler:
            _score_on_cluster(scheduler, run, scorer, prefixes, key, branches, bar)
        for file, prefix in prefixes.items():
            try:
                parts[file] = list(score_file(scorer, file, key, branches, prefix, bar))
            except UserError as error:
                problems[file] = str(error)
        if not parts:
            raise UserError("; ".join(problems.values()))
        about = {"run": str(run), "method": scorer.method}
        fractions = fractions_of(scorer.method, scorer.config, scorer.params)
        write(out, scorer.names, parts, about, fractions)
    if not problems:
        _remove_parts(folder)
    return list(parts), problems


def main(argv: Sequence[str]) -> int:
    """The command: 0, 1 where a file was bad, 2 for a mistake that its one line names."""
    parser = cli.parser(__doc__, "score")
    parser.add_argument("run", type=expanded, help="trained run, or exported folder")
    parser.add_argument("files", nargs="+", help="HDF5, npz, npy or ROOT files")
    parser.add_argument("--out", type=expanded, required=True, help="HDF5 file to write")
    parser.add_argument(
        "--key", default="", help="array of raw events in the files; default: as the run read them"
    )
    parser.add_argument("--branches", default="", help="of ROOT files: COLUMN=BRANCH,...")
    parser.add_argument("--scheduler", help="address of a dask scheduler, tcp://HOST:PORT")
    args = parser.parse_args(argv)

    def command() -> int:
        branches = as_mapping(args.branches, "--branches")
        scored, problems = score(args.run, args.files, args.out, args.key, branches, args.scheduler)
        print(f"{args.out}: scores of {len(scored)} files")
        for problem in problems.values():
            print(f"left out: {problem}", file=sys.stderr)
        if problems:
            print("mend these and run the same command: the others are kept", file=sys.stderr)
        return 1 if problems else 0

    return cli.exit_code(command)
