"""Is the template right inside a gap? Closure in false windows of the sidebands, without truth.

    python -m benchmarks.template lhco_cathode simulated_*/*.h5 --seeds=10 \\
        --ways default before --results=runs/template

Each source of events is a data set of its own (`data.source` of configs/search.py). In each a
search's false windows (`search.closure_windows`) are blinded from a density as the true window is,
together with it, and the density is drawn there: pulls of mean, spread and quantiles of every
feature, and how many data pass cuts on the score of classifiers out of fold, n / b - 1. No label is
read. Simulated sources hold no signal; among real data the true window stays blind. A way is a
density by its settings, `WAYS`. With `--drawn WAY` the features of a source are draws, at its
masses, of one density of all its events, the true window's too: what a method shows where the truth
is a density of known smoothness. What was measured stays in the folder of results.
"""

import argparse
import contextlib
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.template_rows import (
    EFFICIENCIES,
    above,
    copies,
    corrected,
    exact,
    header,
    line,
    paired,
    smooth,
)
from jaxad import training
from jaxad.configs import search
from jaxad.data.false_windows import false_windows
from jaxad.data.table import Table
from jaxad.methods import Bench
from jaxad.methods.stages import density
from jaxad.metrics import moments
from jaxad.search import pool, run, template, toys
from jaxad.search.settings import recipe, settled
from jaxad.search.table import search_table
from jaxad.search.windows import windows_of
from jaxad.storage.atomic import write_text
from jaxad.training import streams
from jaxad.training.streams import Purpose

TRUTH = 1000
"""The seed of what is drawn, whose networks begin where no member of a run does."""
_ONE = {"flow_train.ensemble": 1, "flow.correction": 0}
_LOG = {"flow.mass": "log"}
_LINES = {"flow.frame_order": 3, "flow.mass_order": 1}
_AFFINE = {"flow.coupling": "affine"}
_REALNVP = {**_AFFINE, "flow.name": "realnvp", "flow.n_layers": 12}
WAYS: dict[str, dict] = {
    "default": {},
    "before": {
        **_REALNVP,
        **_ONE,
        "flow.mass": "linear",
        "flow_train.epochs": 40,
        "flow_train.learning_rate": 2e-3,
        "flow_train.keep_best": 10,
    },
    "linear": {"flow.mass": "linear"},
    "log": _LOG,
    "log, ensemble": {**_LOG, "flow.correction": 0},
    "log, lines": {**_LOG, **_LINES},
    "log, lines, ensemble": {**_LOG, **_LINES, "flow.correction": 0},
    "lines": _LINES,
    "parabolas": {"flow.mass_order": 2, "flow.correction": 0},
    "frame": {"flow.frame_order": 3, "flow.correction": 0},
    "one": _ONE,
    "ensemble": {"flow.correction": 0},
    "one, corrected": {"flow_train.ensemble": 1},
    "twelve": {"flow_train.ensemble": 12},
    "affine": {**_AFFINE, "flow.n_layers": 6, "flow_train.learning_rate": 5e-3},
    "realnvp": {**_REALNVP, "flow_train.batch_size": 1024},
    "narrow": {"flow.hidden": (32, 32)},
    "weight decay": {
        "flow.correction": 0,
        "flow_train.optimizer": "adamw",
        "flow_train.weight_decay": 0.3,
    },
}
"""Settings that differ from configs/search.py, by name; "before": its density up to version 0.1."""


def asked_of(config: ConfigDict, drawn: str = "") -> template.Asked:
    """A run's data, or draws of the way `drawn` in their place, and false windows."""
    table = search_table(config)
    if drawn:
        table = table._replace(x=draws(drawn, table))
    (window,) = windows_of(config, table.mass, config.data.get("mass_unit", "TeV"))
    false = false_windows(window, table.mass, config.search.closure_windows)
    return template.Asked(config, table, window, false)


