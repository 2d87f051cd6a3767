"""Evaluate a trained run: scores of test events, metrics, figures, one report."""

import json
import sys
from pathlib import Path

import h5py
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad import data, explain, methods, report, search, workdir
from jaxad.data.dataset import Dataset, Rows, take
from jaxad.errors import UserError
from jaxad.metrics import summarise_all, threshold_at_rate
from jaxad.run import provenance
from jaxad.scorer import Scorer, load
from jaxad.sculpting import correlation, mass_sculpting

N_SHOWN = 4
N_LATENT = 2000
LABELS = {
    "multiplicity": "number of constituents",
    "mass": "jet mass",
    "pt": "jet pT",
    "n_tracks": "number of tracks",
    "hits": "number of hit pixels",
    "sum_pt": "sum of pT",
    "met": "missing pT",
    "n_leptons": "number of leptons",
}
UNITS = {"mass": "GeV", "pt": "GeV", "sum_pt": "GeV", "met": "GeV"}

Table = dict[str, dict[str, np.ndarray]]  # class -> score -> (n,) or (members, n)


def _classes(dataset: Dataset) -> dict[str, Rows]:
    return {dataset.info.get("background", "background"): dataset.test, **dataset.signals}


def score_all(scorers: dict[str, Scorer], config: ConfigDict, classes: dict[str, Rows]) -> Table:
    """Scores of every class: the method's own, then the baselines' as "baseline NAME"."""
    table: Table = {}
    for name, rows in tqdm(classes.items(), desc="scoring", unit="class", delay=2):
        found = scorers["method"].member_scores(rows["x"])
        for baseline in config.baselines:
            if baseline in scorers:
                found[f"baseline {baseline}"] = scorers[baseline](rows["x"])
            elif baseline in rows:
                found[f"baseline {baseline}"] = rows[baseline]
        table[name] = found
    return table


def _part(scores: dict[str, np.ndarray], baselines: bool) -> dict[str, np.ndarray]:
    prefix = "baseline "
    return {
        name.removeprefix(prefix): values
        for name, values in scores.items()
        if name.startswith(prefix) == baselines
    }


def measure(table: Table, n_bootstrap: int) -> dict:
    """`metrics.json`: figures of merit of every signal, score and baseline; first class against."""
    background, *signals = table
    return summarise_all(
        _part(table[background], False),
        {name: _part(table[name], False) for name in signals},
        _part(table[background], True),
        {name: _part(table[name], True) for name in signals},
        n_bootstrap=n_bootstrap,
    )


def rates(config: ConfigDict, background: dict[str, np.ndarray]) -> dict:
    """{SCORE: {RATE: threshold}} for the accepted rates [Hz] of `config.trigger`; {} without.

    background: score -> (n,) or (members, n); members are averaged, as a scorer does.
    """
    if "trigger" not in config:
        return {}
    return {
        "rates": {
            name: {
                f"{rate:g}": threshold_at_rate(
                    np.atleast_2d(values).mean(axis=0), rate, config.trigger.input_rate
                )
                for rate in config.trigger.rates
            }
            for name, values in background.items()
        }
    }


def _first_member(scores: np.ndarray) -> np.ndarray:
    return scores if scores.ndim == 1 else scores[0]


def _image_figures(
    scorers: dict[str, Scorer], classes: dict[str, Rows], table: Table, score: str
) -> dict[str, Figure]:
    """Average images or errors, reconstructions and latent spaces of methods that have them."""
    few = {name: take(rows, slice(N_LATENT)) for name, rows in classes.items()}
    found = {
        method: {name: scorer.outputs(rows["x"]) for name, rows in few.items()}
        for method, scorer in scorers.items()
    }
    found = {method: outputs for method, outputs in found.items() if all(outputs.values())}
    figures: dict[str, Figure] = {}
    config = scorers["method"].config
    latents = {
        config.method.name if method == "method" else method.upper(): {
            name: values["latent"] for name, values in outputs.items()
        }
        for method, outputs in found.items()
        if all(v["latent"].shape[-1] == 2 for v in outputs.values())
    }
    if latents:
        figures["latent"] = report.latent_figure(latents)
    if "method" in found:
        outputs = found["method"]
        if config.inputs.name == "features":
            errors = {n: np.square(v["input"] - v["reconstruction"]) for n, v in outputs.items()}
            return figures | {"feature_errors": report.feature_error_figure(errors)}
        look = _image_look(config)
        figures["average_images"] = report.average_image_figure(
            {name: values["input"] for name, values in outputs.items()}, **look
        )
        figures["reconstructions"] = report.reconstruction_figure(
            {name: values["input"][:N_SHOWN] for name, values in outputs.items()},
            {name: values["reconstruction"][:N_SHOWN] for name, values in outputs.items()},
            {name: _first_member(table[name][score])[:N_SHOWN] for name in outputs},
            score=score,
            n_events=N_SHOWN,
            **look,
        )
    return figures


def _image_look(config: ConfigDict) -> dict:
    inputs = config.inputs
    if inputs.name == "event_image":
        return {
            "extent": (-2.5, 2.5, -np.pi, np.pi),
            "labels": ("η", "φ"),
            "unit": "hits" if inputs.pixels.startswith("mask") else "energy / 2 TeV",
        }
    if inputs.name != "jet_image":
        return {"unit": "fraction of the sum"}
    side = (-inputs.half_width, inputs.half_width)
    labels = ("minor axis", "principal axis") if inputs.align else ("Δη", "Δφ")
    return {"extent": (*side, *side), "labels": labels, "unit": "fraction of the jet's pT"}


