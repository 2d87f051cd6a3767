"""What a command of jaxad leaves behind, without what may differ from run to run: times, places."""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Result = dict[str, Any]  # name -> array, bytes or plain value

CHANGING = ("provenance", "seconds", "versions", "bytes", "sha256", "digest")


def _plain(value: Any) -> Any:
    """JSON without the entries that name times and versions."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in CHANGING}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _content(path: Path) -> Result:
    """The arrays of a file by name, JSON (lines) without what changes, other bytes as a digest."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    if path.suffix == ".npy":
        return {"array": np.load(path, allow_pickle=False)}
    if path.suffix == ".h5":
        found: Result = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: (
                    found.update({name: item[()]}) if hasattr(item, "shape") else None
                )
            )
        return found
    if path.suffix in (".json", ".jsonl"):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        return {"json": [_plain(json.loads(line)) for line in lines]}
    return {"bytes": hashlib.sha256(path.read_bytes()).hexdigest()}


def _collected(folder: Path, patterns: tuple[str, ...]) -> Result:
    paths = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return {
        f"{path.relative_to(folder)}:{name}": value
        for path in paths
        if path.is_file()
        for name, value in _content(path).items()
    }


def trained(state: Path) -> Result:
    """Parameters of scorer and baselines, scores of held-out events, history, config."""
    patterns = ("scorer/*", "baselines/**/*", "history.jsonl", "config.json")
    return _collected(state / "run", patterns)


def simulated(state: Path) -> Result:
    """Every file of a simulation, whose folder holds nothing else."""
    return _collected(state / "simulation", ("[!.]*", "parts*/*"))


def exported(state: Path) -> Result:
    """Every file of an exported folder, and what lies beside it.

    The bytes of a StableHLO program hold places in the source; the command itself replays it.
    """
    found = _collected(state, ("**/*",))
    return {name: value for name, value in found.items() if ".stablehlo" not in name}


def evaluated(state: Path) -> Result:
    """Metrics, scores and figures of an evaluation."""
    return _collected(state, ("*/eval/**/*",))


def scored(state: Path) -> Result:
    """The scores of files, and what lies beside them."""
    return _collected(state, ("**/*",))


def differences(found: Result, expected: Result) -> list[str]:
    """Names of what is not the same to the bit."""

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            bits = (lambda x: x.tolist()) if a.dtype == object else (lambda x: x.tobytes())
            return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)
        return type(a) is type(b) and np.array_equal(a, b)

    missing = object()
    return [
        name
        for name in sorted(found | expected)
        if not same(found.get(name, missing), expected.get(name, missing))
    ]
