"""Many evaluated runs side by side: tables of their figures and one figure of their AUCs.

    jaxad compare runs/adc2021/* --out runs/comparison

Reads `eval/metrics.json` of every work directory. Where `jaxad latency` has left its
`eval/latency.json`, the AUC is also drawn against the latency of one event and the time per event
in bulk, each score in its fastest runtime.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jaxad import report
from jaxad.commands import cli
from jaxad.errors import UserError
from jaxad.report.tables import TABLE_FIGURES, figure_name, figure_text
from jaxad.storage.atomic import named
from jaxad.storage.own import replacing_own, require_own
from jaxad.storage.paths import expanded

TABLES = "comparison.txt"

Runs = Mapping[str, Mapping[str, Any]]  # name of the run -> its metrics.json


def _read(path: Path, entry: str, again: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON, found damage ({error}): {again}") from None
    if not isinstance(content, dict) or not isinstance(content.get(entry), dict):
        raise UserError(f"{path}: expected an entry {entry!r}, found none: {again}")
    return content


def read_run(workdir: Path) -> dict[str, Any]:
    """The metrics of one work directory; "latency" holds the scores of its latency.json, or {}."""
    path = workdir / "eval" / "metrics.json"
    if not path.is_file():
        raise UserError(f"{path}: not found: run jaxad evaluate --workdir={workdir} first")
    metrics, times = _read(path, "signals", "evaluate again"), workdir / "eval" / "latency.json"
    _require(lambda: tables({"": metrics}), path, "evaluate again")
    if not times.is_file():
        return metrics | {"latency": {}}
    again = f"run jaxad latency {workdir} again"
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
    """Metrics by name: the folder's own, or its path where two folders share a name."""
    names = [workdir.resolve().name for workdir in workdirs]
    unique = len(set(names)) == len(names)
    keys = names if unique else [str(workdir) for workdir in workdirs]
    return {key: read_run(workdir) for key, workdir in zip(keys, workdirs, strict=True)}


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
    """Print the tables of the runs and, with `out`, write them and the figures there.

    Raises:
        UserError: a run without metrics, or another file in the place of one of these.
    """
    runs = read_runs(workdirs)
    text = tables(runs)
    print(text)
    if out is not None:
        drawn = figures(runs)
        replace = functools.partial(replacing_own, mend="choose another --out")
        with named(out):
            for name in (TABLES, *(f"{name}.png" for name in drawn)):
                require_own(out / name, "choose another --out")
            paths = report.save_figures(drawn, out, replace)
            with replace(out / TABLES) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        print("\n" + "\n".join(map(str, paths)))


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit code, 2 for a mistake that its one line of error names."""
    parser = cli.parser(__doc__, "compare")
    parser.add_argument("workdirs", nargs="+", type=expanded, help="evaluated runs, such as runs/*")
    parser.add_argument(
        "--out", type=expanded, help="folder for comparison.txt and the figures (png)"
    )
    args = parser.parse_args(argv)
    return cli.exit_code(lambda: compare(args.workdirs, args.out))
