"""Train a config in a work directory: data, method and scorer, in that order.

  jaxad train --config=toptagging_ae --workdir=runs/toptagging
  jaxad train --config=configs/toptagging_ae.py:smoke --workdir=runs/smoke
  jaxad train --config=toptagging_ae --workdir=runs/x --config.train.epochs=20

--config is a file or the name of one that jaxad ships; CONFIG:smoke is a version of the experiment
that takes seconds. Any setting of the config is overridden by --config.SECTION.NAME=VALUE, after
--config; the resolved config is printed first. The same command again resumes a run that was
interrupted; a finished one is left alone. --tensorboard writes event files, --log=MODULE:FUNCTION
calls a function of yours after every epoch. `python train.py` is the same command.
"""

import contextlib
import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from jaxad import data, methods, workdir
from jaxad.commands import cli
from jaxad.data.dataset import Dataset
from jaxad.data.event_weights import for_training
from jaxad.data.raw_events import trained_energies
from jaxad.devices import hosts
from jaxad.errors import UserError
from jaxad.evaluation import closure, references
from jaxad.methods import Bench, settings
from jaxad.scorer import Scorer, load, require_free
from jaxad.storage.on_disk import folder_of
from jaxad.storage.provenance import provenance
from jaxad.training import Fitted, fit, logs, tensorboard


def _banner(config: ConfigDict) -> str:
    plain = ConfigDict(json.loads(config.to_json()))  # of tuples YAML says that they are Python's
    return "\n".join(
        [str(plain).rstrip(), *(f"{name}: {value}" for name, value in provenance().items())]
    )


def fitter(
    directory: Path, log: logs.Log | None = None, with_tensorboard: bool = False
) -> Callable[..., Fitted]:
    """`jaxad.training.fit` bound to a work directory: checkpoints, history, logs, signals."""
    told = Counter(record["stage"] for record in workdir.read_history(directory))
    epochs: dict[str, int] = {}

    def bound(*args: object, stage: str, **kwargs: object) -> Fitted:
        followers = [workdir.history_writer(directory, stage)]
        if with_tensorboard:
            followers.append(tensorboard.writer(directory / "tensorboard" / stage))
        if log:
            followers.append(logs.teller(log, told[stage], sum(epochs.values())))

        def on_epoch(history: list[dict]) -> None:
            for follow in followers if hosts.leads() else ():
                follow(history)
            epochs[stage] = len(history)

        with workdir.stop_signals() as stop:
            return fit(
                *args,
                stage=stage,
                directory=directory / "checkpoints",
                stop=stop,
                on_epoch=on_epoch,
                **kwargs,
            )

    return bound


def bench(fitting: Callable[..., Fitted]) -> Bench:
    """What methods work with: the engine, and other scorers."""
    return Bench(fitting, load, Scorer)


def build_scorer(config: ConfigDict, method: str, fitted: dict, dataset: Dataset) -> Scorer:
    """The scorer of fitted parameters, its thresholds set on what the method says."""
    x, sample, weight = methods.calibration(method, config, dataset)
    about = {"sample": sample, "n_events": 0 if x is None else len(x)}
    # An evaluation from another folder has to find them.
    files = [os.path.abspath(file) for file in dataset.info.get("files", [])]
    uncalibrated = Scorer(
        method=method,
        config=config,
        params=jax.tree.map(np.asarray, fitted),
        layout=dataset.layout,
        info={
            "data": dataset.info | {"files": files},
            "calibration": about,
            "energies": trained_energies(dataset.layout, dataset.train["x"]),
            "provenance": provenance(),
        },
    )
    if x is None:
        return uncalibrated
    return uncalibrated.calibrated(uncalibrated(x, folder_of(x)), weight)


def _check_folders(config: ConfigDict, directory: Path) -> None:
    """Refuses before anything is trained what could not be saved after it."""
    workdir.read_history(directory)
    for folder in ("scorer", *(f"baselines/{name}" for name in config.baselines)):
        require_free(directory / folder)


def train(
    config: ConfigDict,
    directory: Path,
    log: logs.Log | None = None,
    with_tensorboard: bool = False,
) -> None:
    """Fit the config's method in a work directory; the same call again resumes.

    Of several processes (`jaxad.devices.hosts`) all call this, and the leader writes.

    Args:
        config: of the experiment.
        directory: of the run.
        log: called after every epoch with (step, {name: value}), see `jaxad.training.logs`.
        with_tensorboard: write event files into directory/tensorboard/STAGE.

    Raises:
        UserError: anything the user can mend.
        Preempted: stopped by SIGTERM or Ctrl-C after a checkpoint.
    """
    settings.check(config)
    if "search" in config:
        raise UserError("--config: is of a search: run jaxad search, or train --config=cathode")
    with contextlib.ExitStack() as held:
        if hosts.leads():
            held.enter_context(workdir.opened(directory))
            workdir.settle_config(directory, config)
        say = print if hosts.leads() else lambda *_, **__: None
        (trained,) = hosts.largest((directory / "scorer" / "scorer.json").exists())
        if hosts.leads() and not trained:
            _check_folders(config, directory)
        if trained:
            say(f"{directory}: already trained; jaxad evaluate --workdir={directory} shows it")
            return
        say(_banner(config), flush=True)
        with hosts.leader_first("data"):
            dataset = data.load(config.data)
        say(data.summary(dataset), flush=True)
        dataset = for_training(dataset, config.data)
        references.names_of(config, dataset)
        false = closure.windows(config, dataset)
        fitting = fitter(directory, log, with_tensorboard)
        works, method = bench(fitting), config.method.name
        first = [name for name in config.baselines if name in methods.NAMES and name != method]
        for name in [*first, method]:
            methods.check(name, config, dataset)
            own = works if name == method else works.under(f"baseline {name}, ")
            fitted = methods.get(name).fit(config, dataset, own)
            scorer = build_scorer(config, name, fitted, dataset)
            if false and name == method:
                tested = closure.measure(config, dataset, works)
                scorer = dataclasses.replace(scorer, info=scorer.info | {"closure": tested})
            if hosts.leads():
                scorer.save(directory / ("scorer" if name == method else f"baselines/{name}"))
        say(f"trained: {directory}/scorer; next: jaxad evaluate --workdir={directory}")


def main(argv: Sequence[str]) -> int:
    """The command; its exit code, see `cli.exit_code`."""

    def define(values: flags.FlagValues, arguments: list[str]) -> None:
        cli.define_config(values, arguments, required=True)
        cli.define_workdir(values, "Where the run lives: checkpoints, history, scorer.")
        flags.DEFINE_bool(
            "tensorboard",
            False,
            "Write TensorBoard's event files into WORKDIR/tensorboard.",
            flag_values=values,
        )
        flags.DEFINE_string(
            "log",
            "",
            "MODULE:FUNCTION called after every epoch with (step, {name: value}).",
            flag_values=values,
        )

    values = cli.parsed(define, ["jaxad train", *argv], __doc__)

    def command() -> None:
        hosts.initialize()
        log = logs.found(values.log, Path.cwd()) if values.log and hosts.leads() else None
        train(values.config, values.workdir, log, values.tensorboard)

    return cli.exit_code(command, at_once=True)
