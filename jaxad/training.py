"""The one training engine: every network of jaxad is fitted by `fit`.

The data lie on the device; stretches of an epoch run as one compiled loop over shuffled minibatches
with donated state, and the host sees one small pytree of sums between them. The loop's bounds are
arguments, so a stretch may have any length without compiling again: progress, SIGTERM and
checkpoints in the middle of an epoch cost nothing. Ensembles are a `vmap` over members, data
parallelism is `jit` over a mesh of all devices. Everything random is a function of (seed, epoch,
step), so a resumed run repeats an undisturbed one bit for bit.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad import checkpoint
from jaxad.data.dataset import Rows
from jaxad.errors import Preempted, UserError

SECONDS_PER_CALL = 0.5


def get_config(**changes: Any) -> ConfigDict:
    """Settings of `fit` with their defaults; `changes` override, unknown names are refused."""
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


class Task(NamedTuple):
    """What the engine trains: two pure functions.

    init: (key, batch) -> (params, state); `state` holds what the loss updates but no gradient
        reaches (running averages), {} for most networks.
    loss: (params, state, batch, key, training) -> (scalar, (metrics, state)). `batch["weight"]`
        is 0 on the padding of a ragged batch: means over the batch are weighted means.
    """

    init: Callable[[Array, Rows], tuple[Any, Any]]
    loss: Callable[[Any, Any, Rows, Array, bool], tuple[Array, tuple[dict[str, Array], Any]]]


class Fitted(NamedTuple):
    """Result of `fit`: best epochs of all members, leading axes (ensemble, keep_best)."""

    params: Any
    state: Any
    value: np.ndarray
    history: list[dict]


class Member(NamedTuple):
    """Everything one member needs to go on; a pytree with a leading ensemble axis."""

    params: Any
    state: Any
    optimizer: Any
    rate: Array  # plateau factor on the learning rate
    stale: Array  # epochs since the last improvement
    stale_rate: Array  # epochs since the last improvement or drop of the rate
    stopped: Array
    lowest: Array  # best monitored value so far
    best: Any  # (params, state) of the best epochs, leading axis keep_best
    best_value: Array
    sums: dict[str, Array]  # weighted sums of this epoch's training metrics
    bad_step: Array  # first step of this epoch with a non-finite loss, or -1


def weighted_mean(values: Array, weight: Array) -> Array:
    """Mean over the first axis of `values` (B, ...) with `weight` (B,); 0 if all weights are 0."""
    weight = weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim))
    total = jnp.maximum(jnp.sum(weight) * (values.size / weight.size), 1e-30)
    return jnp.sum(values * weight) / total


def _clip_per_tensor(limit: float) -> optax.GradientTransformation:
    def update(updates, state, params=None):
        def clip(g):
            return g * jnp.minimum(1.0, limit / jnp.maximum(jnp.linalg.norm(g.ravel()), 1e-12))

        return jax.tree.map(clip, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(config: ConfigDict, n_steps: int) -> optax.GradientTransformation:
    """Optax transformation of the settings; `n_steps` is the length of the whole training."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(
            rate, max(n_steps, 1), alpha=config.min_learning_rate / rate
        )
    elif config.schedule != "constant":
        raise UserError(f"train.schedule: expected constant or cosine, found {config.schedule!r}")
    chain = []
    if config.clip:
        chain.append(optax.clip_by_global_norm(config.clip))
    if config.clip_per_tensor:
        chain.append(_clip_per_tensor(config.clip_per_tensor))
    adam = {"b2": config.b2, "eps": config.eps}
    match config.optimizer:
        case "adam":
            chain.append(optax.adam(rate, **adam))
        case "adamw":
            chain.append(optax.adamw(rate, weight_decay=config.weight_decay, **adam))
        case "sgd":
            chain.append(optax.sgd(rate))
        case other:
            raise UserError(f"train.optimizer: expected adam, adamw or sgd, found {other!r}")
    return optax.chain(*chain)


