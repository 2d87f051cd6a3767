"""One digest of content for whatever must be known again: archives, checkpoints, data sets."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxad.storage.on_disk import folder_of, release, rows_at_once


def digest(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Hexadecimal SHA-256 of a JSON tree, less the "digest" it may carry, and of named arrays.

    Names, types, shapes and values count; the order of the names does not.
    """
    content = {key: value for key, value in description.items() if key != "digest"}
    found = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        for block in _blocks(array):
            found.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8))
            release(array)
    return found.hexdigest()


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array, of one on disk a block after another."""
    if folder_of(array) is None:
        yield array
        return
    step = rows_at_once(array)
    yield from (array[start : start + step] for start in range(0, len(array), step))
