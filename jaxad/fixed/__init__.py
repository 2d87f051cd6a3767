"""Fixed-point numbers and networks in integers, bit for bit what synthesised C++ computes."""

from jaxad.fixed.types import FixedType

__all__ = ["FixedType"]
