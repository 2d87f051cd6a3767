"""The compiled half of training: members, minibatches, one step, one epoch, on all devices.

Stretches of an epoch run as one compiled loop over shuffled minibatches with donated state. The
loop's bounds are arguments, so a stretch may have any length without compiling again. Ensembles are
a `vmap` over members, or a loop (`Task.cpu_in_turn`), data parallelism is `jit` over a mesh of all
devices (what `pmap` became), sharding the ensemble where it divides and the batch where it does
not. Everything random is a function of seed, stage, epoch and step (`jaxad.training.streams`).
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from jaxad.data.dataset import Rows
from jaxad.devices import compiler, hosts, precision
from jaxad.training import layout, streams
from jaxad.training.layout import Layout
from jaxad.training.optimizer import make_optimizer
from jaxad.training.streams import Purpose

if TYPE_CHECKING:
    import optax

_RUNS_ONCE = {"xla_backend_optimization_level": 0}
"""Compiler options for what runs once a fit or epoch: on CPU compiled in a fifth of the time. With
others the last bits of initial parameters differ, and thereby every trained figure."""
FEW_STEPS = 64
"""A fit of so few steps, and of few rows, is compiled with less optimisation: without it
convolutions take seven times as long."""

FEW_MEMBERS = 18
"""Up to so many at once leave all cores but one idle: XLA shares the arrays of 36 among them."""


def _host() -> jax.Device | None:
    """The CPU beside an accelerator, where members are drawn: it compiles that in seconds.

    On a GPU it takes as long as the training step, and other bits are drawn. None: JAX has no CPU.
    """
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        print(
            "note: JAX has no CPU beside this device, so that initial parameters are not those of "
            "other machines: JAX_PLATFORMS=cuda,cpu gives it one",
            file=sys.stderr,
        )
        return None


class Task(NamedTuple):
    """What the engine trains: two pure functions.

    init: (key, batch) -> (params, state); `state` holds what the loss updates but no gradient
        reaches (running averages), {} for most networks. None of what always goes on from `initial`
        values, see `fit`.
    loss: (params, state, batch, key, training) -> (scalar, (metrics, state)). `batch["weight"]`
        is 0 on the padding of a ragged batch: means over the batch are weighted means.
    cpu_rows: rows whose gradient a CPU takes at once, so that activations stay in its cache, and
        adds up: for losses and metrics that are weighted means over rows. 0: the whole batch.
    cpu_in_turn: one CPU trains few members one after the other, for networks such that the
        activations of one fill its cache and those of all would not.
    """

    init: Callable[[Array, Rows], tuple[Any, Any]] | None
    loss: Callable[[Any, Any, Rows, Array, bool], tuple[Array, tuple[dict[str, Array], Any]]]
    cpu_rows: int = 0
    cpu_in_turn: bool = False


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


def make_batches(rows: np.ndarray, size: int, width: int) -> tuple[np.ndarray, np.ndarray]:
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


def _in_parts(
    values: Callable[[Any, Rows, Array], tuple[Any, Any]],
    n_rows: int,
    state: Any,
    batch: Rows,
    key: Array,
) -> tuple[Any, Any]:
    """`values` (state, batch, key) -> (state, means), averaged over parts of `n_rows` rows.

    The whole batch at once if `n_rows` is 0 or does not divide it.
    """
    parts, left_over = divmod(len(batch["weight"]), n_rows) if n_rows else (1, 0)
    if parts <= 1 or left_over:
        return values(state, batch, key)

    def add(carry: tuple, part: tuple) -> tuple:
        (state, sums), (i, rows) = carry, part
        state, means = values(state, rows, jax.random.fold_in(key, i))
        share = jnp.sum(rows["weight"]) / jnp.maximum(jnp.sum(batch["weight"]), 1e-30)
        return (state, jax.tree.map(lambda s, m: s + share * m, sums, means)), None

    values = jax.jit(values, inline=True)  # traced once, for its shapes and for the loop
    # Each part takes every parts-th row: a batch sharded over devices stays on all of them.
    rows = jax.tree.map(lambda a: a.reshape(n_rows, parts, *a.shape[1:]).swapaxes(0, 1), batch)
    _, shapes = jax.eval_shape(values, state, jax.tree.map(lambda a: a[0], rows), key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return lax.scan(add, (state, zeros), (jnp.arange(parts), rows))[0]


def _train_step(
    task: Task,
    optimizer: "optax.GradientTransformation",
    rows_at_once: int,
    held: Layout,
    data: Rows,
    weight: Array,
    step: Array,
    member: Member,
    index: Array,
    epoch_key: Array,
) -> Member:
    import optax

    batch = _batch(data, index, weight)
    key = jax.random.fold_in(epoch_key, step)
    params = held.unpack(member.params)

    def values(state: Any, batch: Rows, key: Array) -> tuple[Any, tuple]:
        gradient = jax.value_and_grad(task.loss, has_aux=True)
        with precision.training():
            (loss, (metrics, state)), grads = gradient(params, state, batch, key, True)
        return state, (loss, metrics, held.pack(grads))

    state, (loss, metrics, grads) = _in_parts(values, rows_at_once, member.state, batch, key)
    updates, optimizer_state = optimizer.update(grads, member.optimizer, member.params)
    # A member that has stopped stays as it is: what it would become can spoil nothing.
    updates = jax.tree.map(
        lambda u: jnp.where(member.stopped, 0, u * member.rate.astype(u.dtype)), updates
    )
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
        bad_step=jnp.full_like(members.bad_step, -1),
        sums=jax.tree.map(jnp.zeros_like, members.sums),
    )


class Block(NamedTuple):
    """Consecutive steps of an epoch, and the rows that they need."""

    data: Rows
    index: Array  # (members, steps, rows of a batch) int32, row numbers in `data`
    weight: Array  # (steps, rows of a batch)
    first: int  # number of its first step


class Programs(NamedTuple):
    """The compiled functions of one fit, and where their arguments live."""

    init: Callable  # (block, seeds, initial) -> members; `seeds` (members, 2): seed, and of a stage
    train: Callable  # (members, block, seeds, epoch, start, stop) -> members
    validate: Callable  # (members, sums, block, seeds, start, stop) -> sums
    finish: Callable  # (members, value) -> members
    place: Callable  # host array, kind -> device array
    width: Callable[[int], int]  # rows of a batch -> rows with its padding


def compile_programs(task: Task, config: ConfigDict, n_members: int, n_steps: int) -> Programs:
    """Build the compiled functions; the mesh shards the ensemble if it divides, else the batch."""
    devices, on_cpu = jax.device_count(), jax.default_backend() == "cpu"
    rows_at_once = task.cpu_rows * devices if on_cpu else 0
    in_turn = task.cpu_in_turn and on_cpu and devices == 1 and n_members <= FEW_MEMBERS
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
    n_rows = n_steps * config.batch_size * n_members
    is_short = n_steps <= FEW_STEPS and n_rows <= compiler.FEW_ROWS
    often = compiler.quickly() if is_short else None
    rarely = often if is_short or not on_cpu else _RUNS_ONCE

    def each_member(function: Callable, *arguments: Any) -> Any:
        if in_turn:
            return lax.map(lambda one: function(*one), arguments)
        return jax.vmap(function)(*arguments)

    def init_member(data: Rows, index: Array, seed: Array, initial: Any) -> Member:
        batch = _batch(data, index, jnp.ones(index.shape))
        key = streams.key(seed[0], Purpose.INITIAL, seed[1])
        params, state = initial or task.init(key, batch)
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

    host = None if on_cpu else _host()
    here = {"out_shardings": sharding["members"]} if host is None else {}

    @partial(jax.jit, compiler_options=rarely if host is None else _RUNS_ONCE, **here)
    def drawn(block, seeds, initial=None):
        return jax.vmap(partial(init_member, block.data))(block.index[:, 0], seeds, initial)

    @partial(jax.jit, out_shardings=sharding["replicated"])
    def first_batch(block):
        index = block.index[:, 0]
        rows = {name: values[index.ravel()] for name, values in block.data.items()}
        renamed = jnp.arange(index.size).reshape(len(index), 1, -1)
        return block._replace(data=rows, index=renamed, weight=block.weight[:1])

    def drawn_by_host(block, seeds, initial=None):
        arguments = hosts.fetch((first_batch(block), seeds, initial))
        members = hosts.fetch(drawn(*jax.device_put(arguments, host)))
        return place(hosts.of_leader(members), "members")

    @partial(jit_members, compiler_options=often)
    def train(members, block, seeds, epoch, start, stop):
        keys = jax.vmap(lambda s: streams.key(s[0], Purpose.TRAINING, s[1], epoch))(seeds)
        params = jax.eval_shape(lambda: jax.tree.map(lambda a: a[0], members.params))
        held = layout.choose(params, on_cpu, bool(config.clip_per_tensor))

        packed = make_optimizer(config, n_steps, held.each)
        one = partial(_train_step, task, packed, rows_at_once, held, block.data)

        def pack(member):
            params, state = layout.pack(held, member.params, member.optimizer)
            return member._replace(params=params, optimizer=state)

        def unpack(member):
            params, state = layout.unpack(held, member.params, member.optimizer, optimizer)
            return member._replace(params=params, optimizer=state)

        def steps(member, index, key):
            def body(step, member):
                at = step - block.first
                return one(block.weight[at], step, member, index[at], key)

            return unpack(lax.fori_loop(start, stop, body, pack(member)))

        return each_member(steps, members, block.index, keys)

    @partial(jax.jit, compiler_options=often)
    def validate(members, sums, block, seeds, start, stop):
        keys = jax.vmap(lambda s: streams.key(s[0], Purpose.VALIDATION, s[1]))(seeds)

        def steps(member, sums, index, stage_key):
            def body(step, sums):
                at = step - block.first
                batch = _batch(block.data, index[at], block.weight[at])
                key = jax.random.fold_in(stage_key, step)

                def values(state: Any, batch: Rows, key: Array) -> tuple[Any, tuple]:
                    with precision.exact():
                        loss, (metrics, _) = task.loss(member.params, state, batch, key, False)
                    return state, (loss, metrics)

                _, means = _in_parts(values, rows_at_once, member.state, batch, key)
                return _accumulate(sums, *means, batch["weight"])

            return lax.fori_loop(start, stop, body, sums)

        return each_member(steps, members, sums, block.index, keys)

    @partial(jit_members, compiler_options=rarely)
    def finish(members, value):
        return jax.vmap(partial(_select, config=config))(members, value)

    def place(values, kind):
        return jax.tree.map(lambda a: hosts.place(a, sharding[kind]), values)

    def width(n: int) -> int:
        unit = rows_at_once if n > rows_at_once > 0 else devices
        return -(-n // unit) * unit

    init = drawn if host is None else drawn_by_host
    return Programs(init, train, validate, finish, place, width)
