"""Many evaluated runs side by side: tables of their figures and one figure of their AUCs.

Reads `eval/metrics.json` of every work directory. Where that file holds `latency`, in seconds per
event, a number or SCORE -> number, the AUC is also drawn against it, a figure a signal.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jaxad import report
from jaxad.errors import UserError
from jaxad.report.tables import TABLE_FIGURES, figure_name, figure_text

Runs = Mapping[str, Mapping[str, Any]]  # name of the run -> its metrics.json


def read_run(workdir: Path) -> dict[str, Any]:
    """The metrics of one work directory."""
    path = workdir / "eval" / "metrics.json"
    if not path.is_file():
        raise UserError(f"{path}: not found: run evaluate.py --workdir={workdir} first")
    try:
        metrics = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: expected JSON, found damage ({error}): evaluate again") from None
    if not isinstance(metrics, dict) or not isinstance(metrics.get("signals"), dict):
        raise UserError(f"{path}: expected an entry 'signals', found none: evaluate again")
    return metrics


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


def tables(runs: Runs) -> str:
    """A table a figure of merit: a row a run and score, a column a signal."""
    signals = list(dict.fromkeys(s for metrics in runs.values() for s in metrics["signals"]))
    parts = []
    for key in TABLE_FIGURES:
        rows = []
        for run, metrics in runs.items():
            for i, (score, found) in enumerate(entries(metrics).items()):
                cells = [figure_text(found.get(signal, {}), key) for signal in signals]
                rows.append(["" if i else run, score, *cells])
        if any(cell != "-" for row in rows for cell in row[2:]):
            parts.append(report.text_table(rows, [figure_name(key), "", *signals]))
    return "\n\n".join(parts)


def _auc(entry: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """AUC and its error: the statistical one, or half the members' 68 % band if wider."""
    band = entry.get("auc_band") or (0.0, 0.0)
    return entry.get("auc"), max(entry.get("auc_err") or 0.0, (band[1] - band[0]) / 2)


def _latency(metrics: Mapping[str, Any], score: str) -> float | None:
    latency = metrics.get("latency")
    return latency.get(score) if isinstance(latency, dict) else latency


def figures(runs: Runs) -> dict[str, Figure]:
    """The AUC of every run, score and signal; its plot against latency for every signal."""
    values: dict[str, dict[str, tuple[float | None, float | None]]] = {}
    points: dict[str, dict[str, tuple[float, float, float | None]]] = {}
    for run, metrics in runs.items():
        for score, found in entries(metrics).items():
            label = f"{run}: {score}"
            values[label] = {signal: _auc(entry) for signal, entry in found.items()}
            latency = _latency(metrics, score)
            if latency is None or score.startswith("("):
                continue
            for signal, (value, error) in values[label].items():
                if value is not None:
                    points.setdefault(signal, {})[label] = (latency, value, error)
    drawn = {"auc": report.auc_figure(values)}
    for signal, by_label in points.items():
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in signal)
        drawn[f"latency_{safe}"] = report.pareto_figure(by_label, title=signal)
    return drawn


def compare(workdirs: Sequence[Path], out: Path | None) -> None:
    """Print the tables of the runs and, with `out`, write them and the figures there."""
    runs = read_runs(workdirs)
    text = tables(runs)
    print(text)
    if out is not None:
        paths = report.save_figures(figures(runs), out)
        (out / "comparison.txt").write_text(text + "\n")
        print("\n" + "\n".join(map(str, paths)))


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit code, 2 for a mistake that its one line of error names."""
    parser = argparse.ArgumentParser(prog="python -m jaxad.compare", description=__doc__)
    parser.add_argument("workdirs", nargs="+", type=Path, help="evaluated runs, such as runs/*")
    parser.add_argument("--out", type=Path, help="folder for comparison.txt and the figures (png)")
    args = parser.parse_args(argv)
    try:
        compare(args.workdirs, args.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
