"""Every operation number by number of jax on every type that translated scorers hold.

One function computes all of them from one table of operands, which hold what goes wrong: NaN,
infinities, both zeros, ties of rounding, and the ends of the integers.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

FLOATS = [
    *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -2.5, 3.7, -3.7, 88.5, -90.0, 1e-3, 7e5, -3e9, 3e9),
    *(2.0**31, -(2.0**31), 2.0**32, np.inf, -np.inf, np.nan),
]
INTEGERS = [0, 1, -1, 2, 3, -3, 5, 31, 32, 33, -7, 5000, 70_000, 2**31 - 1, -(2**31), -(2**31) + 1]
N = len(FLOATS) ** 2
TYPES = ("float32", "int32", "uint32", "bool")


class Case(NamedTuple):
    """function(a, b, c) -> (N,) of operands (N,) of the type `dtype`."""

    name: str
    dtype: str
    function: Callable[..., jax.Array]

    @property
    def label(self) -> str:
        return f"{self.name} {self.dtype}"


def table() -> np.ndarray:
    """(N, 7) float32: two floats and two integers, these in halves, and a truth."""
    floats = np.array([*itertools.product(FLOATS, FLOATS)], np.float32)
    a, b = np.array([*itertools.product(INTEGERS, INTEGERS)], np.int64).T
    halves = np.stack([a >> 16, a & 0xFFFF, b >> 16, b & 0xFFFF], 1)
    truth = np.arange(N) % 3 == 0
    return np.column_stack([floats, np.resize(halves, (N, 4)), truth]).astype(np.float32)


def operands(x: jax.Array) -> dict[str, tuple[jax.Array, jax.Array, jax.Array]]:
    """Three operands (N,) of every type, from columns (N,) of the table, exactly."""

    def whole(high: jax.Array, low: jax.Array) -> jax.Array:
        return high.astype(jnp.int32) * 65536 + low.astype(jnp.int32)

    a, b = whole(x[2], x[3]), whole(x[4], x[5])
    truth = x[6] != 0
    return {
        "float32": (x[0], x[1], x[6]),
        "int32": (a, b, x[3].astype(jnp.int32)),
        "uint32": (*(v.astype(jnp.uint32) for v in (a, b)), x[3].astype(jnp.uint32)),
        "bool": (truth, x[1] > 0, x[2] > 0),
    }


def _unary() -> Iterator[tuple[str, str, Callable]]:
    real = (
        *("exp", "exp2", "expm1", "log", "log1p", "sqrt", "cbrt", "rsqrt", "floor", "ceil"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
        *("asinh", "acosh", "atanh", "erf", "erfc", "logistic", "is_finite"),
    )
    for name in real:
        yield name, "float32", getattr(lax, name)
    for dtype in ("float32", "int32", "uint32"):
        for name in ("neg", "abs", "sign", "square"):
            if (name, dtype) != ("abs", "uint32"):
                yield name, dtype, getattr(lax, name)
        for y in (0, 1, 2, 3, 7):
            yield f"integer_pow {y}", dtype, lambda a, y=y: lax.integer_pow(a, y)
    for y in (-1, -2, -3):
        yield f"integer_pow {y}", "float32", lambda a, y=y: lax.integer_pow(a, y)
    for dtype in ("int32", "uint32", "bool"):
        yield "not", dtype, lax.bitwise_not
    for dtype in ("int32", "uint32"):
        yield "population_count", dtype, lax.population_count
    for way in lax.RoundingMethod:
        yield f"round {way.name}", "float32", lambda a, way=way: lax.round(a, way)
    for bits in ((8, 23), (8, 7), (5, 10)):
        yield f"reduce_precision {bits}", "float32", lambda a, b=bits: lax.reduce_precision(a, *b)
    for dtype, to in itertools.product(TYPES, (*TYPES, "int8", "uint8", "float16", "bfloat16")):
        if dtype != to:
            yield f"convert {to}", dtype, lambda a, to=to: lax.convert_element_type(a, to)
    numbers = TYPES[:3]
    for dtype, to in itertools.permutations(numbers, 2):
        yield f"bitcast {to}", dtype, lambda a, to=to: lax.bitcast_convert_type(a, to)


def _binary() -> Iterator[tuple[str, str, Callable]]:
    for dtype in TYPES:
        for name in ("eq", "ne", "lt", "le", "gt", "ge", "max", "min"):
            yield name, dtype, getattr(lax, name)
    for dtype in TYPES[:3]:
        for name in ("add", "sub", "mul", "div", "rem"):
            yield name, dtype, getattr(lax, name)
        yield "max number", dtype, lambda a, b: lax.max(a, lax.full_like(a, 1))
        yield "compare number", dtype, lambda a, b: lax.lt(lax.full_like(a, 3), a)
    for name in ("pow", "atan2", "nextafter"):
        yield name, "float32", getattr(lax, name)
    yield "pow 1.5", "float32", lambda a, b: lax.pow(a, jnp.float32(1.5))
    for dtype in TYPES[1:]:
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
            yield name, dtype, getattr(lax, name)
    for dtype in ("int32", "uint32"):
        for name in ("shift_left", "shift_right_logical", "shift_right_arithmetic"):
            yield name, dtype, getattr(lax, name)
        yield "rem 64", dtype, lambda a, b: lax.rem(a, lax.full_like(a, 64))
        yield "floor division by 3", dtype, lambda a, b: a // lax.full_like(a, 3)
        yield "div least", dtype, lambda a, b: lax.div(a, lax.full_like(a, 0) - 1)
        yield "least", dtype, lambda a, b: lax.max(a, lax.full_like(a, jnp.iinfo(a.dtype).min))
        yield "shift by 40", dtype, lambda a, b: lax.shift_left(a, lax.full_like(a, 40))


def _ternary() -> Iterator[tuple[str, str, Callable]]:
    for dtype in TYPES:
        yield "select_n", dtype, lambda a, b, c: lax.select_n(jnp.arange(len(a)) % 2 == 0, a, b)
        yield "select_n by b", dtype, lambda a, b, c: lax.select_n(b != c, a, c)
    for dtype in TYPES[:3]:
        yield "clamp", dtype, lambda a, b, c: lax.clamp(b, a, c)
        yield (
            "clamp numbers",
            dtype,
            lambda a, b, c: lax.clamp(lax.full((), 1, a.dtype), a, lax.full((), 5, a.dtype)),
        )


def cases() -> list[Case]:
    """Those with the same operands as one function."""
    some: list[Case] = []
    for n, source in ((1, _unary()), (2, _binary()), (3, _ternary())):
        for name, dtype, function in source:
            some.append(Case(name, dtype, lambda a, b, c, f=function, n=n: f(*(a, b, c)[:n])))
    return some


def reductions() -> list[Case]:
    """function(a, b, c) -> (rows,) of numbers in rows."""

    def of(name: str) -> Callable:
        primitive = getattr(lax, f"{name}_p")

        def reduced(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
            rows = b[: len(b) // 4 * 4].reshape(-1, 4)
            if name.startswith("reduce"):
                how = {"out_sharding": None} if name in ("reduce_sum", "reduce_prod") else {}
                try:
                    return primitive.bind(rows, axes=(1,), **how)
                except TypeError:
                    return primitive.bind(rows, axes=(1,))
            if name.startswith("arg"):
                return primitive.bind(rows, axes=(1,), index_dtype=np.dtype(np.int32))
            return primitive.bind(rows, axis=1, reverse=False)[:, 3]

        return reduced

    some = []
    for dtype in TYPES:
        for name in ("reduce_max", "reduce_min", "argmax", "argmin"):
            some.append(Case(name, dtype, of(name)))
    for dtype in TYPES[:3]:
        for name in ("reduce_sum", "reduce_prod", "cumsum", "cummax"):
            some.append(Case(name, dtype, of(name)))
        some.append(Case("dot_general", dtype, lambda a, b, c: jnp.stack([a[:8], b[:8]]).T @ a[:2]))
    for dtype in TYPES[1:]:
        for name in ("reduce_and", "reduce_or", "reduce_xor"):
            some.append(Case(name, dtype, of(name)))
    return some


def evaluated(some: list[Case]) -> Callable[[jax.Array], list[jax.Array]]:
    """Function of the table's columns (7, N) -> the outputs of the cases."""

    def function(x: jax.Array) -> list[jax.Array]:
        values = operands(x)
        return [case.function(*values[case.dtype]) for case in some]

    return function


