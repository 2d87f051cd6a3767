"""The methods of ADC2021 on many events and seeds: the tables of docs/adc2021.md.

    python -m benchmarks.trigger_seeds --data FOLDER --out OUT [--seeds 10] [--methods vae rbm]

FOLDER holds the files of the challenge, or simulated ones. A quarter of the background trains and
chooses epochs, the rest tests. Networks of all seeds are trained at once (`train.ensemble`), in as
many steps as `make adc2021` takes; what is fitted by scikit-learn is fitted anew on other events
with each seed. Students learn the mean of the networks of OUT/conv_ae. OUT/METHOD.json holds the
numbers of a finished method, which is not done again; OUT/seeds.md the tables. A folder takes no
numbers of other events, configs or seeds.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

import jaxad
from benchmarks.front import points
from jaxad import data
from jaxad.commands import cli
from jaxad.commands.train import train
from jaxad.configs import (
    adc2021_ae,
    adc2021_challenge,
    adc2021_conv_vae,
    adc2021_flow_norm,
    adc2021_rbm,
    adc2021_shallow,
    adc2021_student,
    adc2021_vae,
)
from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.metrics.ranked import binomial_error
from jaxad.metrics.roc import auc, threshold_at_fpr
from jaxad.storage.atomic import write_text
from jaxad.storage.digest import digest

SHALLOW = ("isolation_forest", "one_class_svm", "gaussian_mixture", "nearest_neighbours")
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ae": (adc2021_ae, {"train.epochs": 1000}),
    "challenge": (adc2021_challenge, {"train.epochs": 1000}),
    "dense_ae": (adc2021_vae, {"model.name": "dense_ae"}),
    "vae": (adc2021_vae, {}),
    "conv_ae": (adc2021_conv_vae, {"model.name": "conv_ae"}),
    "conv_vae": (adc2021_conv_vae, {}),
    "rbm": (adc2021_rbm, {}),
    "flow_norm": (adc2021_flow_norm, {}),
    **{name: (adc2021_shallow, {"method.name": name}) for name in SHALLOW},
    "student": (adc2021_student, {}),
}
TEACHER = "conv_ae"
BASELINES = "observable"
N_DEMO = 3_840
"""Training events of `make adc2021`, whose epochs the configs' are."""
FPR = (1e-2, 1e-3, 1e-4)
SPLIT = {"n_events": 0, "val_fraction": 0.05, "test_fraction": 0.75}


def configured(
    name: str, seed: int, members: int, folder: str, n_train: int, out: Path
) -> ConfigDict:
    """The shipped config for these events; a student's teacher lies in `out`."""
    module, settings = METHODS[name]
    config = module.get_config()
    config.seed = seed
    config.update_from_flattened_dict(settings)
    config.data.update({"source": folder, **SPLIT})
    if name == "student":
        config.method.teacher = str(out / TEACHER / "0")
    if name not in SHALLOW:
        config.train.ensemble = members
        config.train.epochs = max(round(config.train.epochs * N_DEMO / n_train), 1)
        config.train.early_stop_patience = 0
    return config


def measured(scores: np.ndarray, background: np.ndarray) -> dict[str, list[float]]:
    """AUC, and TPR with its error at each FPR, of one network and signal."""
    found = {"auc": [auc(background, scores), 0.0]}
    for fpr in FPR:
        cut = threshold_at_fpr(background, fpr)
        if cut["reason"]:
            continue
        # The threshold is an order statistic: its error is that of the number of events above it.
        k = cut["n_background"]
        around = np.sort(background)[::-1][[round(k - k**0.5) - 1, round(k + k**0.5) - 1]]
        low, high = ((scores >= threshold).mean() for threshold in around)
        n = np.count_nonzero(scores >= cut["threshold"])
        error = np.hypot((high - low) / 2, binomial_error(n, len(scores)))
        found[f"{fpr:g}"] = [n / len(scores), float(error)]
    return found


def observables(dataset: Dataset) -> list[dict]:
    """The same of the baselines, which need no training."""
    return [
        {
            name: {
                signal: measured(np.asarray(rows[name]), np.asarray(dataset.test[name]))
                for signal, rows in dataset.signals.items()
            }
            for name in dataset.baselines
        }
    ]


