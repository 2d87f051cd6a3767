"""A traced scorer as C++ statements, for one event with its parameters inside.

The jaxpr of `function(x)` is walked once. What depends on parameters alone is computed here; what
only moves numbers (slices, transpositions, constant indices) becomes places in the array that holds
them, found by moving the places themselves; the rest are loops of fixed length over float arrays.
Operations that a dense network, an encoder, a classifier or a flow does not need are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from jaxad.export.cpp.operations import (
    ELEMENTWISE,
    MOVED,
    REDUCED,
    SPECIAL,
    expression_of,
    literal,
    refusal,
    start_of,
    type_of,
)
from jaxad.export.jaxpr import computed, loop_parts, walk


@dataclass(frozen=True)
class Values:
    """An array known only at run time: element e is `buffer[place.ravel()[e]]` in C++."""

    buffer: str
    place: np.ndarray
    type: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.place.shape


Operand = Values | np.ndarray


def _kind(operand: Operand) -> str:
    return operand.type if isinstance(operand, Values) else type_of(operand.dtype)


def _strides(place: np.ndarray) -> list[int] | None:
    """Steps of an affine place along its axes, or None if it is not affine."""
    if not place.size:
        return None
    origin = place[(0,) * place.ndim]
    steps = [
        int(np.moveaxis(place, axis, 0)[1][(0,) * (place.ndim - 1)] - origin) if size > 1 else 0
        for axis, size in enumerate(place.shape)
    ]
    grid = np.indices(place.shape)
    affine = origin + sum(
        (step * index for step, index in zip(steps, grid, strict=True)), np.zeros(place.shape, int)
    )
    return steps if np.array_equal(affine, place) else None


class Translator:
    """Collects the constants and statements of one function."""

    def __init__(self) -> None:
        self.constants: dict[tuple[str, bytes], tuple[str, np.ndarray]] = {}
        self.lines: list[str] = []
        self._n_buffers = 0

    def _constant(self, array: np.ndarray, kind: str) -> str:
        array = np.ascontiguousarray(array)
        key = (kind, array.tobytes())
        return self.constants.setdefault(key, (f"c{len(self.constants)}", array))[0]

    def _values(self, operand: Operand) -> Values:
        if isinstance(operand, Values):
            return operand
        kind = type_of(operand.dtype)
        place = np.arange(operand.size).reshape(operand.shape)
        return Values(self._constant(operand, kind), place, kind)

    def _new(self, shape: Sequence[int], kind: str) -> Values:
        name, size = f"v{self._n_buffers}", prod(shape)
        self._n_buffers += 1
        self.lines.append(f"alignas(64) {kind} {name}[{max(size, 1)}];")
        return Values(name, np.arange(size).reshape(shape), kind)

    def _index(self, place: np.ndarray, i: str = "i") -> str:
        """Expression of place[i] for the flat loop variable `i`."""
        flat = place.ravel()
        steps = _strides(flat)
        if steps is None:
            return f"{self._constant(flat.astype(np.int32), 'int')}[{i}]"
        return _affine(int(flat[0]), [(steps[0], i)])

    def _element(self, operand: Operand, shape: Sequence[int], i: str = "i") -> str:
        if not isinstance(operand, Values):
            flat = operand.ravel()
            if flat.size and flat.tobytes() == flat[:1].tobytes() * flat.size:
                return literal(flat[0], type_of(operand.dtype))
            operand = self._values(np.broadcast_to(operand, shape))
        return f"{operand.buffer}[{self._index(np.broadcast_to(operand.place, shape), i)}]"

    def _loop(self, shape: Sequence[int], kind: str, expression: str) -> Values:
        out = self._new(shape, kind)
        n = prod(shape)
        self.lines.append(f"for (int i = 0; i < {n}; ++i) {out.buffer}[i] = {expression};")
        return out

    def copied(self, operand: Operand) -> Values:
        """The same in an array of its own, in row-major order."""
        kind = _kind(operand)
        return self._loop(operand.shape, kind, self._element(operand, operand.shape))

    def _regular(self, operand: Operand) -> tuple[Values, list[int]]:
        """The same with an affine place, and its steps."""
        values = self._values(operand)
        steps = _strides(values.place)
        if steps is None:
            values = self.copied(values)
            steps = _strides(values.place)
        return values, steps or [0] * len(values.shape)

    def translate(self, function: Any, inputs: Sequence[Operand]) -> list[Operand]:
        """Statements of a jaxpr with its constants; its outputs."""
        return walk(function, inputs, self._apply)

    def _apply(self, equation: Any, operands: list[Operand]) -> Sequence[Operand]:
        name, params = equation.primitive.name, equation.params
        avals = [variable.aval for variable in equation.outvars]
        if not operands:
            return computed(equation.primitive, operands, params)
        if name == "scan":
            return self._scan(equation, operands, avals)
        if name in MOVED:
            return self._move(equation, operands)
        if name == "dot_general":
            return [self._product(params["dimension_numbers"], *operands)]
        if name == "cumsum":
            return [self._cumulated(params["axis"], params["reverse"], operands[0])]
        if name in REDUCED:
            return [self._reduce(name, params["axes"], operands[0])]
        if name not in ELEMENTWISE and name not in SPECIAL:
            raise refusal(f"the operation {name!r} on events")
        kind, shape = type_of(avals[0].dtype), avals[0].shape
        elements = [self._element(operand, shape) for operand in operands]
        kinds = [_kind(operand) for operand in operands]
        expression = expression_of(name, params, elements, kinds, kind)
        return [self._loop(shape, kind, expression)]

    def _move(self, equation: Any, operands: list[Operand]) -> list[Operand]:
        """Places of what is moved; of several arrays, a new one that they are copied into."""
        name = equation.primitive.name
        chosen = MOVED[name] or tuple(range(len(operands)))
        fixed = [o for k, o in enumerate(operands) if k not in chosen]
        if any(isinstance(operand, Values) for operand in fixed):
            raise refusal(f"{name} with indices that depend on the event")
        starts = np.cumsum([0, *(prod(operands[k].shape) for k in chosen)])
        if starts[-1] > 2**24:  # the numbers that float32 counts
            raise refusal(f"{name} of {starts[-1]:,} numbers")
        numbers = list(operands)
        for start, k in zip(starts, chosen, strict=False):
            values = self._values(operands[k])
            # In the operand's own kind: the function that a scatter applies is typed.
            dtype = np.float32 if values.type == "float" else np.int32
            numbers[k] = (start + np.arange(values.place.size)).reshape(values.shape).astype(dtype)
        # What lies outside, and is to be filled, must not be taken for a place.
        params = equation.params | ({"fill_value": -1} if name == "gather" else {})
        moved = computed(equation.primitive, numbers, params)
        return [
            self._gathered(np.asarray(m).astype(np.int64), starts, [operands[k] for k in chosen])
            for m in moved
        ]

    def _gathered(self, numbers: np.ndarray, starts: np.ndarray, sources: list) -> Operand:
        if not numbers.size:
            return np.zeros(numbers.shape, np.float32)
        if not 0 <= numbers.min() <= numbers.max() < starts[-1]:
            raise refusal("indices outside of an array")
        owner = np.searchsorted(starts, numbers.ravel(), side="right") - 1
        used = np.unique(owner)
        if len(used) == 1:
            source = sources[used[0]]
            local = numbers - starts[used[0]]
            if not isinstance(source, Values):
                return np.asarray(source).ravel()[local]
            return Values(source.buffer, source.place.ravel()[local], source.type)
        out = self._new(numbers.shape, self._values(sources[used[0]]).type)
        for k in used:
            to = np.flatnonzero(owner == k)
            local = numbers.ravel()[to] - starts[k]
            source = sources[k]
            if isinstance(source, Values):
                part: Operand = Values(source.buffer, source.place.ravel()[local], source.type)
            else:
                part = np.asarray(source).ravel()[local]
            value = self._element(part, part.shape)
            self.lines.append(
                f"for (int i = 0; i < {len(to)}; ++i) {out.buffer}[{self._index(to)}] = {value};"
            )
        return out

    def _reduce(self, name: str, axes: Sequence[int], operand: Operand) -> Values:
        values = self._values(operand)
        kept = [axis for axis in range(len(values.shape)) if axis not in axes]
        shape = [values.shape[axis] for axis in kept]
        place = values.place.transpose(*kept, *axes).reshape(prod(shape), -1)
        n = place.shape[1]
        if n == 1:
            return Values(values.buffer, place.reshape(shape), values.type)
        values, (outer, inner) = self._regular(Values(values.buffer, place, values.type))
        out, start = self._new(shape, values.type), int(values.place[0, 0])
        source = f"{values.buffer} + {_affine(start, [(outer, 'o')])}"
        if name == "reduce_sum" and values.type == "float":
            body = f"sum<{n}, {inner}>({source})"
            self.lines.append(f"for (int o = 0; o < {len(place)}; ++o) {out.buffer}[o] = {body};")
            return out
        pair = ["a", f"({source})[{_affine(0, [(inner, 'i')])}]"]
        step = expression_of(REDUCED[name], {}, pair, [values.type] * 2, values.type)
        self.lines.append(
            f"for (int o = 0; o < {len(place)}; ++o) {{ {values.type} a = "
            f"{start_of(name, values.type)}; "
            f"for (int i = 0; i < {n}; ++i) a = {step}; {out.buffer}[o] = a; }}"
        )
        return out

    def _cumulated(self, axis: int, reverse: bool, operand: Operand) -> Values:
        """Sums of all elements up to each one along an axis, or from it on."""
        element = self._element(operand, operand.shape)
        start = " + 0.0f" if _kind(operand) == "float" else ""  # of -0 the sum is 0
        values = self._loop(operand.shape, _kind(operand), element + start)
        place = np.moveaxis(values.place, axis, -1)
        place = place[..., ::-1] if reverse else place
        for row in place.reshape(-1, place.shape[-1]):
            pair = [f"{values.buffer}[{self._index(r, '(i - 1)')}]" for r in (row[1:], row[:-1])]
            added = expression_of("add", {}, pair, [values.type] * 2, values.type)
            self.lines.append(f"for (int i = 1; i < {len(row)}; ++i) {pair[0]} = {added};")
        return values

    def _product(self, dimensions: Any, lhs: Operand, rhs: Operand) -> Values:
        """Matrix products (b, m, k) (b, k, n); the inner loop runs along rows of the weights."""
        (lhs_sum, rhs_sum), (lhs_batch, rhs_batch) = dimensions
        if {_kind(lhs), _kind(rhs)} != {"float"}:
            raise refusal("a matrix product of integers")
        left, left_shape = self._canonical(lhs, lhs_batch, lhs_sum)
        right, right_shape = self._canonical(rhs, rhs_batch, rhs_sum)
        batch = [lhs.shape[axis] for axis in lhs_batch]
        out = self._new([*batch, *left_shape, *right_shape], "float")
        (n_batch, n_sum, m), n = left.shape, right.shape[2]
        sides = [(left, (m * n, n)), (right, (m * n, 1))]  # operand, its steps in the output
        # Weights: the constant, or the one with more outputs.
        if not isinstance(left, Values) or (isinstance(right, Values) and m > n):
            sides.reverse()
        (data, (ob, og)), (weights, (_, of)) = sides
        n_data, n_weights = data.shape[2], weights.shape[2]
        data, (db, dk, dg) = self._regular(data)
        weights, (wb, wk, wf) = self._regular(weights)
        d = _affine(int(data.place.flat[0]), [(db, "b"), (dg, "g")])
        w = _affine(int(weights.place.flat[0]), [(wb, "b")])
        target = f"{out.buffer} + {_affine(0, [(ob, 'b'), (og, 'g')])}"
        self.lines.append(
            f"for (int b = 0; b < {n_batch}; ++b) for (int g = 0; g < {n_data}; ++g) "
            f"product<{n_sum}, {n_weights}, {dk}, {wk}, {wf}, {of}>"
            f"({data.buffer} + {d}, {weights.buffer} + {w}, {target});"
        )
        return out

    def _canonical(self, operand: Operand, batch: Sequence, summed: Sequence) -> tuple:
        """The operand as (batch, summed, free), and the shape of its free axes."""
        free = [a for a in range(len(operand.shape)) if a not in (*batch, *summed)]
        order = [*batch, *summed, *free]
        shape = [prod(operand.shape[axis] for axis in axes) for axes in (batch, summed, free)]
        free_shape = [operand.shape[axis] for axis in free]
        if isinstance(operand, Values):
            place = operand.place.transpose(order).reshape(shape)
            return Values(operand.buffer, place, operand.type), free_shape
        return np.ascontiguousarray(operand.transpose(order).reshape(shape)), free_shape

    def _scan(self, equation: Any, operands: list[Operand], avals: Sequence) -> list[Operand]:
        """A loop: carried arrays are copied in and out, scanned ones are read by a pointer."""
        loop = loop_parts(equation, operands)
        n_carry, length = len(loop.carry), loop.length
        carry = [self.copied(operand) for operand in loop.carry]
        scanned = [self._regular_rows(operand) for operand in loop.scanned]
        outputs = [self._new(aval.shape, type_of(aval.dtype)) for aval in avals[n_carry:]]
        counter = f"k{self._n_buffers}"
        self._n_buffers += 1
        step = f"({length - 1} - {counter})" if loop.reverse else counter
        self.lines.append(f"for (int {counter} = 0; {counter} < {length}; ++{counter}) {{")
        rows: list[Operand] = []
        for values in scanned:
            name, place = f"p{self._n_buffers}", values.place[0] if length else values.place
            self._n_buffers += 1
            stride = int(values.place[1].flat[0] - values.place[0].flat[0]) if length > 1 else 0
            self.lines.append(
                f"const {values.type}* {name} = {values.buffer} + {_affine(0, [(stride, step)])};"
            )
            rows.append(Values(name, place, values.type))
        found = self.translate(loop.body, [*loop.consts, *carry, *rows])
        # Before the carried arrays change: an output may be one of them.
        for output, operand in zip(outputs, found[n_carry:], strict=True):
            n = prod(operand.shape)
            self._assign(f"({output.buffer} + {_affine(0, [(n, step)])})", operand)
        new = [self.copied(operand) for operand in found[:n_carry]]
        for old, values in zip(carry, new, strict=True):
            self._assign(old.buffer, values)
        self.lines.append("}")
        return [*carry, *outputs]

    def _regular_rows(self, operand: Operand) -> Values:
        """The operand with equal places in every row but for a constant step."""
        values = self._values(operand)
        first = values.place.reshape(len(values.place), -1)
        steps = _strides(first[:, 0])
        regular = steps is not None and np.array_equal(
            first - first[:, :1], first[:1] - first[0, 0] + np.zeros_like(first)
        )
        return values if regular else self.copied(values)

    def _assign(self, target: str, operand: Operand) -> None:
        value = self._element(operand, operand.shape)
        self.lines.append(f"for (int i = 0; i < {prod(operand.shape)}; ++i) {target}[i] = {value};")


def _affine(start: int, terms: Sequence[tuple[int, str]]) -> str:
    parts = [f"{step} * {name}" if step != 1 else name for step, name in terms if step]
    return " + ".join([str(start), *parts] if start or not parts else parts)
