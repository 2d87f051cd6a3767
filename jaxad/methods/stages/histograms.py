"""Rows bin by bin: how histogram-boosted trees see them, without gathering or scattering.

Every feature has its own order of the rows, by its quantile bins and in blocks, so that a histogram
is a sum along an axis. Sums are of integers: they do not depend on their order.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

BINS = 255
NO_BIN = 255
FEW = 2**15
LANES = 128
"""To a multiple of so many blocks an order is filled up."""
WHOLE = 2.0**30
"""What all weights sum to, as integers."""


class Rows(NamedTuple):
    """Rows of a fit; those from `number` on are none, and only fill up a shape.

    Attributes:
        x: (n, F) float32, finite.
        y: (n,) classes, 0 or 1.
        weight: (n,) weights of 0 or more.
        number: () of rows, at most eight million.
    """

    x: Array
    y: Array
    weight: Array
    number: Array


class Order(NamedTuple):
    """Rows bin by bin, once for each feature: axes (features, size, blocks) of `blocks`.

    Attributes:
        bins: (F, features, size, blocks) uint8 of every feature.
        y, weight: classes and weights, 0 where no row stands.
        there: whether a row stands there.
        ends: (features, BINS) the block behind the last one of every bin.
        unit: integers that a weight of 1 is.
    """

    bins: Array
    y: Array
    weight: Array
    there: Array
    ends: Array
    unit: Array


def row_there(rows: Rows) -> Array:
    """Whether they are any, (n,) bool."""
    return jnp.arange(len(rows.y)) < rows.number


def edges_of(rows: Rows) -> np.ndarray:
    """Largest values (F, BINS - 1) of all bins but the last, as scikit-learn 1.9 finds them.

    Between levels, where a feature has no more than `BINS` of them; else quantiles of the weights,
    between two rows where one ends there. Bins that no row needs end at infinity. A sum of weights
    in double precision decides where a quantile is, so that this is NumPy, on the host.
    """
    weight = np.asarray(rows.weight, np.float64)[: int(rows.number)]
    x, weight = np.asarray(rows.x)[: len(weight)][weight > 0], weight[weight > 0]
    edges = np.full((x.shape[1], BINS - 1), np.inf, np.float32)
    for own, values in zip(edges, x.T, strict=True):
        found = _quantiles(values, weight)
        own[: len(found)] = found
    return edges


def _quantiles(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Edges of one feature (n,), float32 but as exact as in double precision: at most BINS - 1."""
    order = np.argsort(x)
    x, up_to = x[order].astype(np.float64), np.cumsum(weight[order])
    levels = x[np.append(True, x[1:] > x[:-1])]
    if len(levels) <= BINS:
        edges = (levels[:-1] + levels[1:]) / 2
    else:
        wanted = np.linspace(0, 100, BINS + 1)[1:-1] / 100 * up_to[-1]
        at = np.searchsorted(up_to, wanted)
        ends = up_to[at] - wanted <= np.finfo(np.float64).eps
        edges = np.unique(np.where(ends, (x[at] + x[np.minimum(at + 1, len(x) - 1)]) / 2, x[at]))
    near = edges.astype(np.float32)
    return np.where(near > edges, np.nextafter(near, np.float32(-np.inf)), near)


def binned(rows: Rows, edges: Array) -> Array:
    """Bins (F, n) uint8: x lies in bin b if it is at most its edge and above the one before."""
    found = jax.vmap(partial(jnp.searchsorted, side="left"))(edges, rows.x.T)
    return jnp.where(row_there(rows), found, NO_BIN).astype(jnp.uint8)


def blocks(n: int) -> tuple[int, int]:
    """Rows of a bin that are summed first, and how many such blocks an order of `n` rows has.

    The last block of every bin is filled up with none.
    """
    size = 16 if n < FEW else 64
    return size, -(-(n // size + BINS) // LANES) * LANES


def _places(bins: Array) -> tuple[Array, Array]:
    """Rows (size, blocks) of one feature, n for none, and `Order.ends`; bins (n,)."""
    size, number = blocks(len(bins))
    order = jnp.argsort(bins, stable=True)
    after = jnp.searchsorted(bins[order], jnp.arange(BINS, dtype=bins.dtype), side="right")
    first = jnp.pad(after, (1, 0))[:-1]
    ends = jnp.cumsum(-(-(after - first) // size))
    start = jnp.pad(ends, (1, 0))[:-1]
    block = jnp.arange(number)
    own = jnp.minimum(jnp.searchsorted(ends, block, side="right"), BINS - 1)
    row = first[own] + (block - start[own]) * size + jnp.arange(size)[:, None]
    return jnp.where(row < after[own], order[jnp.minimum(row, len(bins) - 1)], len(bins)), ends


def ordered(rows: Rows, bins: Array) -> Order:
    """Rows with bins (F, n) of `binned` in the order of every feature."""
    places, ends = jax.vmap(_places)(bins)

    def taken(values: Array) -> Array:
        return jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, 1)])[..., places]

    weight = jnp.where(row_there(rows), rows.weight, 0.0)
    there = places < len(rows.y)
    return Order(taken(bins), taken(rows.y), taken(weight), there, ends, WHOLE / weight.sum())


def histogram(order: Order, chosen: Array, values: tuple[Array, Array]) -> Array:
    """Sums (3, features, BINS) up to and with every bin, of `values` and of rows, all int32."""
    summed = [jnp.where(chosen, v, 0).sum(axis=1) for v in (*values, jnp.int32(1))]
    up_to = jnp.pad(jnp.cumsum(jnp.stack(summed), axis=2), ((0, 0), (0, 0), (1, 0)))
    return jnp.take_along_axis(up_to, order.ends[None], axis=2)
