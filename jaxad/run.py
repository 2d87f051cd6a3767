"""Train a config in a work directory: data, method and scorer, in that order."""

import contextlib
import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxad import data, hosts, methods, workdir
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


def _banner(config: ConfigDict) -> str:
    return "\n".join(
        [str(config).rstrip(), *(f"{name}: {value}" for name, value in provenance().items())]
    )


def fitter(directory: Path) -> Callable[..., Fitted]:
    """`jaxad.training.fit` bound to a work directory: checkpoints, history, signals."""

    def bound(*args: object, stage: str, **kwargs: object) -> Fitted:
        history = workdir.history_writer(directory, stage)
        with workdir.stop_signals() as stop:
            return fit(
                *args,
                stage=stage,
                directory=directory / "checkpoints",
                stop=stop,
                on_epoch=history if hosts.leads() else lambda _: None,
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

    Of several processes (`jaxad.hosts`) all call this, and the leader writes.

    Raises:
        UserError: anything the user can mend.
        Preempted: stopped by SIGTERM or Ctrl-C after a checkpoint.
    """
    with contextlib.ExitStack() as held:
        if hosts.leads():
            held.enter_context(workdir.opened(directory))
            workdir.settle_config(directory, config)
        say = print if hosts.leads() else lambda *_, **__: None
        (trained,) = hosts.largest((directory / "scorer" / "scorer.json").exists())
        if trained:
            say(f"{directory}: already trained; evaluate.py --workdir={directory} shows it")
            return
        say(_banner(config), flush=True)
        with hosts.leader_first("data"):
            dataset = data.load(config.data)
        say(data.summary(dataset), flush=True)
        references = [name for name in config.baselines if name in methods.NAMES]
        for name in [*references, config.method.name]:
            methods.check_data(name, config, dataset)
            fitted = methods.get(name).fit(config, dataset, fitter(directory))
            folder = "scorer" if name == config.method.name else f"baselines/{name}"
            scorer = build_scorer(config, name, fitted, dataset)
            if hosts.leads():
                scorer.save(directory / folder)
        say(f"trained: {directory}/scorer; next: evaluate.py --workdir={directory}")
