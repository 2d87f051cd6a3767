"""Histogram-gradient-boosted trees of two classes, trained by JAX: many fits in one program.

The algorithm is that of LightGBM (Ke et al., NeurIPS 2017) as scikit-learn has it: the leaf of the
largest gain is split next, and a validation loss that no longer falls ends the training. Its sums
are of integers, so that they do not depend on their order, nor a fit, but for the rounding of
exponentials, on what trains beside it.

Nothing is gathered or scattered while trees grow: all orders of the rows (`histograms`) carry the
logits along.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxad.devices.cores import side_by_side
from jaxad.methods.stages.histograms import (
    BINS,
    WHOLE,
    Order,
    Rows,
    binned,
    blocks,
    edges_of,
    histogram,
    ordered,
    row_there,
)

NO_LEAF = 255
EPS = 1e-15
MIN_HESSIAN = 1e-3  # of a leaf
LEAST_FALL = 1e-7  # of the validation loss, to count as one
BYTES, COPIED = 64, 16
"""Of a row in each order while trees grow, and while the orders are made, when all bins are there
twice; and one more for the bin of every feature."""


class Settings(NamedTuple):
    """As those of scikit-learn's `HistGradientBoostingClassifier`.

    Attributes:
        learning_rate: of every tree.
        leaves: of a tree, at most; 255 is the limit.
        min_rows: of a leaf.
        trees: at most.
        patience: trees without a fall of the validation loss, that end the training.
    """

    learning_rate: float
    leaves: int
    min_rows: int
    trees: int
    patience: int


def _best(sums: Array, unit: Array, min_rows: int) -> tuple[Array, Array, Array]:
    """Gain, feature and last bin on the left of the best split; gain 0: none is allowed."""
    whole = sums[:, :, -1:]
    left, right = sums[:, :, :-1], whole - sums[:, :, :-1]

    def score(part: Array) -> Array:
        return (part[0] / unit) ** 2 / (part[1] / unit + EPS)

    allowed = [(part[2] >= min_rows) & (part[1] / unit >= MIN_HESSIAN) for part in (left, right)]
    gain = jnp.where(allowed[0] & allowed[1], score(left) + score(right) - score(whole), 0.0)
    at = jnp.argmax(gain)
    return gain.reshape(-1)[at], at // (BINS - 1), at % (BINS - 1)


class _Growth(NamedTuple):
    """A tree that grows; L leaves, 2 L - 1 nodes.

    Attributes:
        leaf: of the rows in all orders, and of the validation rows; `NO_LEAF` of none.
        histogram: (L, 3, features, BINS) of `histogram`.
        split: gain, feature and bin, (L,) each, of the best split of a leaf.
        node, depth: (L,) of a leaf.
        nodes: "feature", "cut", "left" and "right" (2 L - 1,), leaves pointing at themselves.
    """

    leaf: tuple[Array, Array]
    histogram: Array
    split: tuple[Array, Array, Array]
    node: Array
    depth: Array
    nodes: dict[str, Array]


def _grown(
    settings: Settings, order: Order, bins: Array, values: tuple[Array, Array]
) -> tuple[_Growth, Array]:
    """A tree and the values of its leaves (L,).

    Args:
        bins: (F, k) of validation rows.
        values: gradients and Hessians in all orders, int32.
    """
    n_leaves, n_nodes = settings.leaves, 2 * settings.leaves - 1
    numbers = jnp.arange(n_leaves)

    def step(old: _Growth, new: Array) -> tuple[_Growth, None]:
        """Leaf number `new` splits off that of the largest gain; the root comes by itself."""
        own = jnp.argmax(old.split[0])
        there = (new == 0) | (old.split[0][own] > 0)
        feature, cut = old.split[1][own], old.split[2][own]

        def moved(leaf: Array, bins: Array) -> Array:
            above = lax.dynamic_index_in_dim(bins, feature, keepdims=False) > cut
            return there & (leaf == own) & (above | (new == 0))

        moves = moved(old.leaf[0], order.bins), moved(old.leaf[1], bins)
        leaf = tuple(
            jnp.where(m, new, of).astype(jnp.uint8) for m, of in zip(moves, old.leaf, strict=True)
        )
        right = histogram(order, moves[0], values)
        both = jnp.stack([old.histogram[own] - right, right])
        found = jax.vmap(partial(_best, unit=order.unit, min_rows=settings.min_rows))(both)

        def put(values: Array, left: Array, right: Array) -> Array:
            """With those of both leaves: of the root, which has no left one, the right one's."""
            shape = (-1, *[1] * (values.ndim - 1))
            values = jnp.where((there & (numbers == own)).reshape(shape), left, values)
            return jnp.where((there & (numbers == new)).reshape(shape), right, values)

        splits = there & (new > 0)
        at = splits & (jnp.arange(n_nodes) == old.node[own])
        changes = {"feature": feature, "cut": cut, "left": 2 * new - 1, "right": 2 * new}
        nodes = {name: jnp.where(at, changes[name], old.nodes[name]) for name in changes}
        depth = old.depth[own] + 1
        grown = _Growth(
            leaf=leaf,
            histogram=put(old.histogram, *both),
            split=tuple(put(of, *f) for of, f in zip(old.split, found, strict=True)),
            node=put(old.node, 2 * new - 1, 2 * new),
            depth=put(old.depth, depth, jnp.where(splits, depth, 0)),
            nodes=nodes,
        )
        return grown, None

    itself, none = jnp.arange(n_nodes), jnp.zeros(n_nodes, jnp.int32)
    flat = jnp.zeros(n_leaves, jnp.int32)
    start = _Growth(
        leaf=(
            jnp.where(order.there, 0, NO_LEAF).astype(jnp.uint8),
            jnp.zeros(bins.shape[1], jnp.uint8),
        ),
        histogram=jnp.zeros((n_leaves, 3, *order.ends.shape), jnp.int32),
        split=(jnp.zeros(n_leaves), flat, flat),
        node=flat,
        depth=flat,
        nodes={"feature": none, "cut": none, "left": itself, "right": itself},
    )
    tree, _ = lax.scan(step, start, numbers)
    gradient, hessian = (tree.histogram[:, i, 0, -1] / order.unit for i in (0, 1))
    return tree, -settings.learning_rate * gradient / (hessian + EPS)


