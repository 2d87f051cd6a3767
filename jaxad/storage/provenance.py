"""What made a result: versions, device, commit."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

PACKAGES = ("jaxad", "jax", "jaxlib", "flax", "optax", "distrax", "numpy", "scipy", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def provenance() -> dict[str, str]:
    """Versions of Python and of what computes for it, the device, and jaxad's git commit."""
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    devices = jax.devices()
    return (
        versions()
        | {"devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"}
        | ({"git": commit.stdout.strip()} if commit.returncode == 0 else {})
    )
