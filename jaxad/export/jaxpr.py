"""A traced function walked equation by equation, for the formats that are translated.

What depends on parameters alone is computed here, and calls and loops of known length are followed;
every other equation is handed to the translator of a format.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr

MAX_STEPS = 256
"""Of a loop whose length is found on the way."""
CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")


def walk(
    jaxpr: Jaxpr,
    consts: Sequence,
    inputs: Sequence,
    apply: Callable[[Any, list], Sequence],
    whole: Sequence[str] = (),
) -> list:
    """The outputs of a jaxpr whose `inputs` are NumPy arrays or a translator's own operands.

    Args:
        apply: (equation, operands) -> outputs, for equations with an operand that is not an array.
        whole: names of jitted functions that `apply` is given as one equation.
    """
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


def _outputs(equation: Any, operands: list, apply: Callable, whole: Sequence[str]) -> Sequence:
    params = equation.params
    inner = params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr")))
    if equation.primitive.name in CALLS and inner is not None and params.get("name") not in whole:
        consts = inner.consts if isinstance(inner, ClosedJaxpr) else []
        return walk(getattr(inner, "jaxpr", inner), consts, operands, apply, whole)
    if operands and all(isinstance(operand, np.ndarray) for operand in operands):
        return computed(equation.primitive, operands, params)
    if equation.primitive.name == "while":
        return _repeated(equation, operands, apply, whole)
    return apply(equation, operands)


def _repeated(equation: Any, operands: list, apply: Callable, whole: Sequence[str]) -> Sequence:
    """The outputs of a loop whose end depends on parameters alone, step by step; else `apply`'s."""
    params = equation.params
    first, last = np.cumsum([params["cond_nconsts"], params["body_nconsts"]])
    limits, consts, carry = operands[:first], operands[first:last], operands[last:]
    until, body = params["cond_jaxpr"], params["body_jaxpr"]
    for _ in range(MAX_STEPS):
        (goes_on,) = walk(until.jaxpr, until.consts, [*limits, *carry], apply, whole)
        if not isinstance(goes_on, np.ndarray):
            break
        if not goes_on:
            return carry
        carry = walk(body.jaxpr, body.consts, [*consts, *carry], apply, whole)
    return apply(equation, operands)


def pruned(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """`function` without what its output does not depend on, parameters included."""

    def needed_alone(x: jax.Array) -> jax.Array:
        closed = jax.make_jaxpr(function)(x)
        kept, _ = dce_jaxpr(closed.jaxpr, [True], instantiate=True)
        (y,) = jaxpr_as_fun(ClosedJaxpr(kept, closed.consts))(x)
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