def _batches(rows: np.ndarray, size: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut row numbers (members, n) into batches of `size`, padded to `width` columns.

    Returns indices (members, steps, width) int32 and weights (steps, width) float32, 0 on padding.
    """
    members, n = rows.shape
    steps = -(-n // size)
    index = np.zeros((members, steps, width), np.int32)
    weight = np.zeros((steps, width), np.float32)
    flat = np.zeros((members, steps * size), np.int32)
    flat[:, :n] = rows
    index[:, :, :size] = flat.reshape(members, steps, size)
    weight[:, :size] = (np.arange(steps * size) < n).reshape(steps, size)
    return index, weight


def _batch(data: Rows, index: Array, weight: Array) -> Rows:
    batch = {name: values[index] for name, values in data.items()}
    return batch | {"weight": weight * batch.get("weight", 1.0)}


def _accumulate(sums: dict, loss: Array, metrics: dict, weight: Array) -> dict:
    total = jnp.sum(weight)
    values = metrics | {"loss": loss, "weight": 1.0}
    return {name: sums[name] + total * values[name] for name in sums}


def _train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    data: Rows,
    weight: Array,
    epoch: Array,
    step: Array,
    member: Member,
    index: Array,
    seed: Array,
) -> Member:
    batch = _batch(data, index, weight)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), epoch + 1), step)
    (loss, (metrics, state)), grads = jax.value_and_grad(task.loss, has_aux=True)(
        member.params, member.state, batch, key, True
    )
    updates, optimizer_state = optimizer.update(grads, member.optimizer, member.params)
    updates = jax.tree.map(lambda u: u * member.rate.astype(u.dtype), updates)
    bad = ~jnp.isfinite(loss) & (member.bad_step < 0)
    return member._replace(
        params=optax.apply_updates(member.params, updates),
        state=state,
        optimizer=optimizer_state,
        sums=_accumulate(member.sums, loss, metrics, batch["weight"]),
        bad_step=jnp.where(bad, step, member.bad_step),
    )


def _select(members: Member, value: Array, config: ConfigDict) -> Member:
    """Book-keeping at the end of one member's epoch: best epochs, plateau, early stop."""
    improved = value < members.lowest
    worst = jnp.argmax(members.best_value)
    keep = (value < members.best_value[worst]) & ~members.stopped

    def replace(stored, current):
        return stored.at[worst].set(jnp.where(keep, current, stored[worst]))

    stale = jnp.where(improved, 0, members.stale + 1)
    stale_rate = jnp.where(improved, 0, members.stale_rate + 1)
    rate = members.rate
    if config.plateau_patience:
        drop = stale_rate >= config.plateau_patience
        floor = min(config.min_learning_rate / config.learning_rate, 1.0)
        rate = jnp.where(drop, jnp.maximum(rate * config.plateau_factor, floor), rate)
        stale_rate = jnp.where(drop, 0, stale_rate)
    stopped = members.stopped
    if config.early_stop_patience:
        stopped |= stale >= config.early_stop_patience
    return members._replace(
        rate=rate,
        stale=stale,
        stale_rate=stale_rate,
        stopped=stopped,
        lowest=jnp.minimum(members.lowest, value),
        best=jax.tree.map(replace, members.best, (members.params, members.state)),
        best_value=members.best_value.at[worst].set(
            jnp.where(keep, value, members.best_value[worst])
        ),
        sums=jax.tree.map(jnp.zeros_like, members.sums),
    )


class _Programs(NamedTuple):
    """The compiled functions of one fit, and where their arguments live."""

    init: Callable
    train: Callable  # (members, data, index, weight, seeds, epoch, start, stop) -> members
    validate: Callable  # (members, data, index, weight, seeds) -> sums
    finish: Callable  # (members, value) -> members
    place: Callable  # host array, kind -> device array
    devices: int


def _compile(task: Task, config: ConfigDict, n_members: int, n_steps: int) -> _Programs:
    """Build the compiled functions; the mesh shards the ensemble if it divides, else the batch."""
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("devices",), axis_types=(AxisType.Auto,))
    by_member = n_members % devices == 0
    spec = {
        "members": PartitionSpec("devices") if by_member else PartitionSpec(),
        "index": PartitionSpec("devices") if by_member else PartitionSpec(None, None, "devices"),
        "weight": PartitionSpec() if by_member else PartitionSpec(None, "devices"),
        "replicated": PartitionSpec(),
    }
    sharding = {name: NamedSharding(mesh, s) for name, s in spec.items()}
    optimizer = make_optimizer(config, n_steps)
    jit_members = partial(jax.jit, donate_argnums=0, out_shardings=sharding["members"])

    def init_member(data: Rows, index: Array, seed: Array) -> Member:
        batch = _batch(data, index, jnp.ones(index.shape))
        key = jax.random.fold_in(jax.random.key(seed), 0)
        params, state = task.init(key, batch)
        _, (metrics, _) = jax.eval_shape(lambda: task.loss(params, state, batch, key, True))
        zero = jnp.zeros((), jnp.int32)
        k = max(min(config.keep_best, config.epochs), 1)
        return Member(
            params=params,
            state=state,
            optimizer=optimizer.init(params),
            rate=jnp.ones(()),
            stale=zero,
            stale_rate=zero,
            stopped=jnp.zeros((), bool),
            lowest=jnp.full((), jnp.inf, jnp.float32),
            best=jax.tree.map(lambda a: jnp.repeat(a[None], k, axis=0), (params, state)),
            best_value=jnp.full((k,), jnp.inf, jnp.float32),
            sums={name: jnp.zeros(()) for name in (*metrics, "loss", "weight")},
            bad_step=zero - 1,
        )

    @partial(jax.jit, out_shardings=sharding["members"])
    def init(data, index, seeds):
        return jax.vmap(partial(init_member, data))(index[:, 0], seeds)

    @jit_members
    def train(members, data, index, weight, seeds, epoch, start, stop):
        def body(step, members):
            one = partial(_train_step, task, optimizer, data, weight[step], epoch, step)
            return jax.vmap(one)(members, index[:, step], seeds)

        return lax.fori_loop(start, stop, body, members)

    @jax.jit
    def validate(members, data, index, weight, seeds):
        def body(step, sums):
            def one(member, sums, index, seed):
                batch = _batch(data, index, weight[step])
                key = jax.random.fold_in(jax.random.key(seed), step)
                loss, (metrics, _) = task.loss(member.params, member.state, batch, key, False)
                return _accumulate(sums, loss, metrics, batch["weight"])

            return jax.vmap(one)(members, sums, index[:, step], seeds)

        zero = jax.tree.map(jnp.zeros_like, members.sums)
        return lax.fori_loop(0, index.shape[1], body, zero)

    @jit_members
    def finish(members, value):
        return jax.vmap(partial(_select, config=config))(members, value)

    def place(values, kind):
        return jax.tree.map(lambda a: jax.device_put(a, sharding[kind]), values)

    return _Programs(init, train, validate, finish, place, devices)


