"""Products of rounded operands: what TF32 and bfloat16 compute, on any device.

An accelerator rounds both float32 operands of a matrix product or convolution, multiplies these
exactly and adds up in float32. The rounding is put in where programs are lowered, after all
differentiation: the products of the backward pass round their operands too, cotangents included,
and nothing else is rounded. It is to nearest; hardware may cut TF32 off instead.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax import lax
from jax._src.interpreters import mlir  # whose tables alone say how an operation is lowered

EXPONENT_BITS = 8
MANTISSA_BITS = {"TF32": 10, "bfloat16": 7}
PRODUCTS = (lax.dot_general_p, lax.conv_general_dilated_p)


@contextlib.contextmanager
def products(mantissa_bits: int) -> Iterator[None]:
    """Programs compiled inside round the float32 operands of products that are not "highest".

    That is all products of training steps, and of all else where JAX_DEFAULT_MATMUL_PRECISION asks
    for it (`jaxad.devices.precision`). Compiled functions are forgotten at both ends.
    """
    with contextlib.ExitStack() as patched:
        for table in (mlir._lowerings, *mlir._platform_specific_lowerings.values()):
            rules = {p: table[p] for p in PRODUCTS if p in table}
            rounding = {
                p: replace(entry, rule=_rounding(entry.rule, mantissa_bits))
                for p, entry in rules.items()
            }
            patched.enter_context(mock.patch.dict(table, rounding))
        jax.clear_caches()
        try:
            yield
        finally:
            jax.clear_caches()


def _rounding(rule: Callable, mantissa_bits: int) -> Callable:
    """The lowering `rule` of a product, after a rounding of what it multiplies."""

    def lower(context: Any, *operands: Any, precision: Any, **parameters: Any) -> Any:
        stated = precision if isinstance(precision, tuple) else (precision,)
        if lax.Precision.HIGHEST not in stated:
            operands = tuple(
                _rounded(context, operand, aval, mantissa_bits)
                for operand, aval in zip(operands, context.avals_in, strict=True)
            )
        return rule(context, *operands, precision=precision, **parameters)

    return lower


def _rounded(context: Any, operand: Any, aval: Any, mantissa_bits: int) -> Any:
    if aval.dtype != np.float32:
        return operand
    bits = mlir.i32_attr(EXPONENT_BITS), mlir.i32_attr(mantissa_bits)
    found = mlir.hlo.reduce_precision(operand, *bits)
    return mlir.lower_with_sharding_in_types(context, found, aval)
