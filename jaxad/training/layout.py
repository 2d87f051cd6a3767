"""How the compiled loop holds parameters: as the tree they are, as one vector, or in stacks.

An accelerator launches a kernel for the norm and one for the update of every array, microseconds
each however small it is: with many small arrays that is a third of a step. As one vector they take
a handful; where each array's own norm counts, arrays of one shape are stacked. Outside the loop, in
checkpoints and in results, parameters are always the tree.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

if TYPE_CHECKING:
    import optax

MANY = 32
"""Arrays from which on a vector pays; below, most kernels of a step are others."""
SMALL = 2**12
"""Mean size of an array up to which its update takes less time than its launch."""


class Layout(NamedTuple):
    """Two functions that undo one another; what is elementwise may be done between them."""

    pack: Callable[[Any], Any]  # tree of parameters -> what the loop carries
    unpack: Callable[[Any], Any]
    each: Callable[[Callable[[Array], Array], Any], Any]
    """(function of an array, what the loop carries) -> the function of every array of the tree."""


TREE = Layout(lambda tree: tree, lambda tree: tree, jax.tree.map)


def choose(params: Any, on_cpu: bool, per_tensor: bool) -> Layout:
    """The layout of one member's parameters.

    Args:
        params: their shapes and dtypes.
        on_cpu: a CPU launches nothing: the tree.
        per_tensor: the optimiser treats each array by itself: no vector.
    """
    leaves = jax.tree.leaves(params)
    if on_cpu or len(leaves) < MANY:
        return TREE
    if per_tensor:
        return stacks(params)
    small = sum(leaf.size for leaf in leaves) <= SMALL * len(leaves)
    return vector(params) if small and len({leaf.dtype for leaf in leaves}) == 1 else TREE


def vector(params: Any) -> Layout:
    """Everything in one array (size,), in the order of the leaves."""
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
    unpack = ravel_pytree(zeros)[1]

    def each(function: Callable[[Array], Array], packed: Array) -> Array:
        return ravel_pytree(jax.tree.map(function, unpack(packed)))[0]

    return Layout(lambda tree: ravel_pytree(tree)[0], unpack, each)


def stacks(params: Any) -> Layout:
    """Arrays (k, *shape), one of each shape and dtype, of the k leaves that have it."""
    leaves, structure = jax.tree.flatten(params)
    places: dict[tuple, list[int]] = {}
    for i, leaf in enumerate(leaves):
        places.setdefault((leaf.shape, leaf.dtype), []).append(i)

    def pack(tree: Any) -> list[Array]:
        leaves = jax.tree.leaves(tree)
        return [jnp.stack([leaves[i] for i in members]) for members in places.values()]

    def unpack(packed: list[Array]) -> Any:
        found = {
            i: array[row]
            for array, members in zip(packed, places.values(), strict=True)
            for row, i in enumerate(members)
        }
        return jax.tree.unflatten(structure, [found[i] for i in range(len(found))])

    return Layout(pack, unpack, lambda function, packed: jax.tree.map(jax.vmap(function), packed))


def pack(layout: Layout, params: Any, state: "optax.OptState") -> tuple[Any, "optax.OptState"]:
    """Parameters, and the optimiser's state of the same structure, as the loop carries them."""

    def each(part: Any) -> Any:
        return layout.pack(part) if _alike(part, params) else part

    return layout.pack(params), jax.tree.map(each, state, is_leaf=lambda p: _alike(p, params))


def unpack(
    layout: Layout, params: Any, state: "optax.OptState", optimizer: "optax.GradientTransformation"
) -> tuple[Any, "optax.OptState"]:
    """What `pack` was given; `optimizer` says what its state looks like."""
    tree = layout.unpack(params)

    def each(part: Any, packed: Any) -> Any:
        return layout.unpack(packed) if _alike(part, tree) else packed

    like = jax.eval_shape(optimizer.init, tree)
    return tree, jax.tree.map(each, like, state, is_leaf=lambda part: _alike(part, tree))


def _alike(part: Any, params: Any) -> bool:
    return jax.tree.structure(part) == jax.tree.structure(params)