def _means(sums: dict[str, Array]) -> dict[str, np.ndarray]:
    host = {name: np.asarray(values, np.float64) for name, values in sums.items()}
    weight = np.maximum(host.pop("weight"), 1e-30)
    return {name: values / weight for name, values in host.items()}


def _plain(values: np.ndarray) -> float | list[float]:
    return float(values[0]) if len(values) == 1 else [float(v) for v in values]


def _shuffled(members: np.ndarray, seeds: Sequence[int], epoch: int) -> np.ndarray:
    """Each member's rows (members, n) in this epoch's order."""
    order = [np.random.default_rng([s, epoch]).permutation(members.shape[1]) for s in seeds]
    return np.take_along_axis(members, np.stack(order), axis=1)


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
        train, val: dicts of arrays with one leading axis; an optional "weight" column weighs rows.
        config: settings as of `get_config`.
        seed: member i starts, shuffles and draws with seed + i, so it equals a single run of
            that seed.
        stage: name of this fit in the history and of its folder of checkpoints.
        directory: where checkpoints go (`directory/stage`); a fit found there goes on where it
            stopped. None: no checkpoints.
        train_index, val_index: (ensemble, n) row numbers, when members see different rows.
        stop: polled between compiled stretches; True saves and raises `Preempted`.
        on_epoch: called with the history so far, when (re)starting and after every epoch.

    Raises:
        UserError: non-finite loss (the last good checkpoint is kept), unknown settings.
        Preempted: `stop()` was true.
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
    run = _compile(task, config, n_members, config.epochs * steps)
    width = -(-size // run.devices) * run.devices
    data = run.place(train, "replicated")
    val_data = run.place(val, "replicated")
    device_seeds = run.place(np.asarray(seeds, np.uint32), "members")
    val_batches = _batches(val_rows, min(size, val_rows.shape[1]), width)
    val_batches = run.place(val_batches[0], "index"), run.place(val_batches[1], "weight")

    def epoch_batches(epoch: int) -> tuple[Array, Array]:
        index, weight = _batches(_shuffled(train_rows, seeds, epoch), size, width)
        return run.place(index, "index"), run.place(weight, "weight")

    members = run.init(data, epoch_batches(0)[0], device_seeds)
    epoch, start, history = 0, 0, []
    folder = directory / stage if directory else None
    restored = checkpoint.restore(folder, members) if folder else None
    if restored:
        members, meta = restored
        epoch, start, history = meta["epoch"], meta["step"], meta["history"]
    on_epoch(history)

    def save(epoch: int, step: int) -> None:
        if folder:
            meta = {"epoch": epoch, "step": step, "history": history}
            checkpoint.save(folder, epoch * steps + step, members, meta)

    def finished() -> bool:
        return epoch >= config.epochs or bool(np.all(members.stopped))

    if not finished():
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
        disable=finished(), mininterval=0.5,
    )  # fmt: skip
    with bar:
        while not finished():
            began = time.monotonic()
            index, weight = epoch_batches(epoch)
            while start < steps:
                upto, tick = min(start + chunk, steps), time.monotonic()
                members = run.train(members, data, index, weight, device_seeds, epoch, start, upto)
                bad = np.asarray(members.bad_step)
                if (bad >= 0).any():
                    raise _not_finite(stage, f"epoch {epoch}, step {bad.max()}", bad >= 0, folder)
                bar.update(upto - start)
                pace = (time.monotonic() - tick) / (upto - start)
                chunk = int(np.clip(SECONDS_PER_CALL / max(pace, 1e-9), 1, 4 * chunk))
                start = upto
                if stop() and start < steps:
                    save(epoch, start)
                    raise Preempted
                if time.monotonic() - saved_at > config.checkpoint_seconds and start < steps:
                    save(epoch, start)
                    saved_at = time.monotonic()
            train_means = _means(members.sums)
            val_means = _means(run.validate(members, val_data, *val_batches, device_seeds))
            if config.monitor not in val_means:
                known = ", ".join(val_means)
                raise UserError(f"train.monitor: {config.monitor!r} is none of {known}")
            bad = ~np.isfinite(val_means["loss"]) & ~np.asarray(members.stopped)
            if bad.any():
                raise _not_finite(stage, f"the validation of epoch {epoch}", bad, folder)
            value = val_means[config.monitor] * (-1.0 if config.maximize else 1.0)
            rate = config.learning_rate * np.asarray(members.rate, np.float64)
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
            if finished() or stop() or time.monotonic() - saved_at > config.checkpoint_seconds:
                save(epoch, 0)
                saved_at = time.monotonic()
            on_epoch(history)
            if stop() and not finished():
                raise Preempted
    # Fewer epochs than keep_best: the empty places take the best epoch.
    value = np.asarray(members.best_value)
    chosen = np.where(np.isfinite(value), np.arange(value.shape[1]), value.argmin(1)[:, None])
    every = np.arange(n_members)[:, None]
    params, state = jax.tree.map(lambda a: np.asarray(a)[every, chosen], members.best)
    return Fitted(params, state, value[every, chosen], history)
