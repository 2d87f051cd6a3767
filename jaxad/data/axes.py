"""What the axes of an array mean in each `data.format`, and how another shape was perhaps meant."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxad.errors import UserError

MEANING = {
    "ptetaphi": ((None, None, 3), "(events, particles, 3), the 3 being pT, eta, phi"),
    "epxpypz": ((None, None, 4), "(events, particles, 4), the 4 being E, px, py, pz"),
    "image": ((None, None, None), "(events, ny, nx) or (events, ny, nx, channels)"),
    "features": ((None, None), "(events, features)"),
}


def require_shapes(stored: Mapping, keys: Mapping[str, str], path: Path, format: str) -> None:
    """Refuses events whose axes do not fit `data.format`, and fields (N, ...) of other lengths.

    Args:
        stored: field -> array, of which "x" holds the events.
        keys: field -> what it is called in the file.
    """
    expected, meaning = MEANING[format]
    shape = stored["x"].shape
    if format == "image" and len(shape) == 4:
        expected = (None,) * 4
    if len(shape) != len(expected) or (expected[-1] or shape[-1]) != shape[-1]:
        raise UserError(
            f"{path}: {keys['x']}: data.format={format} expects the axes {meaning}; found shape "
            f"{shape}{_hint(shape, format)}"
        )
    for field, array in stored.items():
        if len(array) != shape[0]:
            raise UserError(
                f"{path}: {keys[field]}: expected {shape[0]} rows as in the events, "
                f"found {len(array)}"
            )
        if field != "x" and int(np.prod(array.shape)) != shape[0]:
            raise UserError(
                f"{path}: {keys[field]}: expected one value an event, found shape {array.shape}"
            )


def _hint(shape: tuple[int, ...], format: str) -> str:
    """How an array of another shape might have been meant; "" where nothing suggests itself."""
    n = MEANING[format][0][-1]
    other = {width: name for name, ((*_, width), _) in MEANING.items() if width and width != n}
    if n and len(shape) == 3 and shape[1] == n:
        return ": are the last two axes exchanged? save x.transpose(0, 2, 1)"
    if n and len(shape) == 3 and shape[2] in other:
        return f": set data.format={other[shape[2]]}"
    if n and len(shape) == 2 and shape[1] % n == 0:
        return f": save x.reshape(len(x), -1, {n})"
    if format == "image" and len(shape) == 2:
        return ": save x.reshape(len(x), ny, nx)"
    if format == "features" and len(shape) > 2:
        return ": another data.format, or save x.reshape(len(x), -1)"
    return ""
