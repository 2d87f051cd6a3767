"""Fixed-point numbers and networks in integers, bit for bit what synthesised C++ computes."""

from jaxad.fixed.accumulators import auto_accum
from jaxad.fixed.convert import convert, from_float, to_float
from jaxad.fixed.layers import conv, dense, leaky_relu, relu, square_sum, subtract
from jaxad.fixed.network import Layer, bounds, run
from jaxad.fixed.tables import table
from jaxad.fixed.types import FixedType, parsed

__all__ = [
    "FixedType",
    "Layer",
    "auto_accum",
    "bounds",
    "conv",
    "convert",
    "dense",
    "from_float",
    "leaky_relu",
    "parsed",
    "relu",
    "run",
    "square_sum",
    "subtract",
    "table",
    "to_float",
]
