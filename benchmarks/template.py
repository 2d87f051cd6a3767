"""Is the template right inside a gap? Closure in false windows of the sidebands, without truth.

    python -m benchmarks.template lhco_cathode simulated_*/*.h5 --seeds=10 \\
        --ways default before --results=runs/template

Each source of events is a data set of its own (`data.source` of configs/search.py). In each a
search's false windows (`search.closure_windows`) are blinded from a density as the true window is,
together with it, and the density is drawn there: pulls of mean, spread and quantiles of every
feature, and how many data pass cuts on the score of classifiers out of fold, n / b - 1. No label is
read. Simulated sources hold no signal; among real data the true window stays blind. A way is a
density by its settings, `WAYS`. What was measured stays in the folder of results.
"""

import argparse
import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from jaxad import training
from jaxad.configs import search
from jaxad.data.false_windows import false_windows
from jaxad.methods import Bench
from jaxad.metrics import moments
from jaxad.search import pool, run, template, toys
from jaxad.search.settings import recipe, settled
from jaxad.search.table import search_table
from jaxad.search.windows import windows_of
from jaxad.storage.atomic import write_text
from jaxad.training import streams
from jaxad.training.streams import Purpose

EFFICIENCIES = (0.2, 0.05, 0.01)
_ONE = {"flow_train.ensemble": 1, "flow.correction": 0}
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
    "one": _ONE,
    "ensemble": {"flow.correction": 0},
    "one, corrected": {"flow_train.ensemble": 1},
    "twelve": {"flow_train.ensemble": 12},
    "affine": {**_AFFINE, "flow.n_layers": 6, "flow_train.learning_rate": 5e-3},
    "realnvp": {**_REALNVP, "flow_train.batch_size": 1024},
    "narrow": {"flow.hidden": (32, 32)},
    "weight decay": {
        **_ONE,
        "flow_train.optimizer": "adamw",
        "flow_train.weight_decay": 0.3,
    },
}
"""Settings that differ from configs/search.py, by name; "before": its density up to version 0.1."""


def measure(config: ConfigDict) -> dict[str, list]:
    """Pulls (windows, F, 5), counts and expectations (windows, cuts) of one density's windows."""
    table = search_table(config)
    (window,) = windows_of(config, table.mass, config.data.get("mass_unit", "TeV"))
    false = false_windows(window, table.mass, config.search.closure_windows)
    bench = Bench(training.fit, None, None)
    found: dict[str, list] = {"windows": [], "pulls": [], "n": [], "b": []}
    for one in template.fit_false(config, table, window, false, bench):
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


def one_run(source: str, way: str, seed: int, changes: Mapping, folder: Path) -> dict[str, list]:
    """`measure`, kept in a file of the folder."""
    place = "_".join(Path(source).resolve().parts[-2:])
    file = folder / f"{way.replace(' ', '_')}-{place}-{seed}.json"
    config = search.get_config()
    config.seed = seed
    config.data.source = source
    if Path(source).is_file():  # of simulated background
        config.data.n_signal = 0
    config.search.efficiencies = EFFICIENCIES
    config.update_from_flattened_dict({**WAYS[way], **changes})
    asked = json.loads(config.to_json_best_effort())
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["config"] == asked:
            return kept["found"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), threadpool_limits(1):
        found = measure(config)
    write_text(file, json.dumps({"config": asked, "found": found}))
    return found


def line(way: str, runs: Sequence[Sequence[dict]]) -> str:
    """A row of the table; runs: of every seed, of every source."""
    pulls = np.array([[w for one in seed for w in one["pulls"]] for seed in runs], float)
    n, b = (np.array([[w for one in seed for w in one[k]] for seed in runs]) for k in "nb")
    means, widths = np.nanmean(pulls, axis=(0, 1)), np.nanstd(pulls, axis=1).mean(axis=0)
    delta = n.sum(axis=1) / b.sum(axis=1) - 1
    error = 1 / np.sqrt(b[0].sum(axis=0))
    shown = " | ".join(
        f"{np.median(d):+.1%} [{d.min():+.1%}, {d.max():+.1%}] ± {e:.1%}"
        for d, e in zip(delta.T, error, strict=True)
    )
    return (
        f"| {way} | {np.abs(means).max():.2f}, {np.sqrt((means**2).mean()):.2f} | "
        f"{widths.max():.2f}, {np.sqrt((widths**2).mean()):.2f} | {shown} |"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sources", nargs="+", help="data.source of configs/search.py, each")
    parser.add_argument("--ways", nargs="+", default=["before", "default"], choices=list(WAYS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("runs/template"))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help="of all ways")
    options = parser.parse_args(argv)
    options.results.mkdir(parents=True, exist_ok=True)
    changes = {key: json.loads(value) for key, value in (s.split("=", 1) for s in options.set)}
    n = options.seeds * len(options.sources)
    print(
        "| density | pull, mean: largest, rms | width: largest, rms | n / b - 1 at 20 % | 5 % | "
        "1 % |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for way in options.ways:
        with tqdm(total=n, desc=way, unit="fit", leave=False) as bar:
            runs = []
            for seed in range(options.seeds):
                runs.append([])
                for source in options.sources:
                    runs[-1].append(one_run(source, way, seed, changes, options.results))
                    bar.update()
        print(line(way, runs), flush=True)


if __name__ == "__main__":
    main()
