"""The nodes of an ONNX graph whose tensors all have the events of a batch as their first axis.

A traced function of one event becomes a graph of n events by construction: an array of shape s is a
tensor (n, ...), the axes of an operation are counted one further, and nothing but axis 0 ever
depends on n. Axes of size 1, and axes along which numbers only repeat, are left out of the tensors
and come back where an operation needs them: what only adds or drops such axes costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxad.errors import UserError

TYPES = {"float32": 1, "int32": 6, "int64": 7, "bool": 9, "float64": 11, "uint32": 12}
"""dtype -> ONNX's number of it."""
RAW = "raw"


def refusal(what: str) -> UserError:
    return UserError(f"ONNX: no translation for {what}: export as stablehlo")


@dataclass(frozen=True)
class Values:
    """An array of every event, known only at run time.

    Attributes:
        name: of its tensor, whose axes are the events and those of `held` that are not 1.
        shape: of one event; a size may be a symbol, for any number of particles.
        held: the same, but 1 where the numbers repeat.
        dtype: of its numbers.
    """

    name: str
    shape: tuple
    held: tuple
    dtype: np.dtype

    @property
    def axes(self) -> list[int]:
        """The axes that the tensor has, beside that of the events."""
        return [k for k, size in enumerate(self.held) if size != 1]


Operand = Values | np.ndarray


@dataclass(frozen=True)
class Node:
    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    domain: str


