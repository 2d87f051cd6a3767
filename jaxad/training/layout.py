"""How the compiled loop holds parameters: as the tree they are, or as one vector.

An accelerator launches a kernel for the norm and one for the update of every array, microseconds
each however small it is: with many small arrays that is a third of a step. As one vector they take
a handful. Outside the loop, in checkpoints and in results, parameters are always the tree.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

MANY = 32
"""Arrays from which on a vector pays; below, most kernels of a step are others."""
SMALL = 2**12
"""Mean size of an array up to which its update takes less time than its launch."""


class Layout(NamedTuple):
    """Two functions that undo one another; what is elementwise may be done between them."""

    pack: Callable[[Any], Any]  # tree of parameters -> what the loop carries
    unpack: Callable[[Any], Any]


TREE = Layout(lambda tree: tree, lambda tree: tree)


def choose(params: Any, on_cpu: bool, per_tensor: bool) -> Layout:
    """The layout of one member's parameters.

    Args:
        params: their shapes and dtypes.
        on_cpu: a CPU launches nothing: the tree.
        per_tensor: the optimiser treats each array by itself: the tree.
    """
    leaves = jax.tree.leaves(params)
    size = sum(leaf.size for leaf in leaves)
    small = len(leaves) >= MANY and size <= SMALL * len(leaves)
    if on_cpu or per_tensor or not small or len({leaf.dtype for leaf in leaves}) > 1:
        return TREE
    return vector(params)


def vector(params: Any) -> Layout:
    """Everything in one array (size,), in the order of the leaves."""
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
    return Layout(lambda tree: ravel_pytree(tree)[0], ravel_pytree(zeros)[1])


def pack(layout: Layout, params: Any, state: optax.OptState) -> tuple[Any, optax.OptState]:
    """Parameters, and the optimiser's state of the same structure, as the loop carries them."""

    def each(part: Any) -> Any:
        return layout.pack(part) if _alike(part, params) else part

    return layout.pack(params), jax.tree.map(each, state, is_leaf=lambda p: _alike(p, params))


def unpack(
    layout: Layout, params: Any, state: optax.OptState, optimizer: optax.GradientTransformation
) -> tuple[Any, optax.OptState]:
    """What `pack` was given; `optimizer` says what its state looks like."""
    tree = layout.unpack(params)

    def each(part: Any, packed: Any) -> Any:
        return layout.unpack(packed) if _alike(part, tree) else packed

    like = jax.eval_shape(optimizer.init, tree)
    return tree, jax.tree.map(each, like, state, is_leaf=lambda part: _alike(part, tree))


def _alike(part: Any, params: Any) -> bool:
    return jax.tree.structure(part) == jax.tree.structure(params)
