"""Evaluate a trained run: scores of test events, metrics, figures, one report.

  jaxad evaluate --workdir=runs/toptagging
  jaxad evaluate --workdir=runs/toptagging --data.source='files/*.h5'
  jaxad evaluate --workdir=runs/box1 --key=events_LHCO2020_BlackBox1.masterkey

The second form scores all events of other files, of the layout that the run was trained on; of the
files that it was trained on, its test part. The third opens the key of a black box, a text file
with a number for each event of the source, 0 for background: nothing else does. Writes
metrics.json, scores.h5, figures and report.html into the folder eval of the work directory, and
prints the table; where a figure cannot be made, "left_out" in metrics.json and a line of the report
say why, as of all that needs a signal where data.signals names none.
`python evaluate.py` is the same command.
"""

import filecmp
import json
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from absl import flags
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from jaxad import data, methods, report, workdir
from jaxad.commands import cli
from jaxad.data.dataset import Dataset, Rows
from jaxad.devices import compiler
from jaxad.errors import DAMAGED, UserError
from jaxad.evaluation import closure, general, mimickers, references, resonant
from jaxad.evaluation.general import Table
from jaxad.methods.stages.fractions import FRACTION, fractions_of
from jaxad.scorer import Scorer, load
from jaxad.storage import on_disk
from jaxad.storage.atomic import named, replacing, write_text
from jaxad.storage.own import is_json_with
from jaxad.storage.provenance import provenance

NO_SIGNAL = "they need a signal: name some in data.signals"
MARK, MEND = "jaxad evaluate", "evaluate in another --workdir"


def evaluate(directory: Path, source: str = "", n_bootstrap: int = 200, key: str = "") -> dict:
    """Score the test data of a run, or of another `source`, and write `directory/eval`.

    Returns the content of `metrics.json`. Prints the table and the path of the report.

    Args:
        key: the master key of a black box: a file that says which of its events are signal.

    Raises:
        UserError: nothing trained there, another process at work there, bad files, no signal for a
            mimicker.
    """
    if n_bootstrap < 0 or n_bootstrap == 1:
        raise UserError(f"--bootstrap: expected 0 (none) or 2 and more, found {n_bootstrap}")
    _require_own(directory / "eval", ("metrics.json", "scores.h5", "report.html"))
    scorer = load(directory)
    with workdir.opened(directory):
        return _evaluate(scorer, directory, source, n_bootstrap, key)


def _evaluate(scorer: Scorer, directory: Path, source: str, n_bootstrap: int, key: str) -> dict:
    scorers = {"method": scorer}
    workdir.settle_config(directory, scorer.config)
    config = scorer.config.copy_and_resolve_references()
    left_out = _load_references(scorers, directory)
    trained_on = scorer.info.get("data", {})
    if source:
        dataset = _of_other_files(config, source, trained_on)
    else:
        dataset = data.load(config.data)
        if trained_on.get("digest", dataset.info["digest"]) != dataset.info["digest"]:
            print(
                f"warning: {config.data.source}: no longer the data that the run was trained on; "
                "its test events may have trained it",
                file=sys.stderr,
            )
    if key:
        is_whole = bool(source) and dataset.info["digest"] != trained_on.get("digest")
        dataset = data.with_key(config.data, dataset, key, is_whole)
    caution = "" if source else _caution(scorer, dataset)
    if not dataset.signals:
        left_out["AUC, efficiencies and SIC"] = NO_SIGNAL
    if not dataset.signals and "teacher" in scorers:
        raise UserError(
            f"{config.data.source}: no signal to evaluate on: name some in data.signals"
        )
    baselines = [b for b in references.names_of(config, dataset) if b not in left_out]
    classes = general.classes_of(dataset, baselines)
    medians = references.medians(dataset, baselines)
    if options := compiler.for_few(sum(len(rows["x"]) for rows in classes.values())):
        scorers = {name: replace(each, compiler_options=options) for name, each in scorers.items()}
    table = general.scores_of(scorers, baselines, classes, medians)
    weights = general.weights_of(classes)
    metrics = general.measure(table, n_bootstrap, weights)
    metrics |= references.beaten(metrics)
    if medians:
        metrics["medians"] = medians
    shown = _without(table, [*map(references.two_sided, medians)])
    history = [
        record
        for record in workdir.read_history(directory)
        if not record["stage"].startswith(closure.STAGE)
    ]
    measured, figures = _measured(scorers, dataset, classes, shown, history)
    background = general.part(next(iter(table.values())), False)
    try:
        metrics |= general.rates(config, background, weights.get(next(iter(table))))
    except UserError as error:
        left_out["rates"] = str(error)
    try:
        metrics |= general.following(config, table, classes)
    except UserError as error:
        left_out["thresholds that follow observables"] = str(error)
    if "following" in metrics:
        figures |= report.following_figures(metrics["following"], dataset.labels)
    left_out |= measured.pop("left_out", {})
    metrics |= _convergence(scorer)
    if caution:
        metrics["caution"] = caution
        print(f"warning: {caution}", file=sys.stderr)
    metrics |= measured | {"left_out": left_out, "data": dataset.info, "provenance": provenance()}
    folder = directory / "eval"
    _require_own(folder, [f"{name}.png" for name in figures])
    with named(folder):
        folder.mkdir(exist_ok=True)
        fractions = fractions_of(scorer.method, scorer.config, scorer.params)
        write_scores(folder / "scores.h5", table, classes, fractions)
        write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        drawn = {path.stem: path.read_bytes() for path in report.save_figures(figures, folder)}
        report.write_report(
            folder / "report.html",
            title=f"{config.method.name} on {config.data.name}",
            metrics=metrics,
            figures=drawn,
            config=config.to_dict(),
            provenance=metrics["provenance"],
        )
    print(report.metrics_table(metrics))
    print(f"report: {folder / 'report.html'}")
    return metrics