RELATIVE = {
    "reduce_sum": 2e-4,
    "cumsum": 2e-4,
    "dot_general": 2e-4,
    "exp2": 1e-5,
    "pow": 1e-5,
    "asinh": 1e-5,
    "acosh": 1e-5,
}


def differences(
    some: list[Case],
    found: list[np.ndarray],
    absolute: dict[str, float],
    signed_zeros: bool,
    rows: np.ndarray | None = None,
) -> list[str]:
    """What differs from jax: a line a case with an example.

    Args:
        found: outputs of the cases on the table, truths as int32 or bool.
        absolute: errors that some operations may have.
        signed_zeros: whether zeros must keep their signs.
        rows: what was given instead of the table.
    """
    lines, given = [], (table() if rows is None else rows).T
    for case, ours, theirs in zip(some, found, jax.jit(evaluated(some))(given), strict=True):
        expected, operation = np.asarray(theirs), case.name.split()[0]
        if expected.dtype == np.float32:
            # Numbers below the smallest normal one may be flushed to 0.
            limits = RELATIVE.get(operation, 2e-6), absolute.get(operation, 1e-37)
            same = np.isclose(ours, expected, *limits, equal_nan=True)
            if signed_zeros:
                zeros = (ours == 0) & (expected == 0)
                same &= ~zeros | (np.signbit(ours) == np.signbit(expected))
        else:
            same = ours.astype(expected.dtype) == expected
        if not same.all():
            k = int(np.argmin(same))
            wrong = f"{np.sum(~same)} wrong, such as {k}: {ours[k]}, not {expected[k]}"
            lines.append(f"{case.label}: {wrong}")
    return lines