def _of_leaves(value: Array, leaf: Array) -> Array:
    """value (L,) of every leaf number; 0 of `NO_LEAF`."""
    return sum(jnp.where(leaf == i, value[i], 0.0) for i in range(len(value)))


def _sum(values: Array) -> Array:
    """Of values whose sum int32 holds, in any order the same, to all digits that they have."""
    whole = jnp.round(values)
    finer = 2.0 ** (30 - (len(values) - 1).bit_length())
    parts = whole, jnp.round(finer * (values - whole))
    whole, rest = (part.astype(jnp.int32).sum() for part in parts)
    return whole + rest / finer


def _one(settings: Settings, train: Rows, val: Rows, edges: Array) -> dict[str, Array]:
    order, val_bins = ordered(train, binned(train, edges)), binned(val, edges)
    weight = jnp.where(row_there(val), val.weight, 0.0)
    mean = (order.weight * order.y)[0].sum() / order.weight[0].sum()
    base = jnp.log(mean / (1 - mean))

    def integer(values: Array, unit: Array) -> Array:
        return jnp.round(values * unit).astype(jnp.int32)

    def loss(raw: Array) -> Array:
        """How far the mean validation loss lies above that of the base."""
        off = raw - base
        above = jnp.log1p(mean * jnp.expm1(off)) - val.y * off
        return _sum(weight * above * (WHOLE / weight.sum())) / WHOLE

    def add_tree(state: dict[str, Any]) -> dict[str, Any]:
        t, (raw, raw_val) = state["n"], state["raw"]
        p = jax.nn.sigmoid(raw)
        each = order.weight * (p - order.y), order.weight * p * (1 - p)
        values = tuple(integer(v, order.unit) for v in each)
        tree, value = _grown(settings, order, val_bins, values)
        raw = tuple(r + _of_leaves(value, of) for r, of in zip((raw, raw_val), tree.leaf))  # noqa: B905
        losses = state["losses"].at[t + 1].set(loss(raw[1]))
        first = t + 1 - settings.patience
        at = jnp.arange(len(losses))
        falls = (at > first) & (at <= t + 1) & (losses < losses[first] - LEAST_FALL)
        split = tree.nodes["left"] != jnp.arange(2 * settings.leaves - 1)
        threshold = edges[tree.nodes["feature"], tree.nodes["cut"]]
        nodes = {
            "feature": tree.nodes["feature"],
            "threshold": jnp.where(split, threshold, 0.0),
            "left": tree.nodes["left"],
            "right": tree.nodes["right"],
            "value": jnp.zeros(len(split)).at[tree.node].add(value),
        }
        return {
            "n": t + 1,
            "raw": raw,
            "losses": losses,
            "trees": {name: state["trees"][name].at[t].set(nodes[name]) for name in nodes},
            "depth": jnp.maximum(state["depth"], tree.depth.max()),
            "over": (first >= 0) & ~falls.any(),
        }

    shape = settings.trees, 2 * settings.leaves - 1
    itself = jnp.broadcast_to(jnp.arange(shape[1]), shape)
    state = {
        "n": jnp.int32(0),
        "raw": (jnp.full(order.there.shape, base), jnp.full(len(val.y), base)),
        "losses": jnp.zeros(settings.trees + 1),
        "trees": {
            "feature": jnp.zeros(shape, jnp.int32),
            "threshold": jnp.zeros(shape),
            "left": itself,
            "right": itself,
            "value": jnp.zeros(shape),
        },
        "depth": jnp.int32(0),
        "over": jnp.bool_(False),
    }
    going = lambda state: (state["n"] < settings.trees) & ~state["over"]  # noqa: E731
    state = lax.while_loop(going, add_tree, state)
    return (
        state["trees"] | {name: state[name] for name in ("n", "depth", "losses")} | {"base": base}
    )


