"""How well students follow their teacher on regions that trained neither: the table of trigger.md.

    python -m benchmarks.cicada --out runs/cicada                 # simulates its events first
    python -m benchmarks.cicada --out runs/cicada --data FOLDER   # what simulate regions wrote

A teacher a seed, and students of it in every way of `WAYS`, by the shipped configs: copies of
events or none, outliers or none. Every run is kept in OUT/SEED/WAY, and goes on where it was;
OUT/cicada.md has the table. Spearman's correlation of scores on the test background, on 1,000
events of each signal, and on all of these together; the share of the test background above the
teacher's threshold for 1e-2, which is set on the same events; and the overlap of the highest 1 %.
Errors of the difference of the rates are a bootstrap's, which draws anew the events that it is of,
and those that set the scale of the student's last layer (`jaxad.methods.cicada`).
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
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
from jaxad.inputs.images import symmetric_copies, turned
from jaxad.methods.cicada import kept_labels, targets
from jaxad.metrics.agreement import overlap
from jaxad.scorer import Scorer
from jaxad.storage import cache
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
REPLICAS = 200


class Basis(NamedTuple):
    """What set the scale of a student's last layer: events (n) and their copies.

    Attributes:
        own: the student's scores (n, copies).
        target: its teacher's (n, copies).
    """

    own: np.ndarray
    target: np.ndarray


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


def basis_of(student: Scorer, teacher: Scorer, dataset: Dataset) -> Basis:
    """The events that train and choose epochs, with the copies that the student learnt from."""
    augment, folder = student.config.method.augment, cache.root(student.config.data.cache)
    parts = [dataset.train["x"], dataset.val["x"]]
    copy = jax.jit(turned)
    copies = symmetric_copies(parts[0].shape[1]) if augment else (0,)
    own = [np.stack([student(np.asarray(copy(x, i))) for i in copies], 1) for x in parts]
    target = [kept_labels(teacher, x, augment, folder) for x in parts]
    return Basis(np.concatenate(own), np.concatenate(target))


def threshold_of(scores: np.ndarray) -> Callable[[np.ndarray], float]:
    """Weights of events (n,) -> the threshold for `FPR` of their scores (n, copies)."""
    order = np.argsort(scores, axis=None, kind="stable")
    ordered, event = scores.ravel()[order], order // scores.shape[1]

    def found(weight: np.ndarray) -> float:
        total = np.cumsum(weight[event])
        return ordered[np.searchsorted(total, (1 - FPR) * total[-1], side="right")]

    return found


def scale_of(basis: Basis) -> Callable[[np.ndarray], float]:
    """Weights of events (n,) -> what they would multiply the student's scores by.

    Then as many are above the teacher's threshold as by the teacher; equal weights: 1.
    """
    ours, theirs = threshold_of(basis.own), threshold_of(basis.target)
    equal = np.ones(len(basis.own))
    as_it_is = theirs(equal) / ours(equal)
    return lambda weight: theirs(weight) / ours(weight) / as_it_is


def excesses(own: np.ndarray, target: np.ndarray, basis: Basis | None = None) -> np.ndarray:
    """A student's rate at its teacher's threshold less the teacher's, of events drawn anew.

    As many events are drawn in the same way every time, so that replicas of several students of the
    same events have the correlations that their rates have.

    Args:
        own: scores (n,).
        target: (n,), the teacher's.
        basis: is drawn anew, too, and sets the scale of the scores anew; None: it stays.

    Returns:
        (`REPLICAS`,).
    """
    rng, found = np.random.default_rng(0), np.zeros(REPLICAS)
    weights = [drawn_anew(rng, len(own)) for _ in found]
    factors, threshold = np.ones(REPLICAS), threshold_of(target[:, None])
    if basis:
        scale = scale_of(basis)
        factors = np.array([scale(drawn_anew(rng, len(basis.own))) for _ in found])
    for i, (weight, factor) in enumerate(zip(weights, factors, strict=True)):
        cut = threshold(weight)
        differ = (own * factor >= cut).astype(int) - (target >= cut)
        found[i] = weight @ differ / len(own)
    return found


def drawn_anew(rng: np.random.Generator, n: int) -> np.ndarray:
    """How often each of n events is drawn of n draws, uint8 (n,)."""
    return np.bincount(rng.integers(0, n, n), minlength=n).astype(np.uint8)


def measured(
    scores: dict[str, np.ndarray], wanted: dict[str, np.ndarray], basis: Basis
) -> dict[str, dict[str, float] | float]:
    """What a student's scores of samples have in common with its teacher's targets.

    Returns:
        "correlation" {sample: Spearman's}, "error" of that on background; "difference", the mean
        absolute one; "rate" at the teacher's threshold and "excess", that less the teacher's, with
        "rate_error" and "excess_error", of which "event_error" is that of these events alone;
        "overlap".
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
        "excess_error": float(np.std(excesses(own, target, basis))),
        "event_error": float(np.std(excesses(own, target))),
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
        basis = basis_of(student, teacher, dataset)
        scored = with_all({name: student(x) for name, x in samples.items()})
        found[way] = measured(scored, wanted, basis)
        write_text(folder / "results.json", json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    sys.exit(main())