def _roc_figures(table: Table, curves: dict, colors: dict[str, str]) -> dict[str, Figure]:
    """One figure a signal with all its scores and baselines; with several, one of all signals."""
    background, *signals = table
    figures = {"roc": report.roc_figure(curves, colors=colors)} if len(signals) > 1 else {}
    for name in signals:
        columns = {c.removeprefix("baseline "): c for c in table[name]}
        figures[f"roc_{name}" if len(signals) > 1 else "roc"] = report.roc_figure(
            {label: (table[background][c], table[name][c]) for label, c in columns.items()},
            dashed=[label for label, c in columns.items() if c != label],
            title=name,
        )
    return figures


def figures_of(
    scorers: dict[str, Scorer],
    dataset: Dataset,
    table: Table,
    history: list[dict],
) -> tuple[dict[str, Figure], dict]:
    """All figures, and the mass sculpting and correlations that belong into `metrics.json`."""
    config, classes = scorers["method"].config, _classes(dataset)
    background, *signals = table
    score = next(iter(_part(table[background], False)))
    colors = report.class_colors(list(table))
    curves = {name: (table[background][score], table[name][score]) for name in signals}
    figures = {
        **_roc_figures(table, curves, colors),
        "scores": report.score_figure(
            table[background][score],
            {name: table[name][score] for name in signals},
            score=score,
            background_name=background,
            colors=colors,
        ),
        **_image_figures(scorers, classes, table, score),
    }
    if history:
        figures["training"] = report.training_figure(history)
    rows, values = classes[background], _first_member(table[background][score])
    observables = [b for b in config.baselines if b in rows]
    more: dict = {
        "correlations": {
            column: {name: correlation(_first_member(found), rows[name]) for name in observables}
            for column, found in _part(table[background], False).items()
        }
    }
    for name in observables:
        figures[f"profile_{name}"] = report.profile_figure(
            {c: classes[c][name] for c in table},
            {c: _first_member(table[c][score]) for c in table},
            observable=LABELS.get(name, name),
            unit=UNITS.get(name, ""),
            score=score,
            colors=colors,
        )
    if "window" in dataset.info:
        found, resonant = search.measure(scorers["method"], dataset)
        return figures | {"sic": report.sic_figure(curves)} | resonant, more | found
    if "teacher" in scorers:
        taught = {name: found["baseline teacher"] for name, found in table.items()}
        found, drawn = explain.measure(scorers["method"], taught, classes, colors)
        figures, more = figures | drawn, more | found
    if "mass" in rows:
        more["sculpting"] = mass_sculpting(rows["mass"], values)
        figures["sculpting"] = report.sculpting_figure(
            more["sculpting"], observable="jet mass", unit="GeV"
        )
    return figures, more


def _write_scores(path: Path, table: Table, classes: dict[str, Rows]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with h5py.File(temporary, "w") as file:
        for name, scores in table.items():
            for column, values in scores.items():
                file[f"{name}/{column}"] = values
            for field in classes[name].keys() - {"x"}:
                file[f"{name}/observables/{field}"] = classes[name][field]
    temporary.replace(path)


def evaluate(directory: Path, source: str = "", n_bootstrap: int = 200) -> dict:
    """Score the test data of a run, or of another `source`, and write `directory/eval`.

    Returns the content of `metrics.json`. Prints the table and the path of the report.
    """
    scorers = {"method": load(directory)}
    workdir.settle_config(directory, scorers["method"].config)
    config = scorers["method"].config.copy_and_resolve_references()
    if source:
        config.data.source = source
    for name in config.baselines:
        if name in methods.NAMES:
            scorers[name] = load(directory / "baselines" / name)
    if "teacher" in config.baselines:
        scorers["teacher"] = explain.teacher(scorers["method"])
    dataset = data.load(config.data)
    trained_on = scorers["method"].info.get("data", {}).get("digest", dataset.info["digest"])
    if not source and trained_on != dataset.info["digest"]:
        print(
            f"warning: {config.data.source}: no longer the data that the run was trained on; "
            "its test events may have trained it",
            file=sys.stderr,
        )
    if not dataset.signals:
        raise UserError(
            f"{config.data.source}: no signal to evaluate on: name some in data.signals"
        )
    classes = _classes(dataset)
    table = score_all(scorers, config, classes)
    metrics = measure(table, n_bootstrap)
    history = workdir.read_history(directory)
    figures, more = figures_of(scorers, dataset, table, history)
    metrics |= more | rates(config, _part(next(iter(table.values())), False))
    metrics |= {"data": dataset.info, "provenance": provenance()}

    folder = directory / "eval"
    with workdir.writing(folder):
        folder.mkdir(exist_ok=True)
        _write_scores(folder / "scores.h5", table, classes)
        workdir.write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        report.save_figures(figures, folder)
        report.write_report(
            folder / "report.html",
            title=f"{config.method.name} on {config.data.name}",
            metrics=metrics,
            figures=figures,
            config=config.to_dict(),
            provenance=metrics["provenance"],
        )
    print(report.metrics_table(metrics))
    print(f"report: {folder / 'report.html'}")
    return metrics
