"""Networks of all toys, folds and members of a chunk, trained and counted by one compiled program.

The axis is toy x fold x member. The order of the places in an epoch is the same for all toys, so
that a step gathers its rows once a toy; the members of its folds share them, with weights 0 for
rows of their own fold. Labels and weights belong to the places. There is no early stopping, since
under `vmap` the slowest member would set the time: epochs are fixed, and the parameters at the ends
of the last ones averaged. Held-out scores and counts follow in the same program.
"""

import functools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from jaxad.devices import precision
from jaxad.devices.forks import require_unforked
from jaxad.models.dense import Classifier
from jaxad.search.plan import NOT_SCORED, Engine, Plan, count, require_finite
from jaxad.search.pool_tables import Tables, filled, tables
from jaxad.training import streams
from jaxad.training.streams import Purpose

ACTIVATIONS = {"cpu": 2**21, "gpu": 2**28}
"""Bytes of one layer's activations while rows are scored, of all classifiers of a chunk."""


def _forward(network: Classifier, masks: Array | None, params: Any, x: Array) -> Array:
    """Logits (folds, members, B) of one toy; x (B, F), or (folds, B, F) where each has its own."""
    by_fold = 0 if x.ndim == 3 else None
    if masks is None:
        each = jax.vmap(network.apply, (0, None))
        return jax.vmap(each, (0, by_fold))(params, x)
    each = jax.vmap(lambda p, mask, x: network.apply(p, x * mask), (0, 0, None))
    return jax.vmap(each, (0, 0, by_fold))(params, masks.astype(x.dtype), x)


class _Shape(NamedTuple):
    """What a compiled program is for, beside the shapes of its arguments: pools may share one."""

    hidden: tuple[int, ...]
    members: int
    epochs: int
    average_last: int
    learning_rate: float
    n_folds: int
    folds: tuple[int, ...]  # that are scored
    group_folds: tuple[int, ...]
    at_once: int  # places of a fold that are scored at once


def _loss(forward: Any, params: Any, x: Array, label: Array, weight: Array) -> Array:
    """Sum over toys, folds and members of the weighted mean cross-entropy of a batch."""
    logits = jax.vmap(forward)(params, x)
    values = optax.sigmoid_binary_cross_entropy(logits, label)
    share = weight / jnp.maximum(weight.sum(axis=-1, keepdims=True), 1e-30)
    return jnp.sum(values * share[:, :, None])


def _trained(
    shape: _Shape, network: Classifier, forward: Any, static: Tables, toy: tuple[Array, ...]
) -> Any:
    """Averaged parameters (T, folds, members, ...) of toys: rows (T, P), numbers, data."""
    rows, toys, numbers = toy
    folds = jnp.asarray(shape.folds)
    there_are = numbers
    if static.up_to is not None:
        there_are = static.up_to[jnp.arange(shape.n_folds), numbers]
    others = {
        "data": there_are.sum(axis=1, keepdims=True) - there_are[:, folds],
        "template": static.n_training,
    }

    def initial(toy: Array, fold: Array, member: Array) -> Any:
        key = streams.key(static.seed, Purpose.TOY_INITIAL, toy, fold, member)
        return network.init(key, static.x[:1])

    of_folds = jax.vmap(jax.vmap(initial, (None, None, 0)), (None, 0, None))
    params = jax.vmap(of_folds, (0, None, None))(toys, folds, jnp.arange(shape.members))
    optimizer = optax.adam(shape.learning_rate)

    def step(carry: tuple, batch: tuple[Array, Array]) -> tuple[tuple, None]:
        (params, state), (places, weight) = carry, batch
        fold, label = static.fold[places], static.data[places]
        there = static.number[places] < numbers[:, fold]  # (T, B)
        if static.weight_of is not None:
            there = there * static.weight_of[places]
        of_data = there[:, None] / others["data"][:, :, None]
        of_template = 1 / others["template"][None, :, None]
        share = jnp.where(label, of_data, of_template) * (fold != folds[:, None]) * weight
        x = static.x[rows[:, places]]
        with precision.training():
            grads = jax.grad(partial(_loss, forward))(params, x, label.astype(x.dtype), share)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    first = max(shape.epochs - shape.average_last, 0)

    def epoch(carry: tuple, number: Array) -> tuple[tuple, None]:
        params, state, total = carry
        (params, state), _ = lax.scan(step, (params, state), (static.places[number], static.weight))
        total = jax.tree.map(lambda t, p: t + jnp.where(number >= first, p, 0), total, params)
        return (params, state, total), None

    carry = params, optimizer.init(params), jax.tree.map(jnp.zeros_like, params)
    (_, _, total), _ = lax.scan(epoch, carry, jnp.arange(shape.epochs))
    return jax.tree.map(lambda t: t / (shape.epochs - first), total)