def _caution(scorer: Scorer, dataset: Dataset) -> str:
    """Which test events trained the method, whose figures are then too good; "" for none."""
    module = methods.get(scorer.method)
    return module.caution(scorer.config, dataset) if hasattr(module, "caution") else ""


def _convergence(scorer: Scorer) -> dict[str, Any]:
    """{"convergence": ...}: what a method says of its own training; {} where it says nothing."""
    module = methods.get(scorer.method)
    if not hasattr(module, "convergence"):
        return {}
    return {"convergence": module.convergence(scorer.params)}


def _load_references(scorers: dict[str, Scorer], directory: Path) -> dict[str, str]:
    """Adds the scorers of the config's baselines; those that cannot be loaded, with the reason."""
    left_out = {}
    for name in scorers["method"].config.baselines:
        try:
            if name == scorers["method"].method:
                left_out[name] = "it is the method itself"
            elif name == "teacher":
                scorers[name] = mimickers.teacher(scorers["method"])
            elif name in methods.NAMES:
                scorers[name] = load(directory / "baselines" / name)
        except UserError as error:
            left_out[name] = str(error)
    return left_out


def _of_other_files(config: ConfigDict, source: str, trained_on: Mapping[str, Any]) -> Dataset:
    """All events of another `source`, or the test part where they are those of the training.

    Raises:
        UserError: some of the files trained the run.
    """
    config.data.source = source
    dataset = data.load_all(config.data, trained_on.get("digest", ""))
    if dataset.info["digest"] == trained_on.get("digest"):
        print(f"{source}: the run was trained on these events: their test part alone is scored")
        return dataset
    files = [Path(path) for path in trained_on.get("files", [])]
    known = [path for path in files if path.is_file()]
    all_train = config.data.get("inject", 0) or config.data.get("supervised", False)
    tested = () if all_train else dataset.info.get("tested_files", ())
    for path in [Path(path) for path in dataset.info["files"] if path not in tested]:
        if same := next((other for other in known if _same_content(path, other)), None):
            raise UserError(
                f"--data.source: {path} trained this run (as {same}): leave it out, or leave out "
                "--data.source to score the test part of what it was trained on"
            )
    if absent := next((path for path in files if path not in known), None):
        print(
            f"warning: {absent}: trained this run and is no longer there: whether {source} holds "
            "the same events cannot be told; all are scored",
            file=sys.stderr,
        )
    else:
        print(f"{source}: trained nothing of this run: all events are scored")
    return dataset


def _same_content(path: Path, other: Path) -> bool:
    if not path.is_file():
        return False
    return path.samefile(other) or filecmp.cmp(path, other, shallow=False)


def _require_own(folder: Path, names: Sequence[str]) -> None:
    """Refuses to write files into a folder where others have the names and no evaluation was made.

    The table of an evaluation that was killed before it wrote metrics.json is known by its mark.
    """
    path = folder / "metrics.json"
    if path.exists():
        if is_json_with(path, "signals", "provenance"):
            return
        raise UserError(f"{path}: is there, and of no evaluation: move it, or {MEND}")
    for found in (folder / name for name in names if (folder / name).exists()):
        if found.name != "scores.h5" or not _is_table(found):
            raise UserError(f"{found}: is there, and of no evaluation: move it, or {MEND}")


def _is_table(path: Path) -> bool:
    try:
        with h5py.File(path) as file:
            return MARK in file.attrs
    except DAMAGED:
        return False


