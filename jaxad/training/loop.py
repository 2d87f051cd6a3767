"""The one training engine: every network of jaxad is fitted by `fit`.

The data lie on the device, stretches of an epoch run compiled (`jaxad.training.step`), and the host
sees one small pytree of sums between them: that is where progress, SIGTERM and checkpoints happen,
in the middle of an epoch too. A resumed run repeats an undisturbed one bit for bit. Rows on disk
(`jaxad.storage.on_disk`) go to the device in blocks of steps, in the same order.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad.data.dataset import Rows, n_rows
from jaxad.devices import hosts
from jaxad.errors import Preempted, UserError
from jaxad.storage import on_disk
from jaxad.training import checkpoint
from jaxad.training.step import Block, Programs, Task, compile_programs, make_batches, weighted_mean

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


def _shuffled(members: np.ndarray, seeds: Sequence[int], epoch: int) -> np.ndarray:
    """Each member's rows (members, n) in this epoch's order."""
    order = [np.random.default_rng([s, epoch]).permutation(members.shape[1]) for s in seeds]
    return np.take_along_axis(members, np.stack(order), axis=1)


def _feed(run: Programs, rows: Rows) -> Callable[[np.ndarray, np.ndarray], Callable]:
    """Function (index, weight) of an epoch's batches -> function step -> the block that holds it.

    Rows in memory are placed on the device once, and an epoch is one block. Of rows on disk a
    block is read when it is asked for, in their order there; all blocks have one shape.
    """
    if not on_disk.folder_of(*rows.values()):
        data = run.place(rows, "replicated")

        def whole_epoch(index: np.ndarray, weight: np.ndarray) -> Callable[[int], Block]:
            block = Block(data, run.place(index, "index"), run.place(weight, "weight"), 0)
            return lambda step: block

        return whole_epoch

    def from_disk(index: np.ndarray, weight: np.ndarray) -> Callable[[int], Block]:
        members, steps, width = index.shape
        row_bytes = sum(values[:1].nbytes for values in rows.values())
        length = int(np.clip(on_disk.BLOCK_BYTES // (members * width * row_bytes), 1, steps))
        capacity = min(members * length * width, n_rows(rows))

        def filled(values: np.ndarray, n: int, axis: int = 0) -> np.ndarray:
            missing = [(0, n - size if i == axis else 0) for i, size in enumerate(values.shape)]
            return np.pad(values, missing)

        def block(step: int) -> Block:
            first = step // length * length
            here = slice(first, first + length)
            needed, local = np.unique(index[:, here], return_inverse=True)
            local = local.astype(np.int32).reshape(index[:, here].shape)
            return Block(
                run.place({k: filled(a[needed], capacity) for k, a in rows.items()}, "replicated"),
                run.place(filled(local, length, axis=1), "index"),
                run.place(filled(weight[here], length), "weight"),
                first,
            )

        return block

    return from_disk


def _not_finite(stage: str, where: str, bad: np.ndarray, folder: Path | None) -> UserError:
    which = f", member {int(np.argmax(bad))}" if len(bad) > 1 else ""
    kept = f"; the last good checkpoint is in {folder}" if folder else ""
    return UserError(
        f"{stage}: loss is not finite in {where}{which}{kept}: "
        "lower train.learning_rate or set train.clip"
    )


def fit(
    task: Task,
    train: Rows,
    val: Rows,
    config: ConfigDict,
    seed: int = 0,
    *,
    stage: str = "train",
    directory: Path | None = None,
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
            that seed.
        stage: name of this fit in the history and of its folder of checkpoints.
        directory: where checkpoints go (`directory/stage`); a fit found there goes on where it
            stopped. None: no checkpoints.
        train_index: (ensemble, n) numbers of training rows, when members see different ones.
        val_index: the same of the validation rows.
        stop: polled between compiled stretches; True saves and raises `Preempted`.
        on_epoch: called with the history so far, when (re)starting and after every epoch.

    Raises:
        UserError: non-finite loss (the last good checkpoint is kept), unknown settings.
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
    n_members = config.ensemble
    seeds = [seed + i for i in range(n_members)]

    def rows(index: np.ndarray | None, data: Rows) -> np.ndarray:
        if index is not None:
            return np.asarray(index, np.int32)
        n = len(next(iter(data.values())))
        return np.broadcast_to(np.arange(n, dtype=np.int32), (n_members, n))

    train_rows, val_rows = rows(train_index, train), rows(val_index, val)
    size = min(config.batch_size, train_rows.shape[1])
    steps = -(-train_rows.shape[1] // size)
    run = compile_programs(task, config, n_members, config.epochs * steps)
    width = run.width(size)
    train_blocks, val_blocks = _feed(run, train), _feed(run, val)
    device_seeds = run.place(np.asarray(seeds, np.uint32), "members")
    val_batches = make_batches(val_rows, min(size, val_rows.shape[1]), width)
    block_of_val, val_steps = val_blocks(*val_batches), len(val_batches[1])

    def block_of_epoch(epoch: int) -> Callable[[int], Block]:
        return train_blocks(*make_batches(_shuffled(train_rows, seeds, epoch), size, width))

    def validated(members: Any) -> dict[str, np.ndarray]:
        sums, step = jax.tree.map(jnp.zeros_like, members.sums), 0
        while step < val_steps:
            block = block_of_val(step)
            upto = min(step + block.index.shape[1], val_steps)
            sums = run.validate(members, sums, block, device_seeds, step, upto)
            step = upto
        return _means(sums)

    members = run.init(block_of_epoch(0)(0), device_seeds)
    epoch, start, history = 0, 0, []
    folder = directory / stage if directory else None
    with hosts.leader_first(f"restore {stage}"):
        restored = checkpoint.restore(folder, members) if folder else None
    if restored:
        state, meta = restored
        members = jax.tree.map(lambda a, old: hosts.place(a, old.sharding), state, members)
        epoch, start, history = meta["epoch"], meta["step"], meta["history"]
    on_epoch(history)

    def save(epoch: int, step: int) -> None:
        state = hosts.fetch(members)
        if folder and hosts.leads():
            meta = {"epoch": epoch, "step": step, "history": history}
            checkpoint.save(folder, epoch * steps + step, state, meta)

    def finished() -> bool:
        return epoch >= config.epochs or bool(np.all(hosts.fetch(members.stopped)))

    if not finished() and hosts.leads():
        count = sum(a.size for a in jax.tree.leaves(members.params)) // n_members
        many = f"{n_members} x " if n_members > 1 else ""
        going_on = f", going on at epoch {epoch}, step {start}" if restored else ""
        print(
            f"{stage}: {many}{count:,} parameters, {train_rows.shape[1]:,} rows, "
            f"{steps:,} steps an epoch{going_on}",
            flush=True,
        )
    saved_at, chunk = time.monotonic(), 1
    bar = tqdm(
        total=config.epochs * steps, initial=epoch * steps + start, desc=stage, unit="step",
        disable=finished() or not hosts.leads(), mininterval=0.5,
    )  # fmt: skip
    with bar:
        while not finished():
            began = time.monotonic()
            block_of = block_of_epoch(epoch)
            block = block_of(start)
            while start < steps:
                if start == block.first + block.index.shape[1]:
                    block = block_of(start)
                last = min(block.first + block.index.shape[1], steps)
                upto, tick = min(start + chunk, last), time.monotonic()
                members = run.train(members, block, device_seeds, epoch, start, upto)
                bad = hosts.fetch(members.bad_step)
                if (bad >= 0).any():
                    raise _not_finite(stage, f"epoch {epoch}, step {bad.max()}", bad >= 0, folder)
                bar.update(upto - start)
                pace = (time.monotonic() - tick) / (upto - start)
                due = time.monotonic() - saved_at > config.checkpoint_seconds
                chunk = np.clip(SECONDS_PER_CALL / max(pace, 1e-9), 1, 4 * chunk)
                chunk, stopping, due = hosts.largest(chunk, stop(), due)
                start = upto
                if stopping and start < steps:
                    save(epoch, start)
                    raise Preempted
                if due and start < steps:
                    save(epoch, start)
                    saved_at = time.monotonic()
            train_means = _means(members.sums)
            val_means = validated(members)
            if config.monitor not in val_means:
                known = ", ".join(val_means)
                raise UserError(f"train.monitor: {config.monitor!r} is none of {known}")
            bad = ~np.isfinite(val_means["loss"]) & ~hosts.fetch(members.stopped)
            if bad.any():
                raise _not_finite(stage, f"the validation of epoch {epoch}", bad, folder)
            value = val_means[config.monitor] * (-1.0 if config.maximize else 1.0)
            rate = config.learning_rate * hosts.fetch(members.rate).astype(np.float64)
            members = run.finish(members, run.place(value.astype(np.float32), "members"))
            history.append(
                {"stage": stage, "epoch": epoch}
                | {f"train_{name}": _plain(v) for name, v in train_means.items()}
                | {f"val_{name}": _plain(v) for name, v in val_means.items()}
                | {"learning_rate": _plain(rate), "seconds": time.monotonic() - began}
            )
            epoch, start = epoch + 1, 0
            bar.set_postfix(
                epoch=f"{epoch}/{config.epochs}",
                loss=f"{train_means['loss'].mean():.4g}",
                val=f"{val_means['loss'].mean():.4g}",
                refresh=False,
            )
            due = finished() or time.monotonic() - saved_at > config.checkpoint_seconds
            stopping, due = hosts.largest(stop(), due)
            if stopping or due:
                save(epoch, 0)
                saved_at = time.monotonic()
            on_epoch(history)
            if stopping and not finished():
                raise Preempted
    # Fewer epochs than keep_best: the empty places take the best epoch.
    value, best = hosts.fetch((members.best_value, members.best))
    chosen = np.where(np.isfinite(value), np.arange(value.shape[1]), value.argmin(1)[:, None])
    every = np.arange(n_members)[:, None]
    params, state = jax.tree.map(lambda a: a[every, chosen], best)
    return Fitted(params, state, value[every, chosen], history)
