"""Trained runs for programs that know neither Python nor JAX.

    python -m jaxad.export RUN --format cpp,stablehlo --out DIR
    python -m jaxad.export verify DIR [--events FILE]

DIR holds scorer.hpp (one C++ header without dependencies), scorer.stablehlo (jax.export, any number
of events, CPU, CUDA and TPU), and whatever the format: scorer/, the archive that `jaxad.load` and
verify read; golden.npz, 32 events with their outputs; export.json, the contract: features, units,
score, threshold, rate, knots, calibration, versions. verify replays the golden rows, and the events
of a file, in every runtime, and ends with 1 where one disagrees.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxad import cli, data, score, workdir
from jaxad.data.streams import opened_events
from jaxad.errors import UserError
from jaxad.export import cpp, stablehlo
from jaxad.export.contract import contract, function, golden_events
from jaxad.export.verify import digest_of, verify, write_contract
from jaxad.scorer import Scorer, load

FORMATS = {"cpp": "scorer.hpp", "stablehlo": "scorer.stablehlo"}
N_POOL = 2000  # events of a class that golden rows are chosen from
N_EVENTS = 100_000  # of a file, to verify with


def _of_run(scorer: Scorer) -> np.ndarray:
    """Raw test events of the run's own data, background and signals."""
    dataset = data.load(scorer.config.data)
    classes = [dataset.test, *dataset.signals.values()]
    return np.concatenate([rows["x"][:N_POOL] for rows in classes])


def of_file(scorer: Scorer, file: str, key: str | None, limit: int) -> np.ndarray:
    """The first raw events of a file."""
    with opened_events(file, key or score.default_key(scorer), {}) as events:
        return np.asarray(score.raw_rows(scorer, events[:limit]), np.float32)


def write(scorer: Scorer, name: str, formats: Sequence[str], folder: Path, fpr: float) -> dict:
    """Write the formats into an empty `folder`; the contract, without golden rows."""
    about = contract(scorer, name, fpr)
    evaluate, artefacts = function(scorer, about), {}
    for form in formats:
        path = folder / FORMATS[form]
        if form == "cpp":
            path.write_text(cpp.header(partial(scorer.fn, scorer.params), scorer.shape, about))
        else:
            path.write_bytes(stablehlo.program(evaluate, scorer.shape))
        about_file = {"bytes": path.stat().st_size, "sha256": digest_of(path)}
        artefacts[form] = {"file": path.name, **about_file}
    artefacts.get("cpp", {})["flags"] = " ".join(cpp.FLAGS)
    scorer.save(folder / "scorer")
    return about | {"artefacts": artefacts}


def export(
    run: Path, formats: Sequence[str], out: Path, fpr: float, events: str | None, key: str | None
) -> None:
    """Write the exported folder `out`, by a temporary one.

    Raises:
        UserError: an unknown format, a scorer it cannot express, or something else at `out`.
    """
    unknown = [form for form in formats if form not in FORMATS]
    if unknown:
        raise UserError(f"--format: expected some of {', '.join(FORMATS)}, found {unknown[0]!r}")
    if out.exists() and any(out.iterdir()) and not (out / "export.json").is_file():
        raise UserError(f"{out}: holds something else: choose another --out")
    scorer = load(run)
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    about = write(scorer, run.resolve().name, formats, temporary, fpr)
    pool = of_file(scorer, events, key, N_POOL) if events else _of_run(scorer)
    raw = golden_events(scorer, pool)
    outputs = np.asarray(jax.jit(function(scorer, about))(raw))
    np.savez(temporary / "golden.npz", raw=raw, outputs=outputs)
    about["score"]["spread"] = float(np.std(outputs[:, 0]))
    write_contract(temporary, about)
    workdir.replace_folder(temporary, out)


def main(argv: Sequence[str]) -> int:
    """The command: 0, 1 where a runtime disagrees, 2 for a mistake that its one line names."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxad.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="trained run, or verify")
    parser.add_argument("folder", nargs="?", type=Path, help="exported folder, of verify")
    parser.add_argument("--format", default="cpp,stablehlo", help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="folder to write")
    parser.add_argument("--fpr", type=float, default=0.01, help="of the threshold (%(default)s)")
    parser.add_argument("--events", help="file of raw events; default: the run's own test data")
    parser.add_argument("--key", help="array of events in that file; default: that of the run")
    args = parser.parse_args(argv)
    if args.run != "verify" and (args.out is None or args.folder is not None):
        parser.error("give RUN and --out DIR, or verify DIR")
    if args.run == "verify" and args.folder is None:
        parser.error("verify: which folder?")

    def command() -> int:
        events = None
        if args.run != "verify":
            formats = args.format.split(",")
            export(Path(args.run), formats, args.out, args.fpr, args.events, args.key)
        elif args.events:
            archive = load(args.folder / "scorer")
            events = of_file(archive, args.events, args.key, N_EVENTS)
        return 0 if verify(args.out if args.folder is None else args.folder, events) else 1

    return cli.exit_code(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
