"""How well students follow their teacher on regions that trained neither: the table of trigger.md.

    python -m benchmarks.cicada --out runs/cicada                 # simulates its events first
    python -m benchmarks.cicada --out runs/cicada --data FOLDER   # what simulate regions wrote

A teacher a seed, and students of it in every way of `WAYS`, by the shipped configs: copies of
events or none, outliers or none. Every run is kept in OUT/SEED/WAY, and goes on where it was;
OUT/cicada.md has the table. Spearman's correlation of scores on the test background, on 1,000
events of each signal, and on all of these together; the share of the test background above the
teacher's threshold for 1e-2, which is set on the same events; and the overlap of the highest 1 %.
Differences of rates are paired: events that one accepts and the other does not.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy.stats import spearmanr

import jaxad
from jaxad import data
from jaxad.commands import cli
from jaxad.commands.train import train
from jaxad.configs import cicada, cicada_teacher
from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.methods.cicada import targets
from jaxad.metrics.agreement import overlap
from jaxad.storage.atomic import write_text
from jaxad.storage.paths import expanded

WAYS: dict[str, dict[str, Any]] = {
    "copies, outliers": {},
    "copies": {"outliers": 0.0},
    "outliers": {"augment": False},
    "neither": {"augment": False, "outliers": 0.0},
}
"""Settings of `method` that are not the config's."""
FPR = 1e-2
N_SIGNAL = 1_000  # events of each signal


def settings_of(config: ConfigDict, given: argparse.Namespace, seed: int) -> ConfigDict:
    """A shipped config on the events that are given."""
    config.seed = seed
    config.data.source = given.data
    if given.epochs:
        config.train.epochs = max(round(config.train.epochs * given.epochs), 1)
    if given.events:
        config.data.n_events = given.events
    return config


def with_all(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of samples, and of all of them."""
    return scores | {"all": np.concatenate(list(scores.values()))}


def measured(
    scores: dict[str, np.ndarray], wanted: dict[str, np.ndarray]
) -> dict[str, dict[str, float] | float]:
    """What a student's scores of samples have in common with its teacher's targets.

    Returns:
        "correlation" {sample: Spearman's}, "error" of that on background; "difference", the mean
        absolute one; "rate" at the teacher's threshold and "excess", that less the teacher's, with
        "rate_error" and the paired "excess_error"; "overlap".
    """
    own, target = scores["background"], wanted["background"]
    threshold, n = np.quantile(target, 1 - FPR), len(target)
    taken, theirs = own >= threshold, target >= threshold
    correlation = {name: float(spearmanr(scores[name], wanted[name])[0]) for name in wanted}
    r, rate = correlation["background"], float(np.mean(taken))
    return {
        "correlation": correlation,
        "error": (1 - r**2) * ((1 + r**2 / 2) / (n - 3)) ** 0.5,
        "difference": float(np.mean(np.abs(own - target))),
        "rate": rate,
        "rate_error": (rate * (1 - rate) / n) ** 0.5,
        "excess": rate - float(np.mean(theirs)),
        "excess_error": float(np.sum(taken != theirs)) ** 0.5 / n,
        "overlap": overlap(own, target),
    }


def table(seeds: Sequence[dict[str, dict]]) -> str:
    """Markdown, a row a way: medians over seeds, the extremes of the correlation in brackets."""
    first = next(iter(seeds[0].values()))
    columns = ["", *first["correlation"], "difference", "rate", "less the teacher's", "overlap"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for way in seeds[0]:
        own = [seed[way] for seed in seeds]
        cells = [way]
        for sample in first["correlation"]:
            values = [found["correlation"][sample] for found in own]
            error = f" ± {np.median([f['error'] for f in own]):.4f}"
            cells.append(
                f"{np.median(values):.3f}{error if sample == 'background' else ''} "
                f"[{min(values):.3f}, {max(values):.3f}]"
            )
        cells.append(f"{np.median([found['difference'] for found in own]):.2f}")
        rates = (f"{found['rate']:.4f} ± {found['rate_error']:.4f}" for found in own)
        excess = (f"{found['excess']:+.4f} ± {found['excess_error']:.4f}" for found in own)
        cells += [", ".join(rates), ", ".join(excess)]
        cells.append(f"{np.median([found['overlap'] for found in own]):.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=expanded, default=Path("runs/cicada"))
    parser.add_argument("--data", default="simulation", help="folder of regions")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    parser.add_argument("--events", type=int, default=0, help="at most; 0: all")
    parser.add_argument("--epochs", type=float, default=0.0, help="times those of the configs")
    given = parser.parse_args(argv)

    def command() -> None:
        if min(given.seeds) < 0 or given.events < 0 or given.epochs < 0:
            raise UserError("--seeds, --events, --epochs: expected 0 or more")
        dataset = data.load(settings_of(cicada_teacher.get_config(), given, 0).data)
        sizes = len(dataset.train["x"]), len(dataset.val["x"]), len(dataset.test["x"])
        print(f"{sizes[0]:,} events train, {sizes[1]:,} choose epochs, {sizes[2]:,} test")
        found = [made(given, seed, dataset) for seed in given.seeds]
        text = table(found)
        write_text(given.out / "cicada.md", text + "\n")
        print(text)

    return cli.exit_code(command)


def made(given: argparse.Namespace, seed: int, dataset: Dataset) -> dict[str, dict]:
    """The runs of a seed, those that are not there yet, and what they give."""
    folder = given.out / str(seed)
    train(settings_of(cicada_teacher.get_config(), given, seed), folder / "teacher")
    teacher, samples = jaxad.load(folder / "teacher"), {"background": dataset.test["x"]}
    samples |= {name: rows["x"][:N_SIGNAL] for name, rows in dataset.signals.items()}
    scores = {name: teacher(x) for name, x in samples.items()}
    print(f"seed {seed}: the teacher's mean squared error {scores['background'].mean():.2f}")
    wanted, found = with_all({name: targets(score) for name, score in scores.items()}), {}
    for way in given.ways:
        config = settings_of(cicada.get_config(), given, seed)
        config.method.update({"teacher": str(folder / "teacher"), **WAYS[way]})
        run = folder / way.replace(", ", "-")
        train(config, run)
        student = jaxad.load(run)
        found[way] = measured(with_all({name: student(x) for name, x in samples.items()}), wanted)
        write_text(folder / "results.json", json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    sys.exit(main())
