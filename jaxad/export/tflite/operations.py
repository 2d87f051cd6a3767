"""What LiteRT or its converter lacks or has otherwise, in operations that both have.

A traced scorer is walked equation by equation: loops are written out, axes joined, places bounded.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxad.errors import UserError
from jaxad.export.cpp.operations import ELEMENTWISE, SPECIAL
from jaxad.export.jaxpr import loop_parts, walk

LACKING = ("while", "sort", "top_k", "pure_callback", "io_callback")
MAX_DIMENSIONS = 4
MAX_EQUATIONS = 5000
"""Operations at most that a loop is written out to."""


def refusal(reason: object) -> UserError:
    """The error that names, in one line, why a scorer has no such form."""
    first = (str(reason).splitlines() or [""])[0].split("error: ")[-1].split(": %")[0]
    return UserError(f"tflite: this scorer cannot be converted ({first}): export as stablehlo")


def rewritten(
    function: Callable[[jax.Array], jax.Array], raw: jax.ShapeDtypeStruct
) -> Callable[[jax.Array], jax.Array]:
    """function(raw) -> scores (n,) for raw events of this shape, in operations that convert.

    An event with a number that is not finite has the score NaN.

    Raises:
        UserError: on tracing, where there are none.
    """
    # Another function, so that no trace of the first one, without native convolutions, is reused.
    closed = jax.make_jaxpr(lambda raw: function(raw))(raw)

    def scores(raw: jax.Array) -> jax.Array:
        (found,) = walk(closed, [raw], _apply)
        if isinstance(found, np.ndarray):
            raise refusal("a score that does not depend on the event")
        # LiteRT's maxima and rectifiers lose NaN.
        finite = jnp.all(jnp.isfinite(raw.reshape(len(raw), -1)), axis=1)
        return jnp.where(finite, found, jnp.nan)

    return scores


def _apply(equation: Any, operands: list) -> Sequence:
    """An equation, where it has many dimensions in fewer: neighbouring axes treated alike are one.

    With its axes of members and epochs an ensemble's image has six dimensions, LiteRT four or five.
    """
    name, params = equation.primitive.name, dict(equation.params)
    if name == "scan":
        return _unrolled(equation, operands)
    if name in LACKING:
        raise refusal(f"no operation {name!r}")
    if any(atom.aval.dtype.kind == "u" for atom in equation.outvars):
        raise refusal("unsigned numbers")
    if name.startswith("shift_") and not _below(operands[1], 32):
        raise refusal("a shift by other than constants below 32")
    operands = [jnp.asarray(operand) for operand in operands]
    if name in REWRITTEN:
        return [REWRITTEN[name](*operands)]
    if name == "gather":
        return [_gathered(*operands, params)]
    if name == "scatter-add" and len(equation.outvars[0].aval.shape) == 2:
        return [_scattered_sum(*operands)]
    if name == "conv_general_dilated" and max(params["lhs_dilation"]) > 1:
        return [_transposed_convolution(*operands, params)]
    shapes = [operand.shape for operand in operands if operand.ndim]
    if not shapes or len(shapes[0]) <= MAX_DIMENSIONS:
        pass
    elif name in ELEMENTWISE or name in SPECIAL:
        axes = _alike([tuple(size == 1 for size in sizes) for sizes in zip(*shapes, strict=True)])
        operands = [operand.reshape(_sizes(operand.shape, axes)) for operand in operands]
    elif name == "pad":
        padding = params["padding_config"]
        axes = _alike([any(each) and axis for axis, each in enumerate(padding, 1)])
        operands[0] = operands[0].reshape(_sizes(shapes[0], axes))
        params["padding_config"] = tuple(padding[first] for first, *_ in axes)
    elif name.startswith("reduce_") and "axes" in params:
        axes = _alike([axis in params["axes"] for axis in range(len(shapes[0]))])
        operands[0] = operands[0].reshape(_sizes(shapes[0], axes))
        reduced = [first in params["axes"] for first, *_ in axes]
        params["axes"] = tuple(np.flatnonzero(reduced).tolist())
    found = equation.primitive.bind(*operands, **params)
    if equation.primitive.multiple_results:
        return found
    return [found.reshape(equation.outvars[0].aval.shape)]


def _below(operand: Any, limit: int) -> bool:
    known = isinstance(operand, np.ndarray)
    return known and bool(np.all((operand >= 0) & (operand < limit)))


def _quotient(a: jax.Array, b: jax.Array) -> jax.Array:
    """LiteRT stops at an integer's division by 0, and has no wrapped quotient by -1."""
    if a.dtype.kind == "f":
        return lax.div(a, b)
    found = lax.div(a, jnp.where((b == 0) | (b == -1), 1, b))
    return jnp.where(b == 0, -1, jnp.where(b == -1, -a, found))


