"""Many evaluated runs side by side: tables of their figures, ROC curves, settings that differ.

    jaxad compare runs/adc2021/* --out runs/comparison

Reads `eval/metrics.json` of every work directory, its scores and its config. With --out it writes
compare.html, one page that holds all, and the tables and figures one by one. Where `jaxad latency`
has left its `eval/latency.json`, the AUC is also drawn against the latency of one event and the
time per event in bulk, each score in its fastest runtime.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from matplotlib.figure import Figure

from jaxad import report, workdir
from jaxad.commands import cli
from jaxad.errors import DAMAGED, UserError
from jaxad.report.comparison_page import comparison_page
from jaxad.report.tables import TABLE_FIGURES, figure_name, figure_text, value_text
from jaxad.storage.atomic import named
from jaxad.storage.own import replacing_own, require_own
from jaxad.storage.paths import expanded

TABLES = "comparison.txt"
PAGE = "compare.html"

Runs = Mapping[str, Mapping[str, Any]]  # name of the run -> its metrics.json


class Curve(NamedTuple):
    """Scores of background and signal; the weights of their events, None where these are alike."""

    scores: tuple[np.ndarray, np.ndarray]
    weights: tuple[np.ndarray | None, np.ndarray | None] | None = None


def _read(path: Path, entry: str, again: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON, found damage ({error}): {again}") from None
    if not isinstance(content, dict) or not isinstance(content.get(entry), dict):
        raise UserError(f"{path}: expected an entry {entry!r}, found none: {again}")
    return content


def read_run(folder: Path) -> dict[str, Any]:
    """The metrics of one work directory; "latency" holds the scores of its latency.json, or {}."""
    path = folder / "eval" / "metrics.json"
    if not path.is_file():
        raise UserError(f"{path}: not found: run jaxad evaluate --workdir={folder} first")
    metrics, times = _read(path, "signals", "evaluate again"), folder / "eval" / "latency.json"
    _require(lambda: tables({"": metrics}), path, "evaluate again")
    if not times.is_file():
        return metrics | {"latency": {}}
    again = f"run jaxad latency {folder} again"
    latency = _read(times, "scores", again)["scores"]
    _require(lambda: [_times(runtimes) for runtimes in latency.values()], times, again)
    return metrics | {"latency": latency}


def _require(shown: Callable[[], Any], path: Path, again: str) -> None:
    """Refuses a file whose content `shown` cannot be shown."""
    try:
        shown()
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise UserError(f"{path}: damaged or edited ({error!r}): {again}") from None


def read_runs(workdirs: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Metrics of every run, by the names of `named_folders`."""
    return {name: read_run(folder) for name, folder in named_folders(workdirs).items()}


def named_folders(workdirs: Sequence[Path]) -> dict[str, Path]:
    """Work directories by their names, or by their paths where two have the same name."""
    names = [folder.resolve().name for folder in workdirs]
    unique = len(set(names)) == len(names)
    return dict(zip(names if unique else map(str, workdirs), workdirs, strict=True))


def read_curves(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Curve]:
    """Signal -> default score of background and signal, (n,) or (members, n) each; {} without."""
    path = folder / "eval" / "scores.h5"
    if not path.is_file():
        return {}
    curves = {}
    background = metrics.get("data", {}).get("background", "background")
    try:
        with h5py.File(path) as file:
            for signal, parts in metrics["signals"].items():
                score = next(iter(parts["scores"]))
                classes = background, signal
                curves[signal] = Curve(
                    tuple(file[f"{name}/{score}"][()] for name in classes),
                    tuple(file[f"{name}/observables/weight"][()] for name in classes)
                    if "weights" in metrics
                    else None,
                )
    except (*DAMAGED, StopIteration) as error:
        raise UserError(f"{path}: damaged or of another run ({error}): evaluate again") from None
    return curves


