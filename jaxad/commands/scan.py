"""Train and measure a resonant search for every value of a setting and every seed; one figure.

  jaxad scan --config=cathode --workdir=runs/scan --seeds=3 \\
      --scan=signal_over_background=0.001,0.003,0.01
  jaxad scan --config=cathode --workdir=runs/windows --scan=window=3.1-3.5,3.3-3.7,3.5-3.9

SETTING is one of the section data, or window=LOW-HIGH [TeV]. Every run is a work directory of its
own below --workdir; the same command again goes on where it was stopped.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from jaxad import data, report, workdir
from jaxad.commands import cli
from jaxad.commands.train import train
from jaxad.data.window import window_of
from jaxad.errors import UserError
from jaxad.evaluation import resonant
from jaxad.metrics import resonance
from jaxad.scorer import load
from jaxad.storage.atomic import named, write_text


def summarised(directory: Path) -> dict[str, Any]:
    """Write `eval/search.json` and the figures of a trained run; returns the summary."""
    scorer = load(directory)
    dataset = data.load(scorer.config.data)
    if "window" not in dataset.info:
        raise UserError(f"{directory}: not a resonant search: its data have no mass window")
    found = resonant.measure(scorer, dataset)
    mass, _ = dataset.labels.get("mass", ("mass", "GeV"))
    figures = report.search_figures(found, dataset.info["window"], resonant.names_of(scorer), mass)
    summary = resonant.summary(scorer, dataset, found)
    folder = directory / "eval"
    with workdir.opened(directory):
        with named(folder):
            folder.mkdir(exist_ok=True)
        report.save_figures({f"search_{name}": f for name, f in figures.items()}, folder)
        write_text(folder / "search.json", json.dumps(found | {"summary": summary}, indent=2))
    return summary


def _value(text: str, default: object, what: str) -> object:
    """The text as a value of the type of `default`."""
    try:
        if isinstance(default, bool):
            return {"True": True, "False": False}[text]
        return type(default)(text)
    except (KeyError, ValueError):
        kind = type(default).__name__
        raise UserError(f"--scan: {what}: expected values of type {kind}, found {text!r}") from None


def _look_elsewhere(results: Sequence[Mapping[str, Any]], windows: list[str]) -> dict[str, Any]:
    """Of the windows that have a significance, which are listed; those without say nothing."""
    found = {
        window: [
            s for r in results if r["value"] == window for s in r["significance"] if s is not None
        ]
        for window in windows
    }
    strongest = {window: float(np.median(values)) for window, values in found.items() if values}
    if not strongest:
        return {"windows": [], "reason": "no window has a significance"}
    return {"windows": [*strongest]} | resonance.look_elsewhere([*strongest.values()])


def _notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for every figure that is missing and reason, with the values that it is missing of.

    Where not all seeds of a value miss it, how many do.
    """
    found: dict[tuple[str, str], Counter[str]] = {}
    for one in results:
        for what in one["reasons"].items():
            found.setdefault(what, Counter())[one["value"]] += 1
    seeds = Counter(one["value"] for one in results)

    def shown(value: str, n: int) -> str:
        return value if n == seeds[value] else f"{value} ({n} of {seeds[value]} seeds)"

    return [
        f"{', '.join(map(shown, of, of.values()))}: no {name}: {reason}"
        for (name, reason), of in found.items()
    ]


def _check_results(directory: Path) -> None:
    """Refuses a folder whose scan.json or scan.png is of something else."""
    path = directory / "scan.json"
    if not path.exists() and not (directory / "scan.png").exists():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        runs = found["runs"] if isinstance(found, dict) else found
        known = all({"value", "seed"} <= run.keys() for run in runs)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        known = False
    if not known:
        raise UserError(f"{path}: of no scan that jaxad made: choose another --workdir")


def scan(config: ConfigDict, directory: Path, what: str, values: list[str], seeds: int) -> None:
    """Train and evaluate a run for every value of `data.what` and every seed; one figure.

    Stopped, the same call goes on: runs that have been evaluated are not repeated.

    Raises:
        UserError: another process is at work there; whatever training and evaluation raise.
    """
    if not what:
        raise UserError("--scan: expected SETTING=V1,V2,..., found no setting")
    limits = what == "window" and data.has_setting(config.data, "window_low")
    data.require_setting(config.data, "window_low" if limits else what)
    if what == "signal_over_background" and 0 in [_value(value, 0.0, what) for value in values]:
        raise UserError(
            "--scan: signal_over_background: expected values above 0, found 0, for which "
            "data.n_signal holds: scan n_signal=0 for none"
        )
    _check_results(directory)
    with workdir.opened(directory):
        _scan(config, directory, what, values, seeds)


def _scan(config: ConfigDict, directory: Path, what: str, values: list[str], seeds: int) -> None:
    results = []
    for value in values:
        for seed in range(seeds):
            one = config.copy_and_resolve_references()
            one.seed = one.data.seed = seed
            if what == "window" and data.has_setting(one.data, "window_low"):
                one.data.window_low, one.data.window_high = window_of(value)
            else:
                one.data[what] = _value(value, one.data[what], what)
            folder = directory / f"{what}-{value}-seed{seed}"
            train(one, folder)
            done, summary = folder / "eval" / "search.json", {}
            if done.exists():
                summary = json.loads(done.read_text(encoding="utf-8"))["summary"]
            if "reasons" not in summary:  # of an older version
                summary = summarised(folder)
            results.append({"value": value, "seed": seed, **summary})
            write_text(directory / "scan.json", json.dumps(results, indent=2))
    if what == "window":
        summary = {"runs": results, "look_elsewhere": _look_elsewhere(results, values)}
        write_text(directory / "scan.json", json.dumps(summary, indent=2))
    report.save_figures({"scan": report.scan_figure(results, what)}, directory)
    print(*_notes(results), f"scan: {directory / 'scan.png'}", sep="\n")


def main(argv: Sequence[str]) -> int:
    """The command; its exit code, see `cli.exit_code`."""

    def define(values: flags.FlagValues, arguments: list[str]) -> None:
        cli.define_config(values, arguments, required=True)
        cli.define_workdir(values, "Where the scan lives.")
        meaning = "SETTING=V1,V2,... of data, or window=LOW-HIGH,LOW-HIGH,..."
        flags.DEFINE_string("scan", None, meaning, flag_values=values)
        flags.mark_flag_as_required("scan", flag_values=values)
        seeds = "Seeds for every value."
        flags.DEFINE_integer("seeds", 1, seeds, lower_bound=1, flag_values=values)

    values = cli.parsed(define, ["jaxad scan", *argv], __doc__)
    what, _, listed = values.scan.partition("=")
    each = list(dict.fromkeys(value.strip() for value in listed.split(",")))
    return cli.exit_code(lambda: scan(values.config, values.workdir, what, each, values.seeds))
