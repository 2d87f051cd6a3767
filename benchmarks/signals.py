"""What does a density do to signals, heavy and light? CATHODE on simulated QCD with each injected.

    for kind in signal_heavy signal signal_light; do
      jaxad simulate lhco_$kind --out $kind --events 6000
    done
    python -m benchmarks.signals simulated_*/*.h5 --signals signal_heavy signal signal_light

Every file of background with every folder of signal is a data set, `--n-signal` of whose signal
events are injected; densities are those of `benchmarks.template.WAYS`. AUC, SIC at FPR 1e-2 and
maximal SIC with truth, median and range over data sets and seeds. Runs are work directories of
their own below `--results`, and what is there with the same settings is not trained again.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.swapped import settings, shown
from benchmarks.template import WAYS
from jaxad.commands.evaluate import evaluate
from jaxad.commands.train import train
from jaxad.storage.digest import digest

FPR = "1e-2"


def folder_of(background: Path, signal: Path, results: Path) -> Path:
    """A folder of links to a file of background and to the files of a signal."""
    folder = results / "data" / f"{background.resolve().parent.name}-{signal.name}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in (background, *signal.glob("*.h5")):
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())
    return folder


def one_run(source: Path, way: str, seed: int, n_signal: int, results: Path) -> list[float | None]:
    """AUC, SIC at `FPR` and maximal SIC of a run."""
    config = settings(str(source), way, seed)
    config.data.n_signal = n_signal
    own = digest(json.loads(config.to_json_best_effort()), {})[:8]
    directory = results / f"{way.replace(' ', '_')}-{source.name}-{seed}-{own}"
    file = directory / "eval" / "metrics.json"
    if not file.exists():
        train(config, directory)
        evaluate(directory, n_bootstrap=0)
    (signal,) = json.loads(file.read_text())["signals"].values()
    (score,) = signal["scores"].values()
    return [score["auc"], score["sic_at_fpr"][FPR]["value"], score["max_sic"]]


def cell(values: Sequence[float | None], digits: int) -> str:
    """Median and range; "-" where too few background events pass in one of them."""
    known = [value for value in values if value is not None]
    return shown(known, digits) if len(known) == len(values) else "-"


def row(signal: str, ways: Sequence[Sequence[Sequence[float | None]]]) -> str:
    """A row of the table: signal, and of every way the figures of all runs."""
    cells = [
        cell(values, digits)
        for runs in ways
        for values, digits in zip(zip(*runs, strict=True), (3, 2, 2), strict=True)
    ]
    return f"| {signal} | " + " | ".join(cells) + " |"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("backgrounds", nargs="+", type=Path, help="files of simulated QCD")
    parser.add_argument("--signals", nargs="+", type=Path, required=True, help="folders of each")
    parser.add_argument("--ways", nargs="+", default=["before", "default"], choices=list(WAYS))
    parser.add_argument("--n-signal", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("runs/signals"))
    options = parser.parse_args(argv)
    names = ("AUC", f"SIC at FPR {FPR}", "max SIC")
    rows = ["| signal | " + " | ".join(f"{w}: {n}" for w in options.ways for n in names) + " |"]
    rows.append("|---" * (1 + len(names) * len(options.ways)) + "|")
    for signal in options.signals:
        sources = [folder_of(file, signal, options.results) for file in options.backgrounds]
        runs = [
            [
                one_run(source, way, seed, options.n_signal, options.results)
                for source, seed in itertools.product(sources, range(options.seeds))
            ]
            for way in options.ways
        ]
        rows.append(row(signal.name, runs))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
