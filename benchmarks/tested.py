"""Memory of the figures of merit, tables and figures of many tested events, on disk.

    python benchmarks/tested.py --events 2000000,20000000 --folder DIR

Of that many weighted background events and a tenth as much signal: a score and a mass, as an
evaluation has them, drawn at random. Each number of events is a process of its own; all resident
memory at its peak is what the kernel says (VmHWM), then the peaks of what the system cannot drop
and of pages of files, which it can, and the seconds of a processor.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from benchmarks.rows import measured
from jaxad import report
from jaxad.commands.evaluate import write_scores
from jaxad.evaluation import general
from jaxad.storage import on_disk

STEP = 1 << 20


def stored(kind: str, n: int, folder: Path, seed: int) -> np.ndarray:
    """float32 (n,): "score", a third of them ties, "mass" or "weight"."""

    def parts() -> Iterator[np.ndarray]:
        rng = np.random.default_rng([seed, len(kind)])
        for start in range(0, n, STEP):
            x = rng.normal(seed, 1, min(STEP, n - start))
            if kind == "score":
                x = np.where(rng.random(len(x)) < 1 / 3, x.round(2), x)
            yield (np.exp(4 + 0.3 * x) if kind == "mass" else abs(x)).astype(np.float32)

    return on_disk.joined(parts(), folder)


def evaluated(n: int, folder: Path) -> None:
    """What an evaluation makes of scores: metrics, correlations, figures and scores.h5."""
    classes = {
        name: {kind: stored(kind, size, folder, seed) for kind in ("mass", "weight")}
        for seed, (name, size) in enumerate({"background": n, "signal": n // 10}.items())
    }
    table = {
        name: {
            "score": stored("score", len(rows["mass"]), folder, seed),
            f"{general.BASELINE}mass": rows["mass"],
        }
        for seed, (name, rows) in enumerate(classes.items())
    }
    weights = general.weights_of(classes)
    general.measure(table, 0, weights)
    general.correlations(table, classes["background"], ["mass"], weights["background"])
    general.sculpting(table, classes["background"])
    drawn, colors = {"mass": ("mass", "GeV")}, report.class_colors(list(table))
    default = general.default_scores(table)
    report.save_figures(
        report.run_figures(table, default, classes, [], drawn, colors, weights), folder
    )
    write_scores(folder / "scores.h5", table, classes)
    with h5py.File(folder / "scores.h5") as file:
        assert len(file["background/score"]) == n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", default="2000000,20000000")
    parser.add_argument("--folder", help="where events lie for a while; not in memory")
    parser.add_argument("--here", action="store_true", help="in this process, as each of these is")
    args = parser.parse_args()
    sizes = [int(n) for n in args.events.split(",")]
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        if args.here:
            evaluated(sizes[0], Path(name))
            print(time.process_time())
            return
        for n in sizes:
            log = Path(name) / "log"
            command = ["-m", "benchmarks.tested", "--here", f"--events={n}", f"--folder={name}"]
            peaks, _ = measured(command, log)
            total, anonymous, pages = (v / 1e6 for v in peaks.values())
            seconds = float(log.read_text().split()[-1])
            print(
                f"{n:>12,} events  {total:5.0f} MB  anonymous {anonymous:5.0f}  of files "
                f"{pages:5.0f}  {seconds:5.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