def draws(way: str, table: Table) -> np.ndarray:
    """Features (N, F) drawn at the masses of a table from one density, `way`, of all its events.

    Without correction, and the same for every run.
    """
    truth = search.get_config()
    truth.seed = TRUTH
    truth.update_from_flattened_dict({**WAYS[way], **_ONE})
    rows = {"x": table.x.astype(np.float32), "m": table.mass.astype(np.float32)}
    order = streams.generator(truth.seed, Purpose.ROWS, "truth").permutation(len(table.mass))
    parts = np.split(order, [round((1 - template.VAL_FRACTION) * len(order))])
    train, val = ({k: v[part] for k, v in rows.items()} for part in parts)
    fitted = density.fit(truth, train, val, Bench(training.fit, None, None), "truth")
    return density.sample(truth, fitted, "truth", rows["m"])


def measure(asked: template.Asked, fitted: Sequence[template.Template]) -> dict[str, list]:
    """Pulls (windows, F, 5), counts and expectations (windows, cuts) of one density's windows."""
    config, table = asked.config, asked.table
    found: dict[str, list] = {"windows": [], "pulls": [], "n": [], "b": []}
    for one in fitted:
        draw = lambda n, what, one=one: template.draw(config, one, table, n, what)  # noqa: E731
        rows = run.pool_of(config, table, one.window, draw)
        how = recipe(settled(config, rows.x.shape[1]))
        n = toys.counts(rows, how, EFFICIENCIES, config.seed, [0], chunk=1)[0].sum(axis=0)
        rng = streams.generator(config.seed, Purpose.COMPARED, "moments")
        sample, data = (rows.x[rows.role == role] for role in (pool.COUNTING, pool.DATA))
        pulls = [moments.moment_pulls(s, d, rng) for s, d in zip(sample.T, data.T, strict=True)]
        found["windows"].append(one.window.name)
        found["pulls"].append([list(p.values()) for p in pulls])
        found["n"].append(n.tolist())
        found["b"].append([e * len(data) for e in EFFICIENCIES])
    return found


class Run(NamedTuple):
    """A density of one source and seed: its file in a folder of results, and its settings.

    drawn: the way of which draws are in the place of the source's events; "": none.
    """

    file: Path
    config: ConfigDict
    drawn: str = ""

    @property
    def settings(self) -> dict:
        """As the file keeps them."""
        return json.loads(self.config.to_json_best_effort())

    def found(self) -> dict | None:
        """What was measured with these settings, if it was."""
        kept = json.loads(self.file.read_text()) if self.file.exists() else {}
        return kept["found"] if kept.get("config") == self.settings else None

    def keep(self, found: dict) -> None:
        """Writes what was measured."""
        write_text(self.file, json.dumps({"config": self.settings, "found": found}))


def run_of(
    source: str, way: str, seed: int, changes: Mapping, folder: Path, drawn: str = ""
) -> Run:
    """The run of a source, a way and a seed."""
    place = "_".join(Path(source).resolve().parts[-2:])
    if drawn:
        place += f"-drawn-{drawn.replace(' ', '_')}"
    config = search.get_config()
    config.seed = seed
    config.data.source = source
    if Path(source).is_file():  # of simulated background
        config.data.n_signal = 0
    config.search.efficiencies = EFFICIENCIES
    config.update_from_flattened_dict({**WAYS[way], **changes})
    return Run(folder / f"{way.replace(' ', '_')}-{place}-{seed}.json", config, drawn)


def fill(runs: Sequence[Run], at_once: int, bar: tqdm) -> None:
    """Measures what is not yet kept, `at_once` seeds of a source trained and corrected at once.

    Runs of one source and seed differ in the correction of their density alone, and share it. Those
    of another source have other numbers of rows, on which members that train together would depend.
    """
    missing = [one for one in runs if one.found() is None]
    bar.update(len(runs) - len(missing))
    for sources in _alike(missing, lambda one: one.config.data.source):
        seeds = _alike(sources, lambda one: one.config.seed)
        for part in (seeds[i : i + at_once] for i in range(0, len(seeds), at_once)):
            with contextlib.redirect_stdout(io.StringIO()), threadpool_limits(1):
                asked = [asked_of(same[0].config, same[0].drawn) for same in part]
                fitted = template.fit_false_of(asked, Bench(training.fit, None, None))
                each = [
                    (own, one._replace(config=own.config), densities)
                    for same, one, densities in zip(part, asked, fitted, strict=True)
                    for own in same
                ]
                owners, searches, densities = zip(*each, strict=True)
                corrected = template.corrected(searches, densities)
                for own, one, templates in zip(owners, searches, corrected, strict=True):
                    own.keep(measure(one, templates))
                    bar.update()


