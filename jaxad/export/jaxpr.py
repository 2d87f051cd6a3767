"""A traced function walked equation by equation, for the formats that are translated.

What depends on parameters alone is computed here, and calls and loops of known length are followed;
every other equation is handed to the translator of a format. Versions of jax write the same
function differently; a translator sees what the oldest of them writes, and no other file reads the
parts of a jaxpr that changed.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr

MAX_STEPS = 256
"""Of a loop whose length is found on the way."""
CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2")


class Loop(NamedTuple):
    """A scan taken apart: body(*consts, *carry, *rows) -> (*carry, *rows of the outputs).

    Attributes:
        body: its jaxpr, to be walked.
        consts: operands that every step is given.
        carry: operands that the first step is given, the next one the outputs in their place.
        scanned: operands (length, ...), of which every step is given one row.
        length: number of steps.
        reverse: whether they go from the last row to the first.
    """

    body: Any
    consts: list
    carry: list
    scanned: list
    length: int
    reverse: bool

    @property
    def order(self) -> slice:
        """Of rows as the steps take them, and of the steps' outputs as rows."""
        return slice(None, None, -1 if self.reverse else 1)


def loop_parts(equation: Any, operands: Sequence) -> Loop:
    """The parts of a scan and its operands."""
    params = equation.params
    if "num_consts" in params:
        n_consts, n_carry = params["num_consts"], params["num_carry"]
    else:  # since jax 0.11
        n_consts, n_carry, _ = map(len, params["ft_in"].unpack())
    first, last = n_consts, n_consts + n_carry
    return Loop(
        params["jaxpr"],
        list(operands[:first]),
        list(operands[first:last]),
        list(operands[last:]),
        params["length"],
        params["reverse"],
    )


def walk(
    function: Any,
    inputs: Sequence,
    apply: Callable[[Any, list], Sequence],
    whole: Sequence[str] = (),
) -> list:
    """The outputs of a jaxpr whose `inputs` are NumPy arrays or a translator's own operands.

    Args:
        function: what `jax.make_jaxpr` gives, or the jaxpr in an equation's parameters.
        apply: (equation, operands) -> outputs, for equations with an operand that is not an array.
        whole: names of jitted functions that `apply` is given as one equation.
    """
    jaxpr, consts = _opened(function)
    jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    known: dict[Any, Any] = dict(
        zip([*jaxpr.constvars, *jaxpr.invars], [*map(np.asarray, consts), *inputs], strict=True)
    )

    def read(atom: Any) -> Any:
        return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else known[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        known.update(zip(equation.outvars, _outputs(equation, operands, apply, whole), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _opened(function: Any) -> tuple[Jaxpr, Sequence]:
    """A jaxpr and its constants: before jax 0.11 they were apart, and some inner ones have none."""
    return getattr(function, "jaxpr", function), getattr(function, "consts", ())


def _outputs(equation: Any, operands: list, apply: Callable, whole: Sequence[str]) -> Sequence:
    name, params = equation.primitive.name, equation.params
    inner = params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr")))
    if name in CALLS and inner is not None and params.get("name") not in whole:
        return walk(inner, operands, apply, whole)
    if operands and all(isinstance(operand, np.ndarray) for operand in operands):
        return computed(equation.primitive, operands, params)
    if name == "while":
        return _repeated(equation, operands, apply, whole)
    if name in OLDER:
        return walk(_older(equation), operands, apply, whole)
    return apply(equation, operands)


def _older(equation: Any) -> Any:
    """The jaxpr of a newer operation in operations that every version has."""
    rewritten, params = OLDER[equation.primitive.name], equation.params
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
    return jax.make_jaxpr(lambda *operands: rewritten(params, *operands))(*shapes)


def _polynomial(params: dict, x: jax.Array, *coefficients: jax.Array) -> jax.Array:
    """Horner's rule, from the constant term's coefficient on."""
    y = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        y = y * x + coefficient
    return y


def _expanded(params: dict, *operands: jax.Array) -> Any:
    """What a function of jax that is one operation of its own does."""
    function = params["_prim"]
    return function.expand(*jax.tree.unflatten(function.in_tree, operands))


OLDER: dict[str, Callable[..., Any]] = {
    "call_hi_primitive": _expanded,
    "log2": lambda params, x: lax.log(x) * (1 / math.log(2)),
    "one_minus_square": lambda params, x: (1 + x) * (1 - x),
    "polynomial": _polynomial,
    "unstack": lambda params, x: [
        lax.index_in_dim(x, k, params["axis"], keepdims=False)
        for k in range(x.shape[params["axis"]])
    ],
}
"""Operations of newer versions of jax -> function(params, *operands) of older ones."""


def _repeated(equation: Any, operands: list, apply: Callable, whole: Sequence[str]) -> Sequence:
    """The outputs of a loop whose end depends on parameters alone, step by step; else `apply`'s."""
    params = equation.params
    first, last = np.cumsum([params["cond_nconsts"], params["body_nconsts"]])
    limits, consts, carry = operands[:first], operands[first:last], operands[last:]
    until, body = params["cond_jaxpr"], params["body_jaxpr"]
    for _ in range(MAX_STEPS):
        (goes_on,) = walk(until, [*limits, *carry], apply, whole)
        if not isinstance(goes_on, np.ndarray):
            break
        if not goes_on:
            return carry
        carry = walk(body, [*consts, *carry], apply, whole)
    return apply(equation, operands)


def pruned(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """`function` without what its output does not depend on, parameters included."""

    def needed_alone(x: jax.Array) -> jax.Array:
        jaxpr, consts = _opened(jax.make_jaxpr(function)(x))
        kept, _ = dce_jaxpr(jaxpr, [True], instantiate=True)
        (y,) = jaxpr_as_fun(ClosedJaxpr(kept, consts))(x)
        return y

    return needed_alone


def _broadcast(a: np.ndarray, shape: Sequence, axes: Sequence[int]) -> np.ndarray:
    """`a` in a shape; along an axis of unknown size the numbers are alike, and one stands there."""
    spread = [1] * len(shape)
    for axis, size in zip(axes, a.shape, strict=True):
        spread[axis] = size
    sizes = [size if isinstance(size, int) else 1 for size in shape]
    return np.broadcast_to(a.reshape(spread), sizes)


NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "reshape": lambda a, p: a.transpose(p["dimensions"] or range(a.ndim)).reshape(p["new_sizes"]),
    "squeeze": lambda a, p: a.squeeze(p["dimensions"]),
    "broadcast_in_dim": lambda a, p: _broadcast(a, p["shape"], p["broadcast_dimensions"]),
    "convert_element_type": lambda a, p: a.astype(p["new_dtype"]),
    "slice": lambda a, p: a[
        tuple(map(slice, p["start_indices"], p["limit_indices"], p["strides"] or [1] * a.ndim))
    ],
    "transpose": lambda a, p: a.transpose(p["permutation"]),
}
"""The commonest operations, which need not be compiled to be computed once."""


def computed(primitive: Any, operands: Sequence, params: dict) -> list[np.ndarray]:
    """Outputs of a primitive of jax on arrays."""
    if primitive.name in NUMPY and len(operands) == 1:
        return [NUMPY[primitive.name](np.asarray(operands[0]), params)]
    with jax.ensure_compile_time_eval():
        found = primitive.bind(*map(jnp.asarray, operands), **params)
    return [np.asarray(array) for array in (found if primitive.multiple_results else [found])]
