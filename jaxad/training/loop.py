"""The one training engine: every network of jaxad is fitted by `fit`.

The data lie on the device, stretches of an epoch run compiled (`jaxad.training.step`), and the host
sees one small pytree of sums between them: that is where progress, SIGTERM and checkpoints happen,
in the middle of an epoch too. A resumed run repeats an undisturbed one bit for bit. Rows on disk
(`jaxad.storage.on_disk`) go to the device in blocks of steps, in the same order.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad.data.dataset import Rows
from jaxad.devices import hosts
from jaxad.errors import Preempted, UserError
from jaxad.storage import blockwise
from jaxad.storage.on_disk import folder_of
from jaxad.storage.provenance import machine
from jaxad.training import streams
from jaxad.training.feed import feed, order_of, shuffled
from jaxad.training.step import Block, Programs, Task, compile_programs, weighted_mean

__all__ = ["Fitted", "Task", "fit", "get_config", "weighted_mean"]

SECONDS_PER_CALL = 0.5


def get_config(**changes: Any) -> ConfigDict:
    """Settings of `fit` with their defaults; `changes` override, unknown names are refused.

    Examples:
        >>> get_config(epochs=3, optimizer="sgd").epochs
        3
    """
    config = ConfigDict(
        {
            "epochs": 10,
            "batch_size": 256,
            "optimizer": "adam",  # adam | adamw | sgd
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "b2": 0.999,
            "eps": 1e-8,
            "clip": 0.0,  # largest global gradient norm, 0: none
            "clip_per_tensor": 0.0,  # largest gradient norm of each tensor, 0: none
            "schedule": "constant",  # constant | cosine
            "plateau_patience": 0,  # epochs without improvement before the rate drops, 0: never
            "plateau_factor": 0.1,
            "min_learning_rate": 0.0,
            "early_stop_patience": 0,  # epochs without improvement before the stop, 0: never
            "monitor": "loss",  # validation metric that chooses epochs
            "maximize": False,
            "keep_best": 1,  # number of best epochs kept; scores are averaged over them
            "ensemble": 1,  # members, trained at once with seeds seed, seed + 1, ...
            "checkpoint_seconds": 30.0,  # least time between checkpoints inside a stage
        }
    )
    unknown = sorted(set(changes) - set(config))
    if unknown:
        raise UserError(f"unknown training setting {unknown[0]!r}; known: {', '.join(config)}")
    config.update(changes)
    return config


class Fitted(NamedTuple):
    """Result of `fit`: best epochs of all members, leading axes (ensemble, keep_best)."""

    params: Any
    state: Any
    value: np.ndarray
    history: list[dict]


def _means(sums: dict[str, Array]) -> dict[str, np.ndarray]:
    host = {name: values.astype(np.float64) for name, values in hosts.fetch(sums).items()}
    weight = np.maximum(host.pop("weight"), 1e-30)
    return {name: values / weight for name, values in host.items()}


def _plain(values: np.ndarray) -> float | list[float]:
    return float(values[0]) if len(values) == 1 else [float(v) for v in values]


def _not_finite(stage: str, where: str, bad: np.ndarray, folder: Path | None) -> UserError:
    which = f", member {int(np.argmax(bad))}" if len(bad) > 1 else ""
    kept = f"; the last good checkpoint is in {folder}" if folder else ""
    return UserError(
        f"{stage}: loss is not finite in {where}{which}{kept}: "
        "lower train.learning_rate or set train.clip"
    )


class _Fit(NamedTuple):
    """What does not change while a fit runs."""

    config: ConfigDict
    stage: str
    programs: Programs
    seeds: Any  # and the number of the stage, (members, 2) on the device
    steps: int  # of an epoch
    blocks: Callable[[int], Callable[[int], Block]]  # epoch -> step -> the block that holds it
    val_blocks: Callable[[int], Block]
    val_steps: int
    folder: Path | None  # of checkpoints
    stop: Callable[[], bool]


def _checkpoints() -> ModuleType:
    """Imported where it is used: Orbax takes a quarter of a second, scoring does without."""
    from jaxad.training import checkpoint

    return checkpoint


def _restored(one: _Fit, members: Any) -> tuple[Any, int, int, list[dict], bool]:
    """Members, epoch, step and history of the newest checkpoint, or of a fresh start; whether."""
    with hosts.leader_first(f"restore {one.stage}"):
        found = _checkpoints().restore(one.folder, members) if one.folder else None
    if not found:
        return members, 0, 0, [], False
    state, meta = found
    if hosts.leads():
        _tell_other_bits(one.stage, meta.get("machine", {}))
    members = jax.tree.map(lambda a, old: hosts.place(a, old.sharding), state, members)
    return members, meta["epoch"], meta["step"], meta["history"], True


def _tell_other_bits(stage: str, wrote: dict[str, str]) -> None:
    """Say so where a run that goes on cannot keep the bits of an undisturbed one."""
    now = machine()
    changed = [f"{k} {wrote[k]}, now {now[k]}" for k in now if wrote.get(k, now[k]) != now[k]]
    if changed:
        why = f"its checkpoint is of another machine or setting ({'; '.join(changed)})"
    elif now["deterministic"] == "no":
        why = "XLA_FLAGS lets this device add up in any order"
    else:
        return
    print(
        f"warning: {stage}: {why}: the last bits will not be those of an undisturbed run",
        file=sys.stderr,
    )


class _Pace:
    """How many steps a compiled stretch takes, and when a checkpoint is due."""

    def __init__(self, config: ConfigDict):
        self.chunk, self._every, self._saved_at = 1, config.checkpoint_seconds, time.monotonic()

    def adapt(self, seconds: float, n_steps: int) -> None:
        """Aim at stretches of `SECONDS_PER_CALL`, growing fourfold at most."""
        wanted = SECONDS_PER_CALL / max(seconds / n_steps, 1e-9)
        self.chunk = int(np.clip(wanted, 1, 4 * self.chunk))

    def due(self) -> bool:
        """Whether the last checkpoint is old."""
        return time.monotonic() - self._saved_at > self._every

    def saved(self) -> None:
        """Note that one was written."""
        self._saved_at = time.monotonic()


def _save(one: _Fit, members: Any, epoch: int, step: int, history: list[dict]) -> None:
    state = hosts.fetch(members)
    if one.folder and hosts.leads():
        meta = {"epoch": epoch, "step": step, "history": history, "machine": machine()}
        _checkpoints().save(one.folder, epoch * one.steps + step, state, meta)


def _rest_of_epoch(
    one: _Fit, members: Any, epoch: int, start: int, history: list[dict], pace: _Pace, bar: tqdm
) -> Any:
    """The members after the steps of an epoch from `start` on.

    Raises:
        UserError: a loss is not finite.
        Preempted: stopped between two stretches, with a checkpoint.
    """
    block_of = one.blocks(epoch)
    block = block_of(start)
    while start < one.steps:
        if start == block.first + block.index.shape[1]:
            block = block_of(start)
        upto = min(start + pace.chunk, block.first + block.index.shape[1], one.steps)
        began = time.monotonic()
        members = one.programs.train(members, block, one.seeds, epoch, start, upto)
        first, stopped = hosts.fetch((members.bad_step, members.stopped))
        bad = (first >= 0) & ~stopped
        if bad.any():
            where = f"epoch {epoch}, step {first[bad].min()}"
            raise _not_finite(one.stage, where, bad, one.folder)
        bar.update(upto - start)
        pace.adapt(time.monotonic() - began, upto - start)
        pace.chunk, stopping, due = hosts.largest(pace.chunk, one.stop(), pace.due())
        start = upto
        if (stopping or due) and start < one.steps:
            _save(one, members, epoch, start, history)
            pace.saved()
            if stopping:
                raise Preempted
    return members


def _validated(one: _Fit, members: Any, epoch: int) -> dict[str, np.ndarray]:
    """Means of the validation metrics (members,).

    Raises:
        UserError: a loss is not finite, or the metric that chooses epochs is not among them.
    """
    sums, step = jax.tree.map(jnp.zeros_like, members.sums), 0
    while step < one.val_steps:
        block = one.val_blocks(step)
        upto = min(step + block.index.shape[1], one.val_steps)
        sums = one.programs.validate(members, sums, block, one.seeds, step, upto)
        step = upto
    means = _means(sums)
    if one.config.monitor not in means:
        known = ", ".join(means)
        raise UserError(f"train.monitor: {one.config.monitor!r} is none of {known}")
    bad = ~np.isfinite(means["loss"]) & ~hosts.fetch(members.stopped)
    if bad.any():
        raise _not_finite(one.stage, f"the validation of epoch {epoch}", bad, one.folder)
    return means


def _record(
    one: _Fit, epoch: int, train: dict, val: dict, rate: np.ndarray, seconds: float
) -> dict[str, Any]:
    """The line of an epoch in the history."""
    return (
        {"stage": one.stage, "epoch": epoch}
        | {f"train_{name}": _plain(v) for name, v in train.items()}
        | {f"val_{name}": _plain(v) for name, v in val.items()}
        | {"learning_rate": _plain(rate), "seconds": seconds}
    )


def _best(members: Any, history: list[dict]) -> Fitted:
    """The best epochs; fewer epochs than keep_best: the empty places take the best one."""
    value, best = hosts.fetch((members.best_value, members.best))
    chosen = np.where(np.isfinite(value), np.arange(value.shape[1]), value.argmin(1)[:, None])
    every = np.arange(len(value))[:, None]
    params, state = jax.tree.map(lambda a: a[every, chosen], best)
    return Fitted(params, state, value[every, chosen], history)


def _announce(one: _Fit, members: Any, n_rows: int, going_on: str) -> None:
    n_members = one.config.ensemble
    count = sum(a.size for a in jax.tree.leaves(members.params)) // n_members
    many = f"{n_members} x " if n_members > 1 else ""
    print(
        f"{one.stage}: {many}{count:,} parameters, {n_rows:,} rows, "
        f"{one.steps:,} steps an epoch{going_on}",
        flush=True,
    )


def fit(
    task: Task,
    train: Rows,
    val: Rows,
    config: ConfigDict,
    seed: int | Sequence[int] = 0,
    *,
    stage: str = "train",
    directory: Path | None = None,
    initial: tuple[Any, Any] | None = None,
    train_index: np.ndarray | None = None,
    val_index: np.ndarray | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_epoch: Callable[[list[dict]], None] = lambda history: None,
) -> Fitted:
    """Train `config.ensemble` members of `task` at once and return their best epochs.

    Args:
        train: rows that train, arrays with one leading axis; an optional "weight" weighs them.
        val: rows that choose epochs, the same arrays.
        config: settings as of `get_config`.
        seed: member i starts, shuffles and draws with seed + i, so it equals a single run of
            that seed. A sequence holds the seed of each.
        stage: name of this fit in the history and of its folder of checkpoints; fits of one seed
            under different names share no random numbers.
        directory: where checkpoints go (`directory/stage`); a fit found there goes on where it
            stopped. None: no checkpoints.
        initial: (params, state) that members start from in place of those of `task.init`, leaves
            with a leading axis (ensemble,): a second phase. The optimiser starts anew.
        train_index: (ensemble, n) numbers of training rows, when members see different ones.
        val_index: the same of the validation rows.
        stop: polled between compiled stretches; True saves and raises `Preempted`.
        on_epoch: called with the history so far, when (re)starting and after every epoch.

    Raises:
        UserError: non-finite loss (the last good checkpoint is kept), unknown settings, weights
            below 0.
        Preempted: `stop()` was true.

    Examples:
        >>> def init(key, batch):
        ...     return {"slope": jnp.zeros(())}, {}
        >>> def loss(params, state, batch, key, training):
        ...     errors = (batch["y"] - params["slope"] * batch["x"]) ** 2
        ...     return weighted_mean(errors, batch["weight"]), ({}, state)
        >>> x = np.linspace(-1, 1, 64, dtype=np.float32)
        >>> rows = {"x": x, "y": 3 * x}
        >>> settings = get_config(epochs=20, batch_size=16, learning_rate=0.1)
        >>> fitted = fit(Task(init, loss), rows, rows, settings)
        train: 1 parameters, 64 rows, 4 steps an epoch
        >>> print(fitted.params["slope"].round(1))
        [[3.]]
    """
    for part, rows in (("training", train), ("validation", val)):
        if "weight" in rows and blockwise.count(lambda block: block < 0, rows["weight"]):
            raise UserError(f"{stage}: {part} rows with negative weights: a loss has no minimum")
    seeds = seed if isinstance(seed, Sequence) else [seed + i for i in range(config.ensemble)]
    numbers = np.asarray([[s, streams.number_of(stage)] for s in seeds], np.uint32)
    train_order = order_of(train_index, train, config.ensemble)
    val_order = order_of(val_index, val, config.ensemble)
    size = min(config.batch_size, train_order.n)
    steps = -(-train_order.n // size)
    run = compile_programs(task, config, config.ensemble, config.epochs * steps)
    train_blocks, folder = feed(run, train, size, run.width(size)), folder_of(*train.values())
    val_size = min(size, val_order.n)
    one = _Fit(
        config=config,
        stage=stage,
        programs=run,
        seeds=run.place(numbers, "members"),
        steps=steps,
        blocks=lambda epoch: train_blocks(shuffled(train_order, seeds, stage, epoch, folder)),
        val_blocks=feed(run, val, val_size, run.width(val_size))(val_order),
        val_steps=-(-val_order.n // val_size),
        folder=directory / stage if directory else None,
        stop=stop,
    )
    members = run.init(one.blocks(0)(0), one.seeds, run.place(initial, "members"))
    members, epoch, start, history, restored = _restored(one, members)
    on_epoch(history)

    def finished() -> bool:
        return epoch >= config.epochs or bool(np.all(hosts.fetch(members.stopped)))

    if not finished() and hosts.leads():
        going_on = f", going on at epoch {epoch}, step {start}" if restored else ""
        _announce(one, members, train_order.n, going_on)
    pace = _Pace(config)
    bar = tqdm(
        total=config.epochs * steps, initial=epoch * steps + start, desc=stage, unit="step",
        disable=finished() or not hosts.leads(), mininterval=0.5,
    )  # fmt: skip
    with bar:
        while not finished():
            began = time.monotonic()
            members = _rest_of_epoch(one, members, epoch, start, history, pace, bar)
            train_means, val_means = _means(members.sums), _validated(one, members, epoch)
            value = val_means[config.monitor] * (-1.0 if config.maximize else 1.0)
            rate = config.learning_rate * hosts.fetch(members.rate).astype(np.float64)
            members = run.finish(members, run.place(value.astype(np.float32), "members"))
            seconds = time.monotonic() - began
            history.append(_record(one, epoch, train_means, val_means, rate, seconds))
            epoch, start = epoch + 1, 0
            bar.set_postfix(
                epoch=f"{epoch}/{config.epochs}",
                loss=f"{train_means['loss'].mean():.4g}",
                val=f"{val_means['loss'].mean():.4g}",
                refresh=False,
            )
            stopping, due = hosts.largest(stop(), finished() or pace.due())
            if stopping or due:
                _save(one, members, epoch, 0, history)
                pace.saved()
            on_epoch(history)
            if stopping and not finished():
                raise Preempted
    return _best(members, history)
