"""Shared fixtures: where the real samples lie, a compilation cache, running the programs."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".pytest_cache" / "xla"

# Before jax is imported; the programs that tests start inherit it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.03")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Several processes share a GPU: workers, and the programs that their tests start.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Two workers with two threads each wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Of each operation the lines of Python that made it: nobody reads them here.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# Programs that tests start would translate each module of jaxad again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Python looks through all that was compiled so far at each collection: a seventh of the time.
gc.set_threshold(100_000, 50, 1000)
# Tests compile far longer than they compute.
QUICK_COMPILATION = "--xla_backend_optimization_level=0"
# The older emitters take half as long, and so does a program in one part instead of 32; a version
# without these flags would end the process.
if version("jaxlib") == "0.10.2":
    QUICK_COMPILATION += " --xla_cpu_use_fusion_emitters=false"
    QUICK_COMPILATION += " --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_COMPILATION}".strip()

import jax  # noqa: E402

from jaxad.devices import compiler, precision  # noqa: E402

# As commands do: an order of sums that is kept, whole entries of compiled programs, and float32
# products but in training steps; so tolerances of float32 hold on every device.
compiler.settle()
precision.settle()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a CPU, as its mark says, where JAX computes on another device."""
    mark = item.get_closest_marker("cpu")
    if mark and jax.default_backend() != "cpu":
        pytest.skip(f"needs a CPU: {mark.args[0]}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real events, named by JAXAD_TEST_DATA; tests that need it skip without it."""
    folder = os.environ.get("JAXAD_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("JAXAD_TEST_DATA names no folder of real events")
    return Path(folder)


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a script of the repository with flags, in an empty folder, and capture what it says."""

    def run(script: str, *flags: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(ROOT / script), *flags],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | environment,
            timeout=300,
            check=False,
        )

    return run