def _alike(runs: Sequence[Run], what: Callable[[Run], str | int]) -> list[list[Run]]:
    """Runs of which `what` is the same, together."""
    found: dict[str | int, list[Run]] = {}
    for one in runs:
        found.setdefault(what(one), []).append(one)
    return list(found.values())


def families(ways: Sequence[str]) -> list[list[str]]:
    """Ways that differ in the correction of one density, together."""
    found: dict[str, list[str]] = {}
    for way in ways:
        settings = {k: v for k, v in WAYS[way].items() if k != "flow.correction"}
        found.setdefault(json.dumps(settings, sort_keys=True), []).append(way)
    return list(found.values())


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sources", nargs="+", help="data.source of configs/search.py, each")
    parser.add_argument(
        "--ways",
        nargs="*",
        default=["before", "default"],
        choices=list(WAYS),
        help="none: the references alone, what so many windows can show",
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("runs/template"))
    parser.add_argument(
        "--at-once", type=int, default=1, help="seeds whose densities train at once, of a source"
    )
    parser.add_argument(
        "--above", type=float, default=0, metavar="GEV", help="rows of false windows from there on"
    )
    parser.add_argument(
        "--drawn", default="", choices=list(WAYS), metavar="WAY", help="in the place of events"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help="of all ways")
    options = parser.parse_args(argv)
    options.results.mkdir(parents=True, exist_ok=True)
    changes = {key: json.loads(value) for key, value in (s.split("=", 1) for s in options.set)}
    print(header("density"), flush=True)
    kept = (changes, options.results, options.drawn)
    with contextlib.redirect_stdout(io.StringIO()):
        every = [run_of(source, "default", 0, *kept) for source in options.sources]
        asked = [asked_of(one.config, one.drawn) for one in every]
        asked = [
            one._replace(false=[w for w in one.false if w.low >= options.above]) for one in asked
        ]
        if (left := sum(len(one.false) for one in asked)) < 2:
            parser.error(f"--above: expected two or more false windows there, found {left}")
        references = exact(asked), smooth(asked, "log"), smooth(asked, "shifted")
    print(*references, sep="\n", flush=True)
    measured: dict[str, list[list[dict]]] = {}
    for ways in families(options.ways):
        runs = {
            way: [
                [run_of(source, way, seed, *kept) for source in options.sources]
                for seed in range(options.seeds)
            ]
            for way in ways
        }
        every = [one for way in ways for seed in runs[way] for one in seed]
        with tqdm(total=len(every), desc=", ".join(ways), unit="fit", leave=False) as bar:
            fill(every, options.at_once, bar)
        for way in ways:
            found = [[above(one.found(), options.above) for one in seed] for seed in runs[way]]
            print(line(way, found), flush=True)
            measured[way] = found
    if measured and all(len(one.false) > 2 for one in asked):
        factor = asked[0].config.search.count_factor
        print(
            "\n| each corrected by the others | width of z at 20 % | 5 % | 1 % |\n|---|---|---|---|"
        )
        print(corrected("without fault", copies(next(iter(measured.values()))), factor))
        for way, found in measured.items():
            print(corrected(way, found, factor))
    if len(measured) > 1:
        print(
            "\n| windows paired | n / b - 1 at 20 % | 5 % | 1 % | mean squared pull |"
            "\n|---|---|---|---|---|"
        )
    for pair in itertools.combinations(measured, 2):
        print(paired(pair, [measured[way] for way in pair]))


if __name__ == "__main__":
    main()
