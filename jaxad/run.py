"""Train a config in a work directory: data, method and scorer, in that order."""

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxad import data, methods, workdir
from jaxad.data.dataset import Dataset
from jaxad.report.html import versions
from jaxad.scorer import Scorer
from jaxad.training import Fitted, fit


def provenance() -> dict[str, str]:
    """Versions of Python and of what computes for it, the device, and jaxad's git commit."""
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    devices = jax.devices()
    return (
        versions()
        | {"devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"}
        | ({"git": commit.stdout.strip()} if commit.returncode == 0 else {})
    )


def _banner(config: ConfigDict) -> None:
    print(str(config).rstrip())
    print("\n".join(f"{name}: {value}" for name, value in provenance().items()), flush=True)


def fitter(directory: Path) -> Callable[..., Fitted]:
    """`jaxad.training.fit` bound to a work directory: checkpoints, history, signals."""

    def bound(*args: object, stage: str, **kwargs: object) -> Fitted:
        with workdir.stop_signals() as stop:
            return fit(
                *args,
                stage=stage,
                directory=directory / "checkpoints",
                stop=stop,
                on_epoch=workdir.history_writer(directory, stage),
                **kwargs,
            )

    return bound


def held_out(dataset: Dataset) -> np.ndarray:
    """Raw validation events; those of a resonant search only inside its mass window [TeV]."""
    if "window" not in dataset.info:
        return dataset.val["x"]
    low, high = dataset.info["window"]
    mass = dataset.val["mass"] / 1000
    return dataset.val["x"][(mass > low) & (mass < high)]


def build_scorer(config: ConfigDict, method: str, fitted: dict, dataset: Dataset) -> Scorer:
    """The scorer of fitted parameters, calibrated on held-out events."""
    shape = dataset.train["x"].shape[1:]
    particles = dataset.info["format"] in ("epxpypz", "ptetaphi")
    uncalibrated = Scorer(
        method=method,
        config=config,
        params=jax.tree.map(np.asarray, fitted),
        shape=(None, *shape[1:]) if particles else tuple(shape),
        format=dataset.info["format"],
        info={"data": dataset.info, "provenance": provenance()},
    )
    background = np.sort(uncalibrated(held_out(dataset)))
    return dataclasses.replace(uncalibrated, background=background)


def train(config: ConfigDict, directory: Path) -> None:
    """Fit the config's method in a work directory; the same call again resumes.

    Raises:
        UserError: anything the user can mend.
        Preempted: stopped by SIGTERM or Ctrl-C after a checkpoint.
    """
    with workdir.opened(directory):
        workdir.settle_config(directory, config)
        if (directory / "scorer" / "scorer.json").exists():
            print(f"{directory}: already trained; evaluate.py --workdir={directory} shows it")
            return
        _banner(config)
        dataset = data.load(config.data)
        print(data.summary(dataset), flush=True)
        references = [name for name in config.baselines if name in methods.NAMES]
        for name in [*references, config.method.name]:
            fitted = methods.get(name).fit(config, dataset, fitter(directory))
            folder = "scorer" if name == config.method.name else f"baselines/{name}"
            build_scorer(config, name, fitted, dataset).save(directory / folder)
        print(f"trained: {directory}/scorer; next: evaluate.py --workdir={directory}")
