"""What more sidebands would do: one template of all sources together, measured in each of them.

    python -m benchmarks.sidebands simulated_*/*.h5 --results=runs/template

Sources are of one kind, such as sets of `jaxad simulate lhco` of equal size. The false windows are
those of the first; densities, of the defaults, learn from the sidebands of all sources, and each
source alone is the data that `benchmarks.template` compares with what they draw. What was measured
stays in the folder of results.
"""

import argparse
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.template import Run, asked_of, measure, run_of
from benchmarks.template_rows import exact, header, line
from jaxad import training
from jaxad.data.table import Table
from jaxad.methods import Bench
from jaxad.search import template

AT_ONCE = 3
"""Windows whose densities train at once: each holds rows of its own of all sources."""
OF_ROWS = ("x", "mass", "fold_key", "weight", "label", "ids")


def joined(tables: Sequence[Table]) -> Table:
    """The rows of all tables, as if they were of the first."""
    rows = {key: [getattr(table, key) for table in tables] for key in OF_ROWS}
    return tables[0]._replace(
        **{key: None if each[0] is None else np.concatenate(each) for key, each in rows.items()}
    )


def measured(asked: Sequence[template.Asked]) -> list[dict[str, list]]:
    """Of every source, what its own events show of the template of all, in its false windows."""
    whole = asked[0]._replace(table=joined([one.table for one in asked]))
    fitted = template.fit_false_of([whole], Bench(training.fit, None, None))
    (templates,) = template.corrected([whole], fitted)
    return [measure(one, templates) for one in asked]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sources", nargs="+", help="data.source of configs/search.py, each")
    parser.add_argument("--results", type=Path, default=Path("runs/template"))
    options = parser.parse_args(argv)
    options.results.mkdir(parents=True, exist_ok=True)
    runs = [
        run_of(source, "default", seed, {}, options.results)
        for seed, source in enumerate(options.sources)
    ]
    identity = runs[0].config.copy_and_resolve_references()
    identity.data.source = ",".join(options.sources)
    with contextlib.redirect_stdout(io.StringIO()), threadpool_limits(1):
        asked = [asked_of(one.config) for one in runs]
        false = asked[0].false
        asked = [one._replace(window=asked[0].window, false=false) for one in asked]
        reference, found = exact(asked), [{} for _ in runs]
        for start in tqdm(range(0, len(false), AT_ONCE), "windows", unit="part", leave=False):
            part = [one._replace(false=false[start : start + AT_ONCE]) for one in asked]
            kept = Run(options.results / f"together-{runs[0].file.stem}-{start}.json", identity)
            each = kept.found()
            if each is None:
                each = measured(part)
                kept.keep(each)
            found = [
                {key: whole.get(key, []) + one[key] for key in one}
                for whole, one in zip(found, each, strict=True)
            ]
    print(header("sidebands"), reference, line(f"of all {len(runs)}", [found]), sep="\n")


if __name__ == "__main__":
    main()
