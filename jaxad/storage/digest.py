"""One digest of content for whatever must be known again: archives, checkpoints, data sets."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def digest(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Hexadecimal SHA-256 of a JSON tree, less the "digest" it may carry, and of named arrays.

    Names, types, shapes and values count; the order of the names does not.
    """
    content = {key: value for key, value in description.items() if key != "digest"}
    found = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return found.hexdigest()
