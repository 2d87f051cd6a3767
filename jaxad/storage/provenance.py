"""What made a result: versions, device, commit."""

import os
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

PACKAGES = ("jaxad", "jax", "jaxlib", "flax", "optax", "distrax", "numpy", "scipy", "scikit-learn")

DETERMINISTIC = "--xla_gpu_deterministic_ops"
"""The flag of XLA_FLAGS without which a GPU gives other bits each time."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def deterministic() -> bool:
    """Whether the same program on the same device gives the same bits: not on every GPU."""
    if jax.default_backend() != "gpu":
        return True
    said = re.findall(rf"{DETERMINISTIC}(?:=(\S+))?", os.environ.get("XLA_FLAGS", ""))
    return bool(said) and said[-1].lower() not in ("false", "0")


def machine() -> dict[str, str]:
    """What the last bits of a result depend on: devices, jax, and whether XLA keeps to an order."""
    devices = jax.devices()
    return {
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "jax": _version("jax"),
        "deterministic": "yes" if deterministic() else "no",
    }


def commit(folder: Path) -> str:
    """The git commit that `folder` is of, with "-dirty" where files have changed; "" for none.

    Nothing is written: `git describe --dirty` would lock the index, and leave the lock where it is
    killed.
    """

    def said(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:  # git is not installed
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    found = said("describe", "--always")
    return f"{found}-dirty" if found and said("status", "--short", "-uno") else found


@cache
def own_commit() -> str:
    """The `commit` of jaxad, asked for once: what runs is what was imported."""
    return commit(Path(__file__).parent)


def provenance() -> dict[str, str]:
    """Versions of Python and of what computes for it, `machine`, and jaxad's git commit."""
    found = own_commit()
    return versions() | machine() | ({"git": found} if found else {})