class Graph:
    """Collects nodes and constants; the `named` ones may be changed in the finished model.

    Args:
        shape: of one raw event, sizes as of `Values`.
    """

    def __init__(self, shape: Sequence):
        self.nodes: list[Node] = []
        self.constants: dict[tuple, tuple[str, np.ndarray]] = {}
        self.named: dict[str, np.ndarray] = {}
        self._shared: dict[tuple, list[str]] = {}
        self.raw = self.wrapped(RAW, shape, np.float32)

    def constant(self, array: np.ndarray) -> str:
        """Name of a constant; equal ones are stored once."""
        if array.dtype.name not in TYPES:
            raise refusal(f"numbers of type {array.dtype}")
        key = (array.dtype.str, array.shape, array.tobytes())
        return self.constants.setdefault(key, (f"c{len(self.constants)}", array))[0]

    def number(self, value: float, dtype: Any) -> str:
        return self.constant(np.array(value, dtype))

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def add(
        self, op: str, *inputs: str, n_outputs: int = 1, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Names of the outputs of a node; an equal node is not added twice."""
        key = (op, inputs, n_outputs, domain, tuple(sorted(attributes.items())))
        if key not in self._shared:
            outputs = [f"{op}_{len(self.nodes)}_{k}" for k in range(n_outputs)]
            self.nodes.append(Node(op, list(inputs), outputs, attributes, domain))
            self._shared[key] = outputs
        return self._shared[key]

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Name of the only output of a node."""
        return self.add(op, *inputs, **attributes)[0]

    def needed(self, outputs: Sequence[str]) -> tuple[list[Node], dict[str, np.ndarray]]:
        """The nodes and constants that outputs depend on."""
        wanted, nodes = set(outputs), []
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs):
                nodes.append(node)
                wanted.update(node.inputs)
        constants = {name: array for name, array in self.constants.values() if name in wanted}
        return nodes[::-1], constants | self.named

    def rename(self, old: str, new: str) -> None:
        """Give a tensor another name."""
        for node in self.nodes:
            node.inputs[:] = [new if name == old else name for name in node.inputs]
            node.outputs[:] = [new if name == old else name for name in node.outputs]

    def wrapped(self, name: str, shape: Sequence, dtype: Any) -> Values:
        """The values of a tensor that has every axis of its shape."""
        found = Values(name, tuple(shape), tuple(shape), np.dtype(dtype))
        if 1 not in found.shape:
            return found
        dims = [size for size in shape if size != 1]
        return Values(self._reshape(name, dims), found.shape, found.held, found.dtype)

    def _reshape(self, name: str, dims: Sequence) -> str:
        return self.node("Reshape", name, self.target(self.integers([0]), dims))

    def target(self, first: str, dims: Sequence) -> str:
        """Name of a shape (first, *dims)."""
        if all(isinstance(size, int) for size in dims) and first == self.integers([0]):
            return self.integers([0, *dims])
        sizes = [self.integers([k]) if isinstance(k, int) else self.size(k) for k in dims]
        return self.node("Concat", first, *sizes, axis=0)

    def laid(self, values: Values, axes: Sequence[int]) -> str:
        """Name of a tensor with exactly these axes, of size 1 where `values` hold but one."""
        if list(axes) == values.axes:
            return values.name
        return self._reshape(values.name, [values.held[axis] for axis in axes])

    def explicit(self, operand: Operand) -> str:
        """Name of a tensor with every axis and every number of the operand."""
        values = self.full(operand)
        return self.laid(values, range(len(values.shape)))

    def size(self, symbol: Any) -> str:
        """An int64 tensor (1,): the size that a symbol of the raw event's shape stands for.

        Or that and a number, of arrays to which something is appended.
        """
        for axis, known in enumerate(self.raw.shape):
            more = None if isinstance(known, int) else symbol - known
            if isinstance(more, int):
                size = self.node("Shape", RAW, start=axis + 1, end=axis + 2)
                return self.node("Add", size, self.integers([more])) if more else size
        raise refusal(f"an axis of size {symbol}")

    def full(self, operand: Operand, shape: Sequence | None = None) -> Values:
        """The operand with no number left out; `shape` is that of a constant, if not its own."""
        if not isinstance(operand, Values):
            shape = tuple(operand.shape if shape is None else shape)
            one = Values(self.constant(operand[None]), shape, operand.shape, operand.dtype)
            first, source = self.node("Shape", RAW, start=0, end=1), one.name
        else:
            if operand.held == operand.shape:
                return operand
            shape = operand.shape
            first, source = self.integers([1]), self.laid(operand, range(len(shape)))
        name = self.node("Expand", source, self.target(first, shape))
        return self.wrapped(name, shape, operand.dtype)

    def reshaped(self, values: Values, shape: Sequence) -> Values:
        """The same numbers in row-major order; free where only axes of size 1 come and go."""
        shape = tuple(shape)
        held = _without_ones(values, shape)
        if held is not None:
            return Values(values.name, shape, held, values.dtype)
        name = self._reshape(self.full(values).name, [size for size in shape if size != 1])
        return Values(name, shape, shape, values.dtype)

    def transposed(self, values: Values, order: Sequence[int]) -> Values:
        shape, held = (tuple(sizes[k] for k in order) for sizes in (values.shape, values.held))
        moved = [values.axes.index(k) for k in order if k in values.axes]
        name = values.name
        if moved != sorted(moved):
            name = self.node("Transpose", name, perm=(0, *(k + 1 for k in moved)))
        return Values(name, shape, held, values.dtype)

    def cast(self, values: Values, dtype: Any) -> Values:
        dtype = np.dtype(dtype)
        if dtype == values.dtype:
            return values
        if dtype.name not in TYPES:
            raise refusal(f"numbers of type {dtype}")
        name = self.node("Cast", values.name, to=TYPES[dtype.name])
        return Values(name, values.shape, values.held, dtype)

    def together(self, operands: Sequence[Operand], shape: Sequence) -> tuple[list[str], tuple]:
        """Names of tensors that broadcast against each other to a shape, and what is held then.

        An operand has the shape itself, or none.
        """
        compact = [o if isinstance(o, Values) else _compact(o) for o in operands]
        sizes = [o.held if isinstance(o, Values) else o.shape for o in compact]
        if any(len(s) not in (0, len(shape)) for s in sizes):
            raise refusal("an operation on arrays of different ranks")
        axes = [k for k in range(len(shape)) if any(s and s[k] != 1 for s in sizes)]
        names = []
        for operand, own in zip(compact, sizes, strict=True):
            if isinstance(operand, Values):
                spread = Values(operand.name, tuple(shape), own or (1,) * len(shape), operand.dtype)
                names.append(self.laid(spread, axes))
            else:
                names.append(self.constant(operand.reshape([own[k] for k in axes] if own else ())))
        return names, tuple(size if k in axes else 1 for k, size in enumerate(shape))


def _without_ones(values: Values, shape: Sequence) -> tuple | None:
    """How `values` are held in a shape that differs by axes of size 1; None if by more."""
    kept = [k for k, size in enumerate(values.shape) if size != 1]
    if [values.shape[k] for k in kept] != [size for size in shape if size != 1]:
        return None
    held = iter([values.held[k] for k in kept])
    return tuple(1 if size == 1 else next(held) for size in shape)


def _compact(array: np.ndarray) -> np.ndarray:
    """The array with one element along every axis where its numbers only repeat."""
    for axis, size in enumerate(array.shape):
        first = array.take([0], axis) if size else array
        if size > 1 and np.array_equal(np.broadcast_to(first, array.shape), array):
            array = first
    return array
