"""The operations of a traced scorer that have a C++ form, and how C++ writes numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxad.errors import UserError

TYPES = {"float32": "float", "int32": "int", "uint32": "unsigned", "bool": "truth"}

FUNCTIONS = (
    *("exp2", "expm1", "log", "log1p", "sqrt", "cbrt", "floor", "ceil", "sinh", "cosh"),
    *("asinh", "acosh", "atanh", "sin", "cos", "tan", "asin", "acos", "atan", "erf"),
    *("erfc", "pow", "atan2"),
)
ELEMENTWISE: dict[str, str] = {
    **{name: f"std::{name}({{}})" for name in FUNCTIONS if name not in ("pow", "atan2")},
    **{name: f"std::{name}({{}}, {{}})" for name in ("pow", "atan2")},
    **{"add": "{} + {}", "add_any": "{} + {}", "sub": "{} - {}", "mul": "{} * {}"},
    **{"div": "quotient({}, {})", "neg": "-({})", "square": "power<2>({})", "abs": "size({})"},
    **{"eq": "{} == {}", "ne": "{} != {}", "lt": "{} < {}", "le": "{} <= {}"},
    **{"gt": "{} > {}", "ge": "{} >= {}", "and": "{} & {}", "or": "{} | {}", "xor": "{} ^ {}"},
    **{"max": "larger({}, {})", "min": "smaller({}, {})", "rem": "remainder_of({}, {})"},
    **{"sign": "sign({})", "is_finite": "std::isfinite({})", "rsqrt": "1.0f / std::sqrt({})"},
    **{"tanh": "tanh_of({})", "exp": "exp_of({})"},
    **{"logistic": "1.0f / (1.0f + exp_of(-({})))", "clamp": "smaller(larger({1}, {0}), {2})"},
    **{"stop_gradient": "{}", "copy": "{}", "copy_p": "{}"},
    **{"shift_left": "shifted_left({}, {})", "shift_right_logical": "shifted_right({}, {})"},
    **{"shift_right_arithmetic": "shifted_right_signed({}, {})"},
}
UNSIGNED = "static_cast<unsigned>({})"
WRAPPED = {
    name: f"static_cast<int>({UNSIGNED} {sign} {UNSIGNED})"
    for name, sign in (("add", "+"), ("add_any", "+"), ("sub", "-"), ("mul", "*"))
} | {"neg": f"static_cast<int>(0u - {UNSIGNED})"}
"""Of signed integers, which wrap around in jax and must not overflow in C++."""
SPECIAL = (
    *("select_n", "convert_element_type", "bitcast_convert_type", "integer_pow", "not", "round"),
    "reduce_precision",
)
MOVED: dict[str, tuple[int, ...] | None] = {  # the operands that are moved; None: all
    **dict.fromkeys(("reshape", "squeeze", "expand_dims", "transpose", "broadcast_in_dim"), (0,)),
    **dict.fromkeys(("slice", "rev", "gather", "dynamic_slice", "split"), (0,)),
    **dict.fromkeys(("concatenate", "stack", "pad"), None),
    **{"scatter": (0, 2), "dynamic_update_slice": (0, 1)},
}
REDUCED = {
    **{"reduce_sum": "add", "reduce_prod": "mul", "reduce_max": "max", "reduce_min": "min"},
    **{"reduce_and": "and", "reduce_or": "or", "reduce_xor": "xor"},
}
"""Reductions -> the operation of two numbers."""
LEAST = {"float": -np.inf, "int": -(2**31), "unsigned": 0, "truth": 0}
LARGEST = {"float": np.inf, "int": 2**31 - 1, "unsigned": 2**32 - 1, "truth": 1}
BITS = {"int": -1, "unsigned": 2**32 - 1, "truth": 1}


def refusal(what: str) -> UserError:
    return UserError(
        f"C++: no translation for {what}: this format is for dense networks, encoders, "
        "classifiers and flows on events of fixed size; export as stablehlo"
    )


def type_of(dtype: Any) -> str:
    name = np.dtype(dtype).name
    if name not in TYPES:
        raise refusal(f"numbers of type {name}")
    return TYPES[name]


def literal(value: Any, kind: str) -> str:
    """A number as C++ writes it."""
    if kind == "truth":
        return "1" if value else "0"
    if kind != "float":
        if value == LEAST["int"]:
            return f"({int(value) + 1} - 1)"  # C++ has no literal of it
        return f"{int(value)}" + ("u" if kind == "unsigned" else "")
    if not np.isfinite(value):
        limits = "std::numeric_limits<float>::"
        return (
            limits + "quiet_NaN()"
            if np.isnan(value)
            else f"{'-' if value < 0 else ''}{limits}infinity()"
        )
    text = f"{np.float32(value):.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def start_of(reduction: str, kind: str) -> str:
    """What a reduction of no numbers gives."""
    starts = {"reduce_max": LEAST, "reduce_min": LARGEST, "reduce_and": BITS}
    one_or_zero = dict.fromkeys(LEAST, int(reduction == "reduce_prod"))
    return literal(starts.get(reduction, one_or_zero)[kind], kind)


def expression_of(
    name: str, params: dict, elements: list[str], kinds: Sequence[str], kind: str
) -> str:
    """An operation on `elements` of some `kinds`, whose result is of `kind`."""
    if name == "select_n":
        if len(elements) != 3:
            raise refusal("a choice of more than two")
        return f"{elements[0]} ? {elements[2]} : {elements[1]}"
    if name == "convert_element_type":
        if kind == "truth":
            return f"{elements[0]} != 0"
        if kinds[0] == "float" and kind != "float":
            return f"whole<{kind}>({elements[0]})"
        return f"static_cast<{kind}>({elements[0]})"
    if name == "bitcast_convert_type":
        return f"bits_as<{kind}>({elements[0]})"
    if name == "integer_pow":
        return f"power<{params['y']}>({elements[0]})"
    if name == "round":
        to_even = int(params["rounding_method"]) == 1
        return f"std::{'nearbyint' if to_even else 'round'}({elements[0]})"
    if name == "not":
        return f"{'!' if kind == 'truth' else '~'}({elements[0]})"
    if name == "reduce_precision":
        if (params["exponent_bits"], params["mantissa_bits"]) != (8, 23):
            raise refusal("numbers rounded to fewer bits")
        return elements[0]
    form = WRAPPED.get(name) if kind == "int" else None
    return (form or ELEMENTWISE[name]).format(*elements)