def read_settings(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was made with: settings by their names, test events, versions."""
    settings = {}
    if (folder / "config.json").is_file():
        settings = workdir.flat(workdir.read_config(folder).to_dict())
    made = {f"made with: {key}": value for key, value in metrics.get("provenance", {}).items()}
    return settings | {"background events of the test": metrics.get("n_background")} | made


def entries(metrics: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """SCORE -> signal -> figures; baselines last, their names in brackets."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for kind, form in (("scores", "{}"), ("baselines", "({})")):
        for signal, parts in metrics["signals"].items():
            for score, entry in parts.get(kind, {}).items():
                found.setdefault(form.format(score), {})[signal] = entry
    return found


def rows(runs: Runs) -> Iterator[tuple[str, str, dict[str, Mapping[str, Any]]]]:
    """(run, score, signal -> figures) of all runs; a baseline that repeats one is left out."""
    seen = []
    for run, metrics in runs.items():
        for score, found in entries(metrics).items():
            baseline = (score, {signal: entry.get("auc") for signal, entry in found.items()})
            if score.startswith("(") and baseline in seen:
                continue
            seen.append(baseline)
            yield run, score, found


def tables(runs: Runs) -> str:
    """A table a figure of merit: a row a run and score, a column a signal."""
    signals = list(dict.fromkeys(s for metrics in runs.values() for s in metrics["signals"]))
    parts = []
    for key in TABLE_FIGURES:
        lines: list[list[str]] = []
        named = ""
        for run, score, found in rows(runs):
            cells = [figure_text(found.get(signal, {}), key) for signal in signals]
            lines.append(["" if run == named else run, score, *cells])
            named = run
        if any(cell != "-" for line in lines for cell in line[2:]):
            parts.append(report.text_table(lines, [figure_name(key), "", *signals]))
    return "\n\n".join(parts)


def signal_tables(runs: Runs) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Signal -> header and rows, a row a run and score: all figures of merit, and latencies."""
    signals = dict.fromkeys(s for metrics in runs.values() for s in metrics["signals"])
    times = {"single": "one event [µs]", "bulk": "in bulk [µs]"}
    found = {}
    for signal in signals:
        lines: list[list[str]] = []
        named = ""
        for run, score, entry in rows(runs):
            if signal not in entry:
                continue
            seconds = _times(runs[run]["latency"].get(score, {}))
            cells = [figure_text(entry[signal], key) for key in TABLE_FIGURES]
            cells += [value_text(1e6 * seconds[key] if key in seconds else None) for key in times]
            lines.append(["" if run == named else run, score, *cells])
            named = run
        header = ["run", "score", *map(figure_name, TABLE_FIGURES), *times.values()]
        kept = [i for i in range(len(header)) if i < 2 or any(line[i] != "-" for line in lines)]
        found[signal] = ([header[i] for i in kept], [[line[i] for i in kept] for line in lines])
    return found


def roc_figures(curves: Mapping[str, Mapping[str, Curve]]) -> dict[str, Figure]:
    """One figure a signal with the curve of every run that has it; curves: run -> signal."""
    signals = list(dict.fromkeys(signal for found in curves.values() for signal in found))
    return {
        f"roc_{signal}" if len(signals) > 1 else "roc": report.roc_figure(
            {run: found[signal].scores for run, found in curves.items() if signal in found},
            title=signal,
            weights={
                run: found[signal].weights for run, found in curves.items() if signal in found
            },
        )
        for signal in signals
    }


def _auc(entry: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """AUC and its error: the statistical one, or half the members' 68 % band if wider."""
    band = entry.get("auc_band") or (0.0, 0.0)
    return entry.get("auc"), max(entry.get("auc_err") or 0.0, (band[1] - band[0]) / 2)


def _times(runtimes: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of one event alone ("single") and in bulk, each in the fastest runtime."""
    single = [float(r["single"]["median"]) for r in runtimes.values() if "single" in r]
    bulk = [1 / r["bulk"]["events_per_second"] for r in runtimes.values() if "bulk" in r]
    return {name: min(times) for name, times in (("single", single), ("bulk", bulk)) if times}


def figures(runs: Runs) -> dict[str, Figure]:
    """The AUC of every run, score and signal, and where there are latencies, against them."""
    values: dict[str, dict[str, tuple[float | None, float | None]]] = {}
    points: dict[str, dict[str, dict[str, tuple[float, float, float | None]]]] = {}
    for run, score, found in rows(runs):
        label = f"{run}: {score}"
        values[label] = {signal: _auc(entry) for signal, entry in found.items()}
        for kind, seconds in _times(runs[run]["latency"].get(score, {})).items():
            for signal, (value, error) in values[label].items():
                if value is not None:
                    panel = points.setdefault(kind, {}).setdefault(signal, {})
                    panel[label] = (seconds, value, error)
    drawn = {"auc": report.auc_figure(values)}
    for kind, xlabel in (
        ("single", "latency of one event [µs]"),
        ("bulk", "time per event in bulk [µs]"),
    ):
        if kind in points:
            drawn[f"pareto_{kind}"] = report.pareto_figure(points[kind], xlabel=xlabel)
    return drawn


def compare(workdirs: Sequence[Path], out: Path | None) -> None:
    """Print the tables of the runs and, with `out`, write the page, tables and figures there.

    Raises:
        UserError: a run without metrics, or another file in the place of one of these.
    """
    runs = read_runs(workdirs)
    text = tables(runs)
    print(text)
    if out is not None:
        print("\n" + "\n".join(map(str, _written(runs, named_folders(workdirs), text, out))))


def _written(runs: Runs, folders: Mapping[str, Path], text: str, out: Path) -> list[Path]:
    """Writes all into `out`; returns the paths of the figures and, last, of the page."""
    curves = {run: read_curves(folder, runs[run]) for run, folder in folders.items()}
    settings = {run: read_settings(folder, runs[run]) for run, folder in folders.items()}
    drawn = roc_figures(curves) | figures(runs)
    replace = functools.partial(replacing_own, mend="choose another --out")
    with named(out):
        for name in (TABLES, PAGE, *(f"{name}.png" for name in drawn)):
            require_own(out / name, "choose another --out")
        paths = report.save_figures(drawn, out, replace)
        page = comparison_page(
            tables=signal_tables(runs),
            images={path.stem: path.read_bytes() for path in paths},
            settings=settings,
            notes=_notes(runs, folders, curves),
        )
        for name, content in ((TABLES, text + "\n"), (PAGE, page)):
            with replace(out / name) as temporary:
                temporary.write_text(content, encoding="utf-8")
    return [*paths, out / PAGE]


def _notes(
    runs: Runs, folders: Mapping[str, Path], curves: Mapping[str, Mapping[str, Curve]]
) -> list[str]:
    """What the page needs said."""
    notes = ["ROC curves are those of each run's first score."] if any(curves.values()) else []
    if any(score.startswith("(") for _, score, _ in rows(runs)):
        notes.append("(name): a baseline; shown once where it repeats")
    for run, folder in folders.items():
        if not curves[run]:
            notes.append(f"{run}: no ROC curve, for eval/scores.h5 is missing: evaluate again")
        if not (folder / "config.json").is_file():
            notes.append(f"{run}: no settings, for config.json is missing")
    return notes


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit code, 2 for a mistake that its one line of error names."""
    parser = cli.parser(__doc__, "compare")
    parser.add_argument("workdirs", nargs="+", type=expanded, help="evaluated runs, such as runs/*")
    parser.add_argument(
        "--out", type=expanded, help="folder for compare.html, comparison.txt and figures (png)"
    )
    args = parser.parse_args(argv)
    return cli.exit_code(lambda: compare(args.workdirs, args.out))