def _measured(
    scorers: Mapping[str, Scorer],
    dataset: Dataset,
    classes: Mapping[str, Rows],
    table: Table,
    history: list[dict],
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """What else belongs into `metrics.json`, and all figures."""
    scorer = scorers["method"]
    background, *signals = table
    rows, default = classes[background], general.default_scores(table)
    weights = general.weights_of(classes)
    colors = report.class_colors(list(table))
    drawn = {
        name: dataset.labels.get(name, (name, ""))
        for name in references.names_of(scorer.config, dataset)
        if name in rows
    }
    found = general.correlations(table, rows, list(drawn), weights.get(background))
    drawn = {name: label for name, label in drawn.items() if name in dataset.test}
    figures = report.run_figures(table, default, classes, history, drawn, colors, weights)
    score = next(iter(general.part(table[background], False)))
    names = {
        method: scorer.config.method.name if method == "method" else method.upper()
        for method in scorers
    }
    stage = methods.stage(scorer.method, scorer.config, scorer.layout)
    outputs, components = general.outputs_of(scorers, classes), [name for name, _ in stage.names]
    figures |= report.output_figures(outputs, default, score, names, stage.picture, components)
    if getattr(methods.get(scorer.method), "RESONANT", False):
        search = resonant.measure(scorer, dataset)
        curves = {name: (table[background][score], table[name][score]) for name in signals}
        own = {name: (weights.get(background), weights.get(name)) for name in signals}
        mass, _ = dataset.labels.get("mass", ("mass", "GeV"))
        names = resonant.names_of(scorer)
        drawn = report.search_figures(search, dataset.info["window"], names, mass)
        return found | search, figures | {"sic": report.sic_figure(curves, weights=own)} | drawn
    if "teacher" in scorers:
        taught = {name: scores[general.BASELINE + "teacher"] for name, scores in table.items()}
        explained, last = mimickers.measure(scorer, taught, classes)
        name = scorer.config.method.name.upper()
        found |= explained
        figures |= report.mimicker_figures(explained, taught, last, colors, name=name)
        return found, figures
    carved = general.sculpting(table, rows)
    if carved:
        text, unit = dataset.labels.get("mass", ("mass", "GeV"))
        figures["sculpting"] = report.sculpting_figure(
            carved["sculpting"], observable=text, unit=unit
        )
    return found | carved, figures


def _without(table: Table, baselines: Container[str]) -> Table:
    """The scores but those of these `baselines`, which crowd a figure."""
    return {
        name: {c: v for c, v in scores.items() if c.removeprefix(general.BASELINE) not in baselines}
        for name, scores in table.items()
    }


def write_scores(
    path: Path,
    table: Table,
    classes: Mapping[str, Rows],
    fractions: Mapping[str, int] | None = None,
) -> None:
    """Writes scores.h5: CLASS/SCORE and CLASS/observables/NAME, block by block.

    Args:
        fractions: of scores that are integers of firmware, see `fractions_of`.
    """
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs[MARK] = True
        for name, scores in table.items():
            for column, values in scores.items():
                _write(file, f"{name}/{column}", values, -1)
                if column in (fractions or {}):
                    file[f"{name}/{column}"].attrs[FRACTION] = fractions[column]
            for field in classes[name].keys() - {"x"}:
                _write(file, f"{name}/observables/{field}", classes[name][field], 0)


def _write(file: h5py.File, name: str, values: np.ndarray, axis: int) -> None:
    """Writes an array block by block of its rows, which lie along an axis."""
    stored, start = file.create_dataset(name, values.shape, values.dtype), 0
    columns = values if axis and values.ndim == 2 else [values]
    for block in on_disk.blocks(*columns):
        rows = slice(start, start + len(block[0]))
        stored[(..., rows) if axis else rows] = np.stack(block) if columns is values else block[0]
        start = rows.stop


def main(argv: Sequence[str]) -> int:
    """The command; its exit code, see `cli.exit_code`."""

    def define(values: flags.FlagValues, arguments: list[str]) -> None:
        cli.define_workdir(values, "The work directory of a trained run.")
        source = "Other data: simulation, download, or files."
        flags.DEFINE_string("data.source", "", source, flag_values=values)
        key = "The master key of a black box: which of its events are signal."
        flags.DEFINE_string("key", "", key, flag_values=values)
        samples = "Bootstrap samples for errors, 0: none."
        flags.DEFINE_integer("bootstrap", 200, samples, flag_values=values)

    values = cli.parsed(define, ["jaxad evaluate", *argv], __doc__)
    source = values["data.source"].value
    return cli.exit_code(
        lambda: evaluate(values.workdir, source, values.bootstrap, values["key"].value) and None
    )
