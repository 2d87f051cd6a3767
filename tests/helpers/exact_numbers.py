"""Fixed-point arithmetic in Python's fractions and integers, written apart from jaxad's."""

import math
from fractions import Fraction
from typing import Any

import numpy as np

from jaxad.fixed import FixedType


def assigned(value: Fraction, t: FixedType) -> int:
    """The count of `t` that an exact value becomes."""
    scaled = value * Fraction(2) ** t.fraction
    below, above = math.floor(scaled), math.ceil(scaled)
    towards_zero = math.trunc(scaled)
    away = below if scaled < 0 else above
    if abs(scaled - below) == Fraction(1, 2):
        tie = {
            "RND": above,
            "RND_CONV": below if below % 2 == 0 else above,
            "RND_ZERO": towards_zero,
            "RND_INF": away,
            "RND_MIN_INF": below,
        }
    else:
        nearest = math.floor(scaled + Fraction(1, 2))
        tie = dict.fromkeys(("RND", "RND_CONV", "RND_ZERO", "RND_INF", "RND_MIN_INF"), nearest)
    m = (tie | {"TRN": below, "TRN_ZERO": towards_zero})[t.rounding]
    return bounded(m, t)


def bounded(m: int, t: FixedType) -> int:
    """An integer in the range of `t`."""
    size = 2**t.width
    low, high = (-size // 2, size // 2 - 1) if t.signed else (0, size - 1)
    if t.overflow == "WRAP":
        return (m - low) % size + low
    return min(max(m, low + (t.signed and t.overflow == "SAT_SYM")), high)


def value(m: Any, t: FixedType) -> Fraction:
    """The value of a count."""
    return Fraction(int(m)) / Fraction(2) ** t.fraction


def dense(x: Any, kernel: Any, bias: Any, types: tuple, accum: FixedType | None) -> np.ndarray:
    """Counts (n, outputs) of hls4ml's dense layer, an exact sum without `accum`."""
    x_type, kernel_type, bias_type, result_type = types
    out = np.empty((len(x), kernel.shape[1]), object)
    for row, column in np.ndindex(out.shape):
        total = value(bias[column], bias_type)
        if accum:
            total = value(assigned(total, accum), accum)
        for m, w in zip(x[row], kernel[:, column], strict=True):
            product = value(m, x_type) * value(w, kernel_type)
            if accum:
                product = value(assigned(product, accum), accum)
            total += product
            if accum:
                total = value(assigned(total, accum), accum)
        out[row, column] = assigned(total, result_type)
    return out
