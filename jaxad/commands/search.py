"""Search one's own data, without labels, for a resonance; p-values from pseudo-experiments.

  jaxad search --config=search --workdir=runs/mine --config.data.name=events \\
      --config.data.source=table.csv --config.data.mass=mjj --config.data.features=mj1,mj2,tau* \\
      --config.search.windows=3300-3700
  jaxad search --config=search --workdir=runs/mine ... --unblind

The first call fits the background beside every window, tests it in false windows, and trains the
classifiers on the data and on pseudo-experiments (--toys of them; --quick takes 40 and says what
they cannot claim). It shows closure, coverage and what a signal would give, and no observed count;
the second call, with --unblind, shows that too, and changes nothing else. The same command again
goes on where it was stopped, and with more --toys adds to those there are. Results: WORKDIR/search,
of which report.html and summary.png are the first to look at; workspaces, histograms.json and
hepdata are for other programs.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from jaxad import report
from jaxad.commands import cli
from jaxad.commands.train import bench, fitter
from jaxad.search import run
from jaxad.storage.own import replace_all, require_all_own

QUICK = 40
NAMES = ("report.html", "summary.png", "histograms.json", "hepdata/submission.yaml")
MEND = "search in another --workdir"


def publish(
    config: ConfigDict, folder: Path, found: Mapping[str, Any], counts: Mapping[str, np.ndarray]
) -> None:
    """Writes figures, the report and files for other programs, in place of those there were.

    Args:
        folder: of `search.json`, whose content is `found`.
        counts: window -> (B, cuts) events that pass in pseudo-experiments.

    Raises:
        UserError: something else has the name of one of them.
    """
    figures = report.search_results(found)
    images = {name: report.figure_png(figure) for name, figure in figures.items()}
    files = report.files(found, counts)
    files["report.html"] = report.search_report(found, images, config.to_dict()).encode()
    files["summary.png"] = images.pop("search_summary")
    files |= {f"figures/{name}.png": image for name, image in images.items()}
    replace_all(folder, files, MEND)
    print(f"report: {folder / 'report.html'}")


def search(
    config: ConfigDict, directory: Path, n_toys: int = 1000, unblind: bool = False
) -> dict[str, Any]:
    """Search in a work directory, or go on there; results and report in `directory/search`.

    Returns the content of `search.json`.

    Args:
        n_toys: pseudo-experiments a window.
        unblind: show what was observed.

    Raises:
        UserError: anything the user can mend.
        Preempted: stopped by SIGTERM or Ctrl-C; the same call goes on.
    """
    require_all_own(directory / "search", NAMES, MEND)
    working = bench(fitter(directory))
    written = partial(publish, config)
    return run.search(config, directory, working, n_toys, unblind, publish=written)


def main(argv: Sequence[str]) -> int:
    """The command; its exit code, see `cli.exit_code`."""

    def define(values: flags.FlagValues, arguments: list[str]) -> None:
        cli.define_config(values, arguments, required=True)
        cli.define_workdir(
            values, "Where the search lives: checkpoints, pseudo-experiments, results."
        )
        meaning = "Pseudo-experiments a window."
        flags.DEFINE_integer("toys", 1000, meaning, lower_bound=0, flag_values=values)
        quick = f"{QUICK} pseudo-experiments, for a first look."
        flags.DEFINE_bool("quick", False, quick, flag_values=values)
        unblind = "Show what was observed."
        flags.DEFINE_bool("unblind", False, unblind, flag_values=values)

    values = cli.parsed(define, ["jaxad search", *argv], __doc__)
    n_toys = QUICK if values.quick else values.toys

    def command() -> None:
        search(values.config, values.workdir, n_toys, values.unblind)

    return cli.exit_code(command, at_once=True)
