"""The Pareto front of bits of a trigger's encoder, in one command that goes on where it was.

    python -m benchmarks.front --out runs/trigger                 # simulates its events first
    python -m benchmarks.front --out runs/trigger --data FOLDER   # events of ADC2021's layout

A float network is trained once a seed, and every way to fewer bits starts from it: rounding, widths
that are fixed, searched or learnt, a student, boosted trees. 8,000 background events train at most,
those left over test. Every finished point is kept in OUT/seedN/WAY, networks of the encoder's with
the scorer that `jaxad export` takes, and is not made again; front.json, front.md and the figures
are written at the end.
LUTs are estimated where da4ml (the extra hls) is installed; points made without stay so.
"""

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ml_collections import ConfigDict
from tqdm import tqdm

from benchmarks.front import figure, points, summary
from benchmarks.front.networks import Networks
from benchmarks.front.ways import WAYS, Way
from jaxad import data, workdir
from jaxad.commands import cli
from jaxad.configs import adc2021_quantized
from jaxad.data.dataset import Dataset, concatenate, n_rows, take
from jaxad.errors import UserError
from jaxad.storage.atomic import replacing, write_text
from jaxad.storage.digest import digest
from jaxad.storage.paths import expanded
from jaxad.storage.provenance import provenance

TRAINED = 8_000
"""Background events that train, at most: those of the challenge are many more than are needed."""


def configured(source: str, events: int, cache: str) -> ConfigDict:
    """The shipped config with a large test sample."""
    config = adc2021_quantized.get_config()
    config.data.update({"cache": cache, "val_fraction": 0.1, "test_fraction": 0.4})
    config.data.update({"source": source, "n_simulated": events})
    return config


def at_most(dataset: Dataset, n: int) -> Dataset:
    """The data set of which n background events train; the others are tested on."""
    if n_rows(dataset.train) <= n:
        return dataset
    rest = take(dataset.train, slice(n, None))
    return replace(
        dataset, train=take(dataset.train, slice(n)), test=concatenate([dataset.test, rest])
    )


def made(
    out: Path, config: ConfigDict, dataset: Dataset, ways: Sequence[Way], seeds: int
) -> dict[Way, list[points.Point]]:
    """Every point, those that are kept and those that are made now.

    Raises:
        UserError: the folder holds points of other events, settings or ways.
    """
    parts = {name.replace("/", "."): rows["x"] for name, rows in dataset.parts()}
    own = json.loads(config.to_json())
    own = {key: own[key] for key in ("inputs", "method", "teacher", "train")}
    planned = {way.title: dict(way.changes) for way in WAYS}
    settings = {"events": digest({}, parts), "settings": digest(own, {})}
    points.settle(out, settings | {"ways": digest(planned, {})})
    found: dict[Way, list[points.Point]] = {way: [] for way in ways}
    with tqdm(total=seeds * len(ways), desc="front", unit="point") as bar:
        for seed in range(seeds):
            folder, mine = out / f"seed{seed}", config.copy_and_resolve_references()
            mine.seed = seed
            networks = Networks(mine, dataset, folder)
            for way in ways:
                bar.set_postfix_str(f"seed {seed}, {way.title}")
                point = points.kept(folder / way.folder)
                if point is None:
                    said = io.StringIO()
                    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                        point = networks.point(way)
                    points.save(folder / way.folder, point)
                found[way].append(point)
                bar.update()
    return found


def write(out: Path, found: dict[Way, list[points.Point]]) -> None:
    """front.json, front.md and the figures."""
    records, comparisons = summary.measured(found), summary.compared(found)
    written = {"ways": records, "at equal EBOPs": comparisons, "provenance": provenance()}
    write_text(out / "front.json", json.dumps(written, indent=1) + "\n")
    lines = [summary.table(records), ""]
    for baseline in summary.BASELINES:
        own = [c for c in comparisons if c["baseline"] == baseline]
        lines += [f"- {summary.verdict(own)}"] if own else []
    write_text(out / "front.md", "\n".join(lines) + "\n")
    for cost, name in (("ebops", "front.png"), ("lut", "front_lut.png")):
        if any(cost in record for record in records):
            with replacing(out / name) as temporary:
                figure.front_figure(records, cost).savefig(temporary, format="png", dpi=90)
    print("\n".join(lines))
    print(f"written: {out}/front.json, front.md and figures")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=expanded, default=Path("runs/trigger"))
    parser.add_argument("--data", default="simulation", help="folder of events")
    parser.add_argument("--events", type=int, default=40_000, help="background to simulate")
    parser.add_argument("--cache", default="", help="where simulated events are kept")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args(argv)

    def command() -> None:
        if arguments.seeds < 1:
            raise UserError(f"--seeds: expected 1 or more, found {arguments.seeds}")
        config = configured(arguments.data, arguments.events, arguments.cache)
        with workdir.opened(arguments.out, "--out"):
            dataset = at_most(data.load(config.data), TRAINED)
            print(data.summary(dataset), flush=True)
            write(arguments.out, made(arguments.out, config, dataset, WAYS, arguments.seeds))

    return cli.exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
