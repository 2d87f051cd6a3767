"""Ways to spoil a file: its bytes, or the arrays and JSON that they mean."""

import json
from pathlib import Path

import h5py
import numpy as np

HUGE = b"\xff\xff\xff\xff\xff\xff\xff\x7f"
JUNK = (None, -1, 0, 1.5, 10**30, float("nan"), "x", "", [], {}, [[1]], {"a": {"b": 1}}, True)


def spoilt(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes flipped, cut out, doubled, cut off, or overwritten with the largest integer."""
    if not content:
        return b"\0"
    n = len(content)
    near = n if rng.random() < 0.5 else min(n, 2048)
    at = int(rng.integers(near)) if rng.random() < 0.8 else n - 1 - int(rng.integers(near))
    at = max(at, 0)
    match rng.integers(6):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + content[at + 1 + int(rng.integers(64)) :]
        case 2:
            return content[:at] + content[max(0, at - 16) :]
        case 3:
            return content[:at] + HUGE + content[at + len(HUGE) :]
        case _:
            changed = np.frombuffer(content, np.uint8).copy()
            where = np.minimum(at + rng.integers(0, 256, 1 + int(rng.integers(4))), n - 1)
            changed[where] = rng.integers(0, 256, len(where))
            return changed.tobytes()


def spoilt_json(text: str, rng: np.random.Generator) -> str:
    """One node of the tree replaced by junk, or left out."""
    tree = json.loads(text)
    node = tree
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = keys[int(rng.integers(len(keys)))]
        below = node[key]
        if not isinstance(below, (dict, list)) or not below or rng.random() < 0.3:
            break
        node = below
    if rng.random() < 0.3:
        del node[key]
    else:
        node[key] = JUNK[int(rng.integers(len(JUNK)))]
    return json.dumps(tree)


def spoilt_array(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another dtype, rank or length, NaN, infinity, or numbers no event holds."""
    numbers = array.dtype.kind in "fiub"
    filled = array.astype(np.float64) if numbers else np.zeros(4)
    if filled.size:
        filled.flat[int(rng.integers(filled.size))] = rng.choice([np.nan, np.inf, -1e300, 3e38])
    large = np.nan_to_num(filled, posinf=0) / 1e8
    wrong = [
        *(array[:0], array[..., None], array.reshape(-1), array[:-1], np.zeros(())),
        *(filled, large * 1e30, large.clip(-9, 9).astype(np.int8), -np.abs(filled)),
        array.astype(np.complex64) if numbers else array,
        np.full(array.shape, b"text"),
        np.zeros(3, [("a", "f4"), ("b", "i4")]),
    ]
    return wrong[int(rng.integers(len(wrong)))]


def spoil(path: Path, rng: np.random.Generator) -> None:
    """Spoil a file in place: its bytes, or what they mean."""
    if rng.random() < 0.4 and path.suffix == ".json":
        path.write_text(spoilt_json(path.read_text(), rng))
    elif rng.random() < 0.5 and path.suffix in (".npz", ".npy", ".h5") and not _blosc(path):
        _spoil_arrays(path, rng)
    else:
        path.write_bytes(spoilt(path.read_bytes(), rng))


def _blosc(path: Path) -> bool:
    return path.name == "val.h5"


def _spoil_arrays(path: Path, rng: np.random.Generator) -> None:
    if path.suffix == ".npy":
        np.save(path, spoilt_array(np.load(path), rng))
    elif path.suffix == ".npz":
        with np.load(path) as stored:
            arrays = dict(stored)
        key = list(arrays)[int(rng.integers(len(arrays)))]
        if rng.random() < 0.2:
            del arrays[key]
        else:
            arrays[key] = spoilt_array(arrays[key], rng)
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visititems(lambda n, item: names.append(n) if hasattr(item, "shape") else None)
            name = names[int(rng.integers(len(names)))]
            array = file[name][()]
            del file[name]
            if rng.random() < 0.7 and array.dtype.kind in "fiub":
                file[name] = spoilt_array(array, rng)
            elif rng.random() < 0.5:
                file.create_dataset(name, (1 << 40, *array.shape[1:]), "f4", chunks=True)
