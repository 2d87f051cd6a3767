"""What benchmarks of labelled jets share: arguments, splits, AUCs, and the table they print."""

import argparse
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.data.particles import JET_BASELINES
from jaxad.evaluation import general, references
from jaxad.metrics import auc


def parser_of(module: str) -> argparse.ArgumentParser:
    """Arguments of a benchmark with the docstring `module`: source, seeds, background, signals."""
    parser = argparse.ArgumentParser(description=module.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--seeds", type=int, default=5, help="splits of the background")
    parser.add_argument("--background", default="", help="labels, if others than the config's")
    parser.add_argument("--signals", default="", help="NAME=LABEL,..., likewise")
    return parser


def of_split(config: ConfigDict, args: argparse.Namespace, seed: int) -> ConfigDict:
    """The config, set to the split number `seed` of the jets of the arguments."""
    config.seed = config.data.seed = seed
    config.data.source = args.source
    config.data.background = args.background or config.data.background
    config.data.signals = args.signals or config.data.signals
    return config


def aucs_of(score: Callable[[np.ndarray], np.ndarray], dataset: Dataset) -> list[float]:
    """AUC of every signal by `score`, raw events (n, ...) -> (n,), larger where more anomalous."""
    background = score(dataset.test["x"])
    return [auc(background, score(signal["x"])) for signal in dataset.signals.values()]


def observable_aucs(dataset: Dataset) -> dict[str, list[float]]:
    """AUC of every signal by each observable, one and two sided."""
    names = [*JET_BASELINES, *map(references.two_sided, JET_BASELINES)]
    background, *signals = general.classes_of(dataset, names).values()
    medians, aucs = references.medians(dataset, names), {}
    for name in JET_BASELINES:
        aucs[name] = [auc(background[name], s[name]) for s in signals]
        gap = [np.abs(rows[name] - medians[name]) for rows in (background, *signals)]
        aucs[references.two_sided(name)] = [auc(gap[0], s) for s in gap[1:]]
    return aucs


def markdown(
    aucs: Mapping[str, Sequence[Sequence[float]]],
    signals: Sequence[str],
    more: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Table of the AUC of each signal and their mean: over the splits, with its spread if several.

    Args:
        aucs: name -> (splits, signals).
        more: further columns: "" -> their headings, name -> their cells.
    """
    more = more or {"": ()}
    header = ["score", *signals, "mean", *more[""]]
    lines = [header, ["---"] * len(header)]
    for name, found in aucs.items():
        rows = np.array(found)
        rows = np.column_stack([rows, rows.mean(axis=1)])
        cells = [f"{mean:.3f}" for mean in rows.mean(axis=0)]
        if len(rows) > 1:
            spread = rows.std(axis=0, ddof=1)
            cells = [f"{cell} ± {s:.3f}" for cell, s in zip(cells, spread, strict=True)]
        lines.append([name.replace("|", "\\|"), *cells, *more.get(name, ())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
