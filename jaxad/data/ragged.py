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
            up to a power of two, so that few programs are ever compiled. A number of objects
            means slots with meanings of their own: every event has to fill all of them.
        form: "ptetaphi" or "epxpypz" where records are given.

    Raises:
        UserError: missing values, other fields, no numbers, or another number of objects.
    """
    if len(shape) != 2:
        wanted = ", ".join("any" if s is None else str(s) for s in shape)
        raise UserError(f"input: awkward arrays hold particles, the scorer takes (n, {wanted})")
    try:
        lengths, rows = _objects(x, shape[1], form)
    except (TypeError, ValueError, AttributeError):
        raise _refused(x, shape[1]) from None
    most = int(lengths.max(initial=0))
    length = shape[0] or 1 << max(most - 1, 0).bit_length()
    if shape[0] and (lengths != length).any():
        event = int(np.argmax(lengths != length))
        raise UserError(
            f"input: event {event} has {lengths[event]} objects, the scorer takes {length}, each "
            "in a slot of its own: give zeros where there is none"
        )
    values = np.zeros((len(lengths), length, shape[1]), np.float32)
    with np.errstate(over="ignore"):  # infinities are refused by who asks
        values[np.arange(length) < lengths[:, None]] = rows
    return values


def _refused(x: Any, n_columns: int) -> UserError:
    found = getattr(x, "type", type(x).__name__)
    return UserError(f"input: expected (n, var, {n_columns}) numbers, found {found}")


def _objects(x: Any, n_columns: int, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Number of objects of each event (n,), and all objects (sum, n_columns)."""
    import awkward as ak

    if ak.fields(x):
        x = ak.concatenate([column[..., np.newaxis] for column in _columns(x, form)], axis=-1)
    elif "unknown" in str(x.type) and x.ndim < 3:  # nobody has an object, nor has any a type
        n_objects = np.zeros(len(x), int) if x.ndim == 1 else ak.to_numpy(ak.num(x, axis=1))
        return n_objects, np.zeros((0, n_columns), np.float32)
    if x.ndim != 3 or any(ak.any(ak.is_none(x, axis), axis=None) for axis in range(3)):
        raise _refused(x, n_columns)
    flat = ak.flatten(x, axis=1)
    if ak.any(ak.num(flat, axis=-1) != n_columns):
        raise UserError(f"input: expected {n_columns} numbers an object, found {x.type}")
    rows = ak.to_numpy(flat, allow_missing=False)
    if rows.dtype.kind not in "fiub":
        raise _refused(x, n_columns)
    return ak.to_numpy(ak.num(x, axis=1), allow_missing=False), rows


def _columns(x: Any, form: str) -> list:
    found = {field.lower(): field for field in x.fields}
    names = FIELDS.get(form)
    if names is None or not set(names) <= found.keys():
        wanted = ", ".join(names) if names else f"an array, not records, for {form!r}"
        raise UserError(f"input: fields: expected {wanted}, found {', '.join(x.fields)}")
    return [x[found[name]] for name in names]