def _remainder(a: jax.Array, b: jax.Array) -> jax.Array:
    """With the sign of `a`: theirs has that of `b`."""
    if a.dtype.kind == "f":
        return lax.sign(a) * lax.rem(lax.abs(a), lax.abs(b))
    return a - _quotient(a, b) * b


REWRITTEN: dict[str, Callable[..., jax.Array]] = {
    "div": _quotient,
    "rem": _remainder,
    "rsqrt": lambda a: 1 / lax.sqrt(a),
    "cbrt": lambda a: lax.sign(a) * lax.cbrt(lax.abs(a)),
    "clamp": lambda low, a, high: lax.min(lax.max(a, low), high),
}


def _unrolled(equation: Any, operands: list) -> Sequence:
    """The outputs of a loop of fixed length: LiteRT's loops hold no constants."""
    loop = loop_parts(equation, operands)
    n_carry, carry = len(loop.carry), loop.carry
    n_equations = loop.length * len(loop.body.eqns)
    if n_equations > MAX_EQUATIONS:
        raise refusal(f"a loop of {loop.length} steps, {n_equations} operations")
    steps = []
    for step in range(loop.length)[loop.order]:
        inputs = [*loop.consts, *carry, *(row[step] for row in loop.scanned)]
        found = walk(loop.body, inputs, _apply)
        carry = found[:n_carry]
        steps.append(found[n_carry:])
    return [*carry, *(jnp.stack(each[loop.order]) for each in zip(*steps, strict=True))]


def _gathered(array: jax.Array, index: jax.Array, params: dict) -> jax.Array:
    """LiteRT refuses an event whose places lie outside, and jax takes the nearest or fills."""
    how, sizes = params["dimension_numbers"], params["slice_sizes"]
    last = jnp.asarray([array.shape[axis] - sizes[axis] for axis in how.start_index_map], jnp.int32)
    inside = jnp.all((index >= 0) & (index <= last), axis=-1)
    filled = params["mode"] == lax.GatherScatterMode.FILL_OR_DROP
    mode = lax.GatherScatterMode.PROMISE_IN_BOUNDS
    found = lax.gather_p.bind(array, jnp.clip(index, 0, last), **params | {"mode": mode})
    if not filled:
        return found
    fill = jnp.nan if params["fill_value"] is None else params["fill_value"]
    return jnp.where(
        jnp.expand_dims(inside, how.offset_dims), found, jnp.asarray(fill, found.dtype)
    )


def _transposed_convolution(image: jax.Array, kernel: jax.Array, params: dict) -> jax.Array:
    """Group by group, all that a kernel reaches and of it what is wanted.

    The converter takes any other padding for this one.
    """
    how, n_groups = params["dimension_numbers"], params["feature_group_count"]
    reach = [kernel.shape[axis] - 1 for axis in how.rhs_spec[2:]]
    wanted, changed = [(0, 0, 0)] * 4, {"padding": tuple((each, each) for each in reach)}
    for axis, size, (before, after) in zip(how.out_spec[2:], reach, params["padding"], strict=True):
        wanted[axis] = (before - size, after - size, 0)
    images = jnp.split(image, n_groups, how.lhs_spec[1])
    kernels = jnp.split(kernel, n_groups, how.rhs_spec[0])
    convolved = [
        lax.conv_general_dilated_p.bind(*each, **params | changed | {"feature_group_count": 1})
        for each in zip(images, kernels, strict=True)
    ]
    return lax.pad(jnp.concatenate(convolved, how.out_spec[1]), jnp.float32(0), wanted)


def _scattered_sum(array: jax.Array, index: jax.Array, updates: jax.Array) -> jax.Array:
    """`array` (n, size) and the `updates` (n, p) at the places (n, p, 1) inside.

    As a product of rows and columns: of LiteRT's own operation only constant places convert.
    """
    place, size = index[..., 0], array.shape[1]
    width = math.isqrt(size - 1) + 1
    rows = jax.nn.one_hot(lax.div(place, width), -(-size // width), dtype=updates.dtype)
    columns = jax.nn.one_hot(lax.rem(place, width), width, dtype=updates.dtype)
    given = jnp.where((place >= 0) & (place < size), updates, 0)
    found = jnp.einsum("npr,npc->nrc", rows * given[..., None], columns)
    return array + found.reshape(len(array), -1)[:, :size]


def _alike(keys: Sequence) -> list[list[int]]:
    """Axes in groups of neighbours that have the same key."""
    groups = itertools.groupby(range(len(keys)), key=keys.__getitem__)
    return [list(axes) for _, axes in groups]


def _sizes(shape: Sequence[int], axes: list[list[int]]) -> list[int]:
    return [math.prod(shape[axis] for axis in group) for group in axes] if shape else []
