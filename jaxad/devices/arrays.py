"""What callers give as arrays, as arrays that NumPy and JAX compute with; refused in one line."""

from typing import Any

import numpy as np

from jaxad.errors import UserError


def numbers(x: Any, what: str, expected: str, padding: bool = False) -> np.ndarray:
    """`x` (array, list, data frame, ...) as an array of real numbers, of the type that it has.

    Args:
        x: anything that `numpy.asarray` takes.
        what: its name, for refusals.
        expected: the shape it should have, in words, for refusals.
        padding: masked rows of the last axis are padding, and become zeros.

    Raises:
        UserError: rows of different lengths, text, objects, complex numbers, traced values, or
            masked values that are no padding.

    Examples:
        >>> numbers([[1, 2], [3]], "weights", "(n, 2)")
        Traceback (most recent call last):
        jaxad.errors.UserError: weights: expected real numbers of shape (n, 2), found rows of ...
        >>> particle = np.ma.masked_less([[5.0, 1.0], [-1.0, -1.0]], 0)
        >>> numbers(particle, "particles", "(n, 2)", padding=True)
        array([[5., 1.],
               [0., 0.]])
    """
    try:
        if isinstance(x, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in x):
            x = np.ma.array(x)
        # Of a mapped file its pages are given back.
        values = x if isinstance(x, np.memmap) else np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = f"{type(x).__name__}: {str(error).splitlines()[0]}"
        found = "rows of different lengths" if "inhomogeneous" in str(error) else reason
        raise _refused(what, expected, found) from None
    if values.dtype.kind not in "fiub":
        kind = "" if isinstance(x, np.ndarray) else f"{type(x).__name__} of "
        raise _refused(what, expected, f"{kind}{values.dtype}")
    return _filled(x, values, what, padding) if np.ma.is_masked(x) else values


def _refused(what: str, expected: str, found: str) -> UserError:
    return UserError(f"{what}: expected real numbers of shape {expected}, found {found}")


def _filled(x: np.ma.MaskedArray, values: np.ndarray, what: str, padding: bool) -> np.ndarray:
    """The values with zeros where whole rows of the last axis are masked."""
    mask = np.ma.getmaskarray(x)
    if not padding or x.ndim < 2:
        raise UserError(
            f"{what}: found {int(mask.sum()):,} masked values: leave such rows out, or fill them "
            "with x.filled(VALUE)"
        )
    partly = mask.any(axis=-1) & ~mask.all(axis=-1)
    if partly.any():
        where = ", ".join(map(str, np.argwhere(partly)[0]))
        raise UserError(
            f"{what}: [{where}]: found some numbers masked and others not: mask whole particles, "
            "which are padding then, or fill them with x.filled(VALUE)"
        )
    return np.where(mask, np.zeros((), values.dtype), values)


def floating(values: np.ndarray) -> np.ndarray:
    """The values as float32 or float64 in the byte order of this machine; others become float32."""
    kept = values.dtype.kind == "f" and values.dtype.itemsize in (4, 8)
    dtype = values.dtype.newbyteorder("=") if kept else np.float32
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False)
