"""Networks of linear operations and ReLUs as layers of weights, which integer firmware computes.

A network is traced, and what lies between two ReLUs, or before a further product with weights, is
one matrix and one bias: norms are folded in, and a convolution is the matrix of all its positions,
pooling by means and padding included. Entries that are the same weight of the network share one,
so that a convolution has as many weights as its kernel.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Literal

from jaxad.errors import UserError
from jaxad.models.affine import Affine, shared

MOVES = (
    *("reshape", "squeeze", "expand_dims", "broadcast_in_dim", "transpose", "slice", "rev"),
    *("convert_element_type", "copy", "neg", "reduce_sum", "pad", "dynamic_slice", "gather"),
    "div",  # by numbers
)
"""Operations that are linear in what they move or add up, their first operand."""
SUMS = ("add", "sub", "add_any", "concatenate")
WEIGHTED = ("dot_general", "conv_general_dilated")
SAME = ("reshape", "squeeze", "expand_dims", "convert_element_type", "copy")
"""Operations that leave values and their order as they are."""
CALLS = (
    *("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
)
"""Calls of a function once, with all of their operands."""
PRODUCTS = ("mul", *WEIGHTED)
NAMES = {
    "leaky_relu": "a leaky ReLU",
    "elu": "an ELU",
    "exp": "an exponential",
    "log": "a logarithm",
    "log1p": "a logarithm",
    "tanh": "a tanh",
    "logistic": "a sigmoid",
    "reduce_max": "a largest value, as of a softmax",
    "max": "a maximum",
    "integer_pow": "a power",
}
"""Operation -> what it is called in a refusal."""
Network = Callable[[Any, Any], Array]


class _Value(NamedTuple):
    """What depends on the input: its values at all unit vectors of a layer's input, and at zero.

    Attributes:
        rows: (inputs + 1, 1, *shape), that of zero last.
        layer: how many layers come before it.
        channels: how many columns the weights have that it is a product with; 0: there are none.
        moved: whether it is other than the layer's input.
    """

    rows: Array
    layer: int
    channels: int = 0
    moved: bool = False


class _Layers:
    """The layers that are found, in their order."""

    def __init__(self) -> None:
        self.arrays: list[tuple[Array, Array]] = []
        self.relus: list[bool] = []
        self.channels: list[int] = []

    def input(self, shape: tuple[int, ...]) -> _Value:
        """That of the next layer, of the shape (1, ...)."""
        n = int(np.prod(shape))
        rows = jnp.concatenate([jnp.eye(n), jnp.zeros((1, n))])
        return _Value(rows.reshape(n + 1, *shape), len(self.arrays))

    def close(self, value: _Value, relu: bool) -> _Value:
        """The input of the next layer, `value` being what this one gives, before its ReLU."""
        self.require_last([value])
        y = value.rows.reshape(len(value.rows), -1)
        self.arrays.append((y[:-1] - y[-1], y[-1]))
        self.relus.append(relu)
        outputs = y.shape[1]
        self.channels.append(outputs if outputs % value.channels else value.channels)
        return self.input(value.rows.shape[1:])

    def require_last(self, values: Sequence[_Value]) -> None:
        """Refuses what does not start from the last layer."""
        if any(value.layer != len(self.arrays) for value in values):
            raise UserError("layers that do not follow each other")


class _Scope:
    """A traced function, read from its result back to its inputs: nothing else is computed.

    Args:
        jaxpr: of the function.
        constants: of its constants.
        arguments: give its inputs, where they are needed.
        layers: where layers go.
    """

    def __init__(
        self,
        jaxpr: Any,
        constants: Sequence[Any],
        arguments: Sequence[Callable[[], Any]],
        layers: _Layers,
    ):
        self.known = dict(zip(jaxpr.constvars, constants, strict=True))
        self.given = dict(zip(jaxpr.invars, arguments, strict=True))
        self.makers = {out: equation for equation in jaxpr.eqns for out in equation.outvars}
        self.layers = layers

    def read(self, atom: Any) -> Any:
        """The value of a variable or literal."""
        if isinstance(atom, Literal):
            return atom.val
        if atom not in self.known:
            if atom in self.given:
                self.known[atom] = self.given[atom]()
            else:
                self._make(self.makers[atom], atom)
        return self.known[atom]

    def _is_zero(self, atom: Any) -> bool:
        if isinstance(atom, Literal):
            return not np.any(atom.val)
        if (maker := self.makers.get(atom)) and maker.primitive.name in MOVES:
            return self._is_zero(maker.invars[0])
        value = self.known.get(atom)
        return isinstance(value, np.ndarray) and not np.any(value)

    def _make(self, equation: Any, out: Any) -> None:
        """Put what an equation gives into `known`: `out`, or all that it gives."""
        name, atoms, inner = equation.primitive.name, equation.invars, None
        if name in CALLS:
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if name == "mul" and any(map(self._is_zero, atoms)):  # of noise that is not drawn
            self.known[out] = np.zeros(out.aval.shape)
        elif inner is None:
            values = [self.read(atom) for atom in atoms]
            found = self._applied(equation, values)
            several = equation.primitive.multiple_results
            self.known |= zip(equation.outvars, found if several else [found], strict=True)
        elif (called := equation.params.get("name")) == "relu":
            self.known[out] = self._rectified(self.read(atoms[0]))
        else:
            if called in NAMES and any(isinstance(self.read(atom), _Value) for atom in atoms):
                raise UserError(NAMES[called])
            arguments = [partial(self.read, atom) for atom in atoms]
            scope = _Scope(inner.jaxpr, inner.consts, arguments, self.layers)
            self.known[out] = scope.read(inner.jaxpr.outvars[equation.outvars.index(out)])

    def _rectified(self, value: Any) -> Any:
        if not isinstance(value, _Value):
            return jnp.maximum(value, 0)
        if not value.channels:
            raise UserError("a ReLU without weights before it")
        return self.layers.close(value, relu=True)

    def _applied(self, equation: Any, values: list[Any]) -> Any:
        """What an operation gives of its operands."""
        name, primitive = equation.primitive.name, equation.primitive
        if not any(isinstance(value, _Value) for value in values):
            return primitive.bind(*values, **equation.params)
        moving = [isinstance(value, _Value) for value in values]
        once = sum(moving) == 1
        if not (name in SUMS or (once and (name in PRODUCTS or (moving[0] and name in MOVES)))):
            products = name in PRODUCTS and not once
            raise UserError("a product of two results" if products else NAMES.get(name, name))
        if name in WEIGHTED:
            self._cut(equation.invars, values)
        own = [value for value in values if isinstance(value, _Value)]
        self.layers.require_last(own)
        rows = jax.vmap(
            partial(primitive.bind, **equation.params), [0 if moves else None for moves in moving]
        )(*(value.rows if isinstance(value, _Value) else value for value in values))
        channels = max(value.channels for value in own)
        channels = channels or rows.shape[-1] * (name in WEIGHTED)
        moved = name not in SAME or any(value.moved for value in own)
        return _Value(rows, len(self.layers.arrays), channels, moved)

    def _cut(self, atoms: Sequence[Any], values: list[Any]) -> None:
        """End a layer without a ReLU where its result is multiplied with weights again."""
        for place, (atom, value) in enumerate(zip(atoms, values, strict=True)):
            if isinstance(value, _Value) and value.channels:
                values[place] = self.known[atom] = self.layers.close(value, relu=False)


def _traced(network: Network, variables: Any, width: int) -> _Layers:
    """The layers of a network (variables, x (1, width)) -> (1, ...), with its variables."""
    traced = jax.make_jaxpr(network)(variables, jnp.zeros((1, width)))
    leaves = [partial(lambda leaf: leaf, leaf) for leaf in jax.tree.leaves(variables)]
    layers = _Layers()
    arguments = [*leaves, lambda: layers.input((1, width))]
    found = _Scope(traced.jaxpr, traced.consts, arguments, layers).read(traced.jaxpr.outvars[0])
    if not isinstance(found, _Value):
        raise UserError("a result that does not depend on its input")
    if found.channels:
        layers.close(found, relu=False)
    elif found.moved:
        raise UserError("a linear operation after its last ReLU")
    else:
        layers.require_last([found])
    return layers


def rectified(network: Network, variables: Any, width: int) -> list[bool]:
    """Which layers of a network have a ReLU.

    Args:
        network: pure function (variables, x (1, width)) -> (1, ...).
        variables: arrays, or their shapes.
        width: of its input.

    Raises:
        UserError: names an operation that is neither linear nor a ReLU.
    """
    found: list[_Layers] = []
    jax.eval_shape(lambda v: found.append(_traced(network, v, width)), variables)
    return found[0].relus


def layers_of(network: Network, variables: Any, width: int) -> list[Affine]:
    """The layers of a network, see `rectified`, computed in float64.

    Those of two other, drawn sets of variables show what entries of a matrix are the same weight.
    """
    rng, found = np.random.default_rng(0), []
    drawn = [
        jax.tree.map(lambda a: rng.uniform(0.5, 1.5, np.shape(a)), variables) for _ in range(2)
    ]

    def arrays(variables: Any) -> list[tuple[Array, Array]]:
        found.append(_traced(network, variables, width))
        return found[-1].arrays

    with jax.enable_x64(True):
        each = jax.tree.map(lambda *a: np.stack([np.float64(b) for b in a]), variables, *drawn)
        pairs = jax.tree.map(np.asarray, jax.jit(jax.vmap(arrays))(each))
    facts = zip(pairs, found[0].relus, found[0].channels, strict=True)
    return [shared(kernel, bias, relu, channels) for (kernel, bias), relu, channels in facts]
