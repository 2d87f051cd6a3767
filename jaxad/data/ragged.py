"""Awkward arrays of particles as the zero-padded arrays that scorers take.

Awkward is optional and imported only here, for who already holds such an array.
"""

from typing import Any

import numpy as np

from jaxad.errors import UserError

FIELDS = {"ptetaphi": ("pt", "eta", "phi"), "epxpypz": ("e", "px", "py", "pz")}
"""Fields of records, in the order of the columns; capitals do not matter."""


def is_ragged(x: object) -> bool:
    """Whether `x` is an array of the awkward library (without importing it)."""
    return type(x).__module__.split(".")[0] == "awkward"


def padded(x: Any, shape: tuple[int | None, ...], form: str) -> np.ndarray:
    """Events of any number of objects as float32 (n, *shape), zeros after the objects.

    Args:
        x: (n, var, k) numbers, or (n, var) records with the fields of `form`.
        shape: of one padded event, (objects, k); None: as many as the longest event has, rounded
            up to a power of two, so that few programs are ever compiled.
        form: "ptetaphi" or "epxpypz" where records are given.

    Raises:
        UserError: missing values, other fields, or more objects than fit.
    """
    import awkward as ak

    if len(shape) != 2:
        wanted = ", ".join("any" if s is None else str(s) for s in shape)
        raise UserError(f"input: awkward arrays hold particles, the scorer takes (n, {wanted})")
    if ak.fields(x):
        x = ak.concatenate([column[..., np.newaxis] for column in _columns(x, form)], axis=-1)
    if x.ndim != 3 or any(ak.any(ak.is_none(x, axis), axis=None) for axis in range(3)):
        raise UserError(f"input: expected (n, var, {shape[1]}) numbers, found {x.type}")
    lengths = ak.to_numpy(ak.num(x, axis=1))
    most = int(lengths.max(initial=0))
    length = shape[0] or 1 << max(most - 1, 0).bit_length()
    if most > length:
        event = int(np.argmax(lengths > length))
        raise UserError(
            f"input: event {event} has {lengths[event]} objects, the scorer takes {length}: "
            f"keep the leading ones, x[:, :{length}]"
        )
    values = np.zeros((len(x), length, shape[1]), np.float32)
    there = np.arange(length) < lengths[:, None]
    rows = ak.flatten(x, axis=1)
    if ak.any(ak.num(rows, axis=-1) != shape[1]):
        raise UserError(f"input: expected {shape[1]} numbers an object, found {x.type}")
    values[there] = ak.to_numpy(rows)
    return values


def _columns(x: Any, form: str) -> list:
    found = {field.lower(): field for field in x.fields}
    names = FIELDS.get(form)
    if names is None or not set(names) <= found.keys():
        wanted = ", ".join(names) if names else f"an array, not records, for {form!r}"
        raise UserError(f"input: fields: expected {wanted}, found {', '.join(x.fields)}")
    return [x[found[name]] for name in names]
