"""Operations number by number of a traced scorer, in the operators of ONNX.

Floats and integers, and the bits of uint32, into which those of floats are computed. Zeros may lose
their signs, which ONNX Runtime does not keep; `atan2` sees those of its operands.
ONNX has no log1p, expm1, erfc or atan2. The first three are written out with errors of about 1e-7,
which is all that sums of them need; the last by the arctangent of the smaller ratio. Clip is not
used, because ROOT's SOFIE does not read it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from jaxad.export.onnx.graph import TYPES, Graph, Operand, Values, refusal

SAME = {
    **{"add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg"},
    **{"max": "Max", "min": "Min", "pow": "Pow", "abs": "Abs", "sign": "Sign", "erf": "Erf"},
    **{"exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh", "logistic": "Sigmoid"},
    **{"floor": "Floor", "ceil": "Ceil", "sin": "Sin", "cos": "Cos", "tan": "Tan"},
    **{"asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh"},
    **{"asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "eq": "Equal", "lt": "Less"},
    **{"le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"},
    **{"and": "And", "or": "Or", "xor": "Xor", "not": "Not"},
}
"""Primitives of jax -> operators that do the same."""
PASSED = ("stop_gradient", "copy", "copy_p")


class Arithmetic:
    """Nodes of operators on tensors that broadcast, and on Python numbers of one type."""

    def __init__(self, graph: Graph, dtype: Any):
        self._graph, self.dtype = graph, np.dtype(dtype)
        self.signed = self.dtype.kind == "i"

    def nonzero(self, name: str) -> bool:
        """Whether a tensor is constant and nowhere 0."""
        return any(n == name and np.all(array) for n, array in self._graph.constants.values())

    def __getattr__(self, op: str) -> Callable[..., str]:
        def node(*inputs: str | float, **attributes: Any) -> str:
            names = [
                i if isinstance(i, str) else self._graph.number(i, getattr(i, "dtype", self.dtype))
                for i in inputs
            ]
            return self._graph.node(op, *names, **attributes)

        return node


def _power(o: Arithmetic, a: str, params: dict) -> str:
    y = params["y"]
    if y < 0:
        return o.Reciprocal(_power(o, a, {"y": -y}))
    if y < 2:
        return o.Identity(a) if y else o.Pow(a, 0)
    half = _power(o, a, {"y": y // 2}) if y > 3 else a
    return o.Mul(o.Mul(half, half), a) if y % 2 else o.Mul(half, half)


def _atan2(o: Arithmetic, y: str, x: str, params: dict) -> str:
    """In [-pi, pi], with the signs of zeros."""
    wide, tall = o.Abs(x), o.Abs(y)
    larger = o.Max(wide, tall)
    ratio = o.Div(o.Min(wide, tall), o.Where(o.Greater(larger, 0), larger, 1))
    ratio = o.Where(o.Equal(wide, np.inf), o.Where(o.Equal(tall, np.inf), 1, ratio), ratio)
    angle = o.Atan(ratio)
    angle = o.Where(o.Greater(tall, wide), o.Sub(np.pi / 2, angle), angle)
    angle = o.Where(_negative(o, x), o.Sub(np.pi, angle), angle)
    return o.Where(_negative(o, y), o.Neg(angle), angle)


def _negative(o: Arithmetic, a: str) -> str:
    """Whether a number has a minus, -0 too."""
    return o.Or(o.Less(a, 0), o.Less(o.Div(1, a), 0))


def _quotient(o: Arithmetic, a: str, b: str, params: dict) -> str:
    """Of integers; all bits where the divisor is 0, as in XLA, and ONNX Runtime would stop."""
    if o.nonzero(b):
        return o.Div(a, b)
    zero = o.Equal(b, 0)
    return o.Where(zero, -1 if o.signed else 2**32 - 1, o.Div(a, o.Where(zero, 1, b)))


def _remainder(o: Arithmetic, a: str, b: str, params: dict) -> str:
    """Of integers; the number itself where the divisor is 0. Its sign is that of `a`."""
    as_c = {"fmod": 1} if o.signed else {}
    if o.nonzero(b):
        return o.Mod(a, b, **as_c)
    zero = o.Equal(b, 0)
    return o.Where(zero, a, o.Mod(a, o.Where(zero, 1, b), **as_c))


def _whole(o: Arithmetic, a: str, dtype: np.dtype) -> str:
    """Floats without their fractions; the nearest there is where too large, 0 for NaN.

    In floats, because ONNX Runtime's Min and Max of int64 are wrong beyond 32 bits (1.31).
    """
    limits = np.iinfo(dtype)
    beyond = np.float32(limits.max)
    held = o.Max(o.Where(o.Equal(a, a), a, 0), float(limits.min))
    cast = o.Cast(o.Min(held, np.nextafter(beyond, np.float32(0))), to=TYPES[dtype.name])
    return o.Where(o.GreaterOrEqual(held, beyond), np.array(limits.max, dtype), cast)


def _product(o: Arithmetic, a: str, b: str, params: dict) -> str:
    """Of uint32, which wraps around."""
    a, b, low = (o.Cast(each, to=TYPES["int64"]) for each in (a, b, 2**32 - 1))
    return o.Cast(o.BitwiseAnd(o.Mul(a, b), low), to=TYPES["uint32"])


def _bits(o: Arithmetic, x: str) -> str:
    """The bits of float32 as uint32, by arithmetic in float64, which `o` writes."""
    x = o.Cast(x, to=TYPES["float64"])
    size = o.Abs(x)
    # Exact powers of two are 8e-8 above their neighbour and must not fall below themselves.
    power = o.Floor(o.Add(o.Div(o.Log(size), np.log(2)), 1e-9))
    power = o.Min(o.Max(power, -126), 127)
    bits = o.Mul(o.Add(power, 126), 2**23)
    bits = o.Min(o.Add(bits, o.Round(o.Mul(size, o.Pow(2, o.Sub(23, power))))), 0x7F800000)
    bits = o.Where(o.IsNaN(x), 0x7FC00000, bits)
    negative = o.Or(o.Less(x, 0), o.Less(o.Div(1, x), 0))
    return o.Cast(o.Where(negative, o.Add(bits, 2**31), bits), to=TYPES["uint32"])


def _round(o: Arithmetic, a: str, params: dict) -> str:
    if int(params["rounding_method"]) != 1:
        raise refusal("rounding away from zero")
    return o.Round(a)


COMPOSED: dict[str, Callable[..., str]] = {
    "ne": lambda o, a, b, p: o.Not(o.Equal(a, b)),
    "log1p": lambda o, a, p: o.Log(o.Add(a, 1)),
    "expm1": lambda o, a, p: o.Sub(o.Exp(a), 1),
    "erfc": lambda o, a, p: o.Sub(1, o.Erf(a)),
    "exp2": lambda o, a, p: o.Pow(2, a),
    "rsqrt": lambda o, a, p: o.Reciprocal(o.Sqrt(a)),
    "square": lambda o, a, p: o.Mul(a, a),
    "is_finite": lambda o, a, p: o.LessOrEqual(o.Abs(a), np.finfo(np.float32).max),
    "rem": lambda o, a, b, p: o.Mod(a, b, fmod=1),
    "clamp": lambda o, low, a, high, p: o.Min(o.Max(a, low), high),
    "integer_pow": _power,
    "atan2": _atan2,
    "round": _round,
}
INTEGERS: dict[str, Callable[..., str]] = COMPOSED | {"div": _quotient, "rem": _remainder}
UNSIGNED: dict[str, Callable[..., str]] = {
    "and": lambda o, a, b, p: o.BitwiseAnd(a, b),
    "or": lambda o, a, b, p: o.BitwiseOr(a, b),
    "xor": lambda o, a, b, p: o.BitwiseXor(a, b),
    "not": lambda o, a, p: o.BitwiseNot(a),
    "shift_left": lambda o, a, b, p: o.BitShift(a, b, direction="LEFT"),
    "shift_right_logical": lambda o, a, b, p: o.BitShift(a, b, direction="RIGHT"),
    "neg": lambda o, a, p: o.Sub(0, a),
    "mul": _product,
    "square": lambda o, a, p: _product(o, a, a, p),
    **{name: INTEGERS[name] for name in ("div", "rem", "ne", "clamp")},
}
TRUTHS: dict[str, Callable[..., str]] = {
    "ne": COMPOSED["ne"],
    "lt": lambda o, a, b, p: o.And(o.Not(a), b),
    "le": lambda o, a, b, p: o.Or(o.Not(a), b),
    "gt": lambda o, a, b, p: o.And(a, o.Not(b)),
    "ge": lambda o, a, b, p: o.Or(a, o.Not(b)),
    "max": lambda o, a, b, p: o.Or(a, b),
    "min": lambda o, a, b, p: o.And(a, b),
}
KINDS = {"f": COMPOSED, "i": INTEGERS, "u": UNSIGNED, "b": TRUTHS}
"""Primitives of jax that are written out, by the kind of their operands."""


def apply(graph: Graph, equation: Any, operands: list[Operand]) -> Values | None:
    """The output of an operation number by number; None if it is not one."""
    name, params, aval = equation.primitive.name, equation.params, equation.outvars[0].aval
    if name in PASSED:
        return operands[0]
    if name == "convert_element_type":
        return _converted(graph, operands[0], np.dtype(params["new_dtype"]))
    if name == "bitcast_convert_type":
        if (operands[0].dtype, params["new_dtype"]) != (np.float32, np.uint32):
            raise refusal(f"the bits of {operands[0].dtype} as {params['new_dtype']}")
        found = _bits(Arithmetic(graph, np.float64), operands[0].name)
        return replace(operands[0], name=found, dtype=np.dtype(np.uint32))
    if name == "reduce_precision":
        if (params["exponent_bits"], params["mantissa_bits"]) != (8, 23):
            raise refusal("numbers rounded to fewer bits")
        return operands[0]
    if name == "select_n":
        return _selected(graph, operands, aval)
    composed = KINDS.get(operands[0].dtype.kind, {}).get(name)
    if name not in SAME and composed is None:
        return None
    if aval.dtype.name not in TYPES:
        raise refusal(f"numbers of type {aval.dtype}")
    if name in ("and", "or", "xor", "not") and aval.dtype not in (bool, np.uint32):
        raise refusal(f"the operation {name!r} on signed bits")
    names, held = graph.together(operands, aval.shape)
    if composed is not None:
        found = composed(Arithmetic(graph, operands[0].dtype), *names, params)
    else:
        found = graph.node(SAME[name], *names)
    return Values(found, aval.shape, held, aval.dtype)


def _converted(graph: Graph, values: Values, dtype: np.dtype) -> Values:
    if values.dtype.kind == "f" and dtype.kind in "iu" and dtype.name in TYPES:
        found = _whole(Arithmetic(graph, values.dtype), values.name, dtype)
        return replace(values, name=found, dtype=dtype)
    return graph.cast(values, dtype)


def _selected(graph: Graph, operands: list[Operand], aval: Any) -> Values:
    if len(operands) != 3 or operands[0].dtype != bool:
        raise refusal("a choice of more than two")
    (which, if_false, if_true), held = graph.together(operands, aval.shape)
    if aval.dtype == bool:
        o = Arithmetic(graph, bool)
        found = o.Or(o.And(which, if_true), o.And(o.Not(which), if_false))
    else:
        found = graph.node("Where", which, if_true, if_false)
    return Values(found, aval.shape, held, aval.dtype)