def results(workdir: Path, dataset: Dataset) -> list[dict]:
    """Of each member: score -> signal -> `measured`."""
    scorer = jaxad.load(workdir)
    scores = {
        name: {score: np.atleast_2d(values) for score, values in scorer.member_scores(x).items()}
        for name, x in (
            ("background", dataset.test["x"]),
            *((name, rows["x"]) for name, rows in dataset.signals.items()),
        )
    }
    background = scores.pop("background")
    n_members = max(len(values) for values in background.values())
    return [
        {
            score: {
                # What no network is in is the same of all members.
                name: measured(of[score][i % len(values)], values[i % len(values)])
                for name, of in scores.items()
            }
            for score, values in background.items()
        }
        for i in range(n_members)
    ]


def table(out: Path, done: list[str]) -> str:
    """AUC, then TPR at each FPR: medians of values and errors over seeds, and the extremes."""
    found = {name: json.loads((out / f"{name}.json").read_text()) for name in done}
    signals = list(next(iter(found[done[0]][0].values())))
    text = ""
    for key in ("auc", *(f"{fpr:g}" for fpr in FPR)):
        text += f"\n| {'AUC' if key == 'auc' else f'TPR at FPR {key}'}, % | "
        text += " | ".join(signals) + " |\n" + "|---" * (len(signals) + 1) + "|\n"
        for name, members in found.items():
            for score in members[0]:
                cells = []
                for signal in signals:
                    pairs = [member[score][signal].get(key) for member in members]
                    if None in pairs:
                        cells.append("-")
                        continue
                    values, errors = 100 * np.transpose(pairs)
                    error = f" ± {np.median(errors):.2g}" if key != "auc" else ""
                    cells.append(
                        f"{np.median(values):.3g}{error} [{values.min():.3g}, {values.max():.3g}]"
                    )
                text += f"| {name}: {score} | {' | '.join(cells)} |\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the challenge's files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    given = parser.parse_args()

    def command() -> None:
        if given.seeds < 1:
            raise UserError(f"--seeds: expected 1 or more, found {given.seeds}")
        dataset = data.load(configured("rbm", 0, 1, given.data, N_DEMO, given.out).data)
        given.out.mkdir(parents=True, exist_ok=True)
        points.settle(given.out, settings(dataset, given.seeds))
        make(given.out, dataset, given.data, given.seeds, given.methods)

    sys.exit(cli.exit_code(command))


def settings(dataset: Dataset, seeds: int) -> dict[str, str]:
    """What all numbers of a folder have in common: events, configs, seeds."""
    parts = {name: rows["x"] for name, rows in dataset.parts()}
    n_train = len(dataset.train["x"])
    configs = {
        name: json.loads(configured(name, 0, 1, "", n_train, Path()).to_json()) for name in METHODS
    }
    return {"events": digest({}, parts), "settings": digest(configs, {}), "seeds": str(seeds)}


def make(out: Path, dataset: Dataset, folder: str, n_seeds: int, names: list[str]) -> None:
    """What is not there yet of the methods; then the tables of all that is."""
    sizes = len(dataset.train["x"]), len(dataset.val["x"]), len(dataset.test["x"])
    print(f"{sizes[0]:,} events train, {sizes[1]:,} choose epochs, {sizes[2]:,} test", flush=True)
    kept(out / f"{BASELINES}.json", observables(dataset))
    for name in tqdm(names, "methods", unit="method"):
        file = out / f"{name}.json"
        if file.exists():
            continue
        found = []
        for seed in range(n_seeds if name in SHALLOW else 1):
            run = out / name / str(seed)
            if not (run / "scorer").exists():
                train(configured(name, seed, n_seeds, folder, sizes[0], out), run)
            found += results(run, dataset)
        kept(file, found)
    done = [each for each in (*METHODS, BASELINES) if (out / f"{each}.json").exists()]
    text = table(out, done)
    write_text(out / "seeds.md", text)
    print(text)


def kept(file: Path, found: list[dict]) -> None:
    """Written whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(found))


if __name__ == "__main__":
    main()