def _scores(forward: Any, static: Tables, params: Any, rows: Array, at_once: int) -> Array:
    """Mean logits (T, folds, n) of the scored places, `at_once` places of a fold at a time."""
    n_folds, n = static.scored.shape
    parts = -(-n // at_once)
    filled = jnp.pad(static.scored, ((0, 0), (0, parts * at_once - n)))

    def part(places: Array) -> Array:
        with precision.exact():
            logits = jax.vmap(forward)(params, static.x[rows[:, places]])
        return logits.mean(axis=2)

    by_part = filled.reshape(n_folds, parts, at_once).swapaxes(0, 1)
    scores = lax.map(part, by_part)  # (parts, T, folds, at_once)
    return jnp.moveaxis(scores, 0, 2).reshape(len(rows), n_folds, -1)[..., :n]


def _count(shape: _Shape, static: Tables, scores: Array, numbers: Array) -> Array:
    """Counts (T, folds, n_eff) from scores (T, folds scored, n): `jaxad.search.plan.count`."""
    n_cuts = static.ranks.shape[1]
    found = jnp.full((len(scores), shape.n_folds, n_cuts), NOT_SCORED, jnp.int32)
    found = found.at[:, jnp.asarray(shape.folds)].set(0)
    for g, fold in enumerate(shape.group_folds):
        s = shape.folds.index(fold)
        template = jnp.sort(jnp.where(static.counting[g], scores[:, s], -jnp.inf), axis=1)
        threshold = template[:, template.shape[1] - static.ranks[g]]
        number = static.number[static.scored[s]]
        there = static.own[g] & (number < numbers[:, fold, None])
        above = scores[:, s, :, None] > threshold[:, None]
        n = (above & there[..., None]).sum(axis=1, dtype=jnp.int32)
        found = found.at[:, fold].add(n)
    return found


@functools.cache
def _program(shape: _Shape, devices: tuple[Any, ...]) -> tuple[Callable, Callable]:
    """(static, rows, toys, numbers) -> counts, which toys are finite, scores; and what places them.

    Arguments, placed with True, are toys, others tables.
    """
    network = Classifier(hidden=shape.hidden)

    def run(static: Tables, *toy: Array) -> tuple:
        forward = partial(_forward, network, static.masks)
        params = _trained(shape, network, forward, static, toy)
        scores = _scores(forward, static, params, toy[0], shape.at_once)
        finite = jnp.isfinite(scores).all(axis=(1, 2))
        return _count(shape, static, scores, toy[2]), finite, scores

    mesh = jax.make_mesh((len(devices),), ("toys",), (AxisType.Auto,), devices=devices)
    everywhere, by_toy = (NamedSharding(mesh, PartitionSpec(*a)) for a in ((), ("toys",)))

    def place(values: Any, of_toys: bool) -> Any:
        return jax.device_put(values, by_toy if of_toys else everywhere)

    return jax.jit(run, out_shardings=by_toy), place


def engine(plan: Plan, recipe: ConfigDict, chunk: int) -> Engine:
    """Compiled for chunks of `chunk` toys; fewer are filled up. Pools of like sizes share it.

    Toys spread over all devices of the host if their number divides `chunk`.
    """
    require_unforked()
    scored = [plan.scored(k) for k in plan.folds]
    static = tables(plan, recipe, scored)
    n_members = chunk * len(plan.folds) * recipe.members
    kind = "cpu" if jax.default_backend() == "cpu" else "gpu"
    widest = 4 * max(recipe.hidden) * n_members
    shape = _Shape(
        hidden=tuple(recipe.hidden),
        members=recipe.members,
        epochs=recipe.epochs,
        average_last=recipe.average_last,
        learning_rate=recipe.learning_rate,
        n_folds=plan.pool.folds,
        folds=plan.folds,
        group_folds=tuple(group.fold for group in plan.groups),
        at_once=min(static.scored.shape[1], max(128, ACTIVATIONS[kind] // widest)),
    )
    devices = jax.local_devices()
    compiled, place = _program(shape, tuple(devices[: math.gcd(len(devices), chunk)]))
    static = place(static, False)
    drawing = ThreadPoolExecutor(max_workers=8)

    def start(toys: Sequence[int]) -> tuple:
        """The chunk that begins with `toys`, on its way."""
        padded = [*toys, *[toys[-1]] * (chunk - len(toys))]
        rows = filled(np.stack(list(drawing.map(plan.rows, padded))), len(static.x))
        numbers = np.stack([plan.numbers(toy) for toy in padded]).astype(np.int32)
        return compiled(static, *place((rows, np.asarray(padded, np.uint32), numbers), True))

    def landed(toys: Sequence[int], result: tuple) -> np.ndarray:
        counts, finite, values = result
        require_finite(np.asarray(finite)[: len(toys)], toys)
        if plan.weight is None:
            return np.asarray(counts)[: len(toys)]
        # Sums of weights in double precision, the same in any chunk.
        pairs = zip(toys, np.asarray(values)[: len(toys)], strict=True)
        return np.stack([count(plan, by_place(own), plan.numbers(toy)) for toy, own in pairs])

    def counts(parts: Iterable[Sequence[int]]) -> Iterator[np.ndarray]:
        flying: deque = deque()
        for part in parts:
            pieces = [part[i : i + chunk] for i in range(0, len(part), chunk)]
            flying.append((part, [(piece, start(piece)) for piece in pieces]))
            if len(flying) > 1:
                yield np.concatenate([landed(*piece) for piece in flying.popleft()[1]])
        while flying:
            yield np.concatenate([landed(*piece) for piece in flying.popleft()[1]])

    def by_place(values: np.ndarray) -> np.ndarray:
        """Scores (P,) from those (folds scored, n) of a toy."""
        found = np.full(len(plan.pool.m), np.nan)
        for places, own in zip(scored, values, strict=True):
            found[places] = own[: len(places)]
        return found

    def scores(toy: int) -> np.ndarray:
        result = start([toy])
        landed([toy], result)
        return by_place(np.asarray(result[2])[0])

    return Engine(counts, scores)