def memory(n_train: int, n_val: int, n_features: int) -> int:
    """Bytes that a fit takes, nearly; of many features it is their square that counts."""
    places = n_features * math.prod(blocks(n_train))
    return (max(BYTES, COPIED + n_features) + n_features) * (places + n_val)


def fit(settings: Settings, train: Rows, val: Rows) -> dict[str, Array]:
    """Boosted trees of K fits, each on rows of its own, with leading axes (K,).

    Args:
        train, val: what they learn from, and what ends their training; NumPy arrays.

    Returns:
        Nodes "feature", "threshold", "left", "right" and "value" (K, trees, nodes) and "base" (K,)
        as `jaxad.methods.stages.trees.leaf_sums` reads them, trees that were not needed of value 0;
        "depth" and "n" (K,), longest path and number of the trees; "losses" (K, trees + 1),
        validation losses above that of no tree.
    """
    each = [Rows(*one) for one in zip(*train, strict=True)]
    alone = len(each) == 1  # and in a thread of its own already
    edges = [edges_of(*each)] if alone else side_by_side(edges_of, each, "bins", "classifier")
    return grown(settings, train, val, np.stack(edges))


@partial(jax.jit, static_argnames="settings")
def grown(settings: Settings, train: Rows, val: Rows, edges: Array) -> dict[str, Array]:
    """What `fit` returns, by the edges (K, F, BINS - 1) of the bins."""
    one = partial(_one, settings)
    if len(train.y) > 1:
        return jax.vmap(one)(train, val, edges)
    found = one(*jax.tree.map(lambda a: a[0], (train, val, edges)))
    return jax.tree.map(lambda a: a[None], found)
