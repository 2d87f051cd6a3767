"""What XLA is told before it compiles: deterministic kernels, and programs kept between processes.

A GPU adds up in another order each time, and picks its kernels by measured times, unless it is told
not to: one flag forbids both, so that the same command gives the same bits. Compiled programs are
kept in the user's cache folder; JAX writes its entries in place, so they are written here, under a
temporary name that is then renamed.
"""

import contextlib
import hashlib
import os
import platform
import re
import time
from pathlib import Path

import jax
from jax._src import compilation_cache  # the only way to say how an entry is written
from jaxlib.version import __version_info__ as version

from jaxad.storage.provenance import DETERMINISTIC

FOLDER = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
MAX_BYTES = 2**30
"""The largest size of `folder()` at the start of a process; the oldest entries go first."""
NAME = re.compile(r".+-cache|\..+-cache\.\d+\.tmp")
"""Of a program, and of one that is being written."""


def settle() -> None:
    """Deterministic kernels and kept programs, for a command, before anything touches a device.

    What the environment says goes first: `XLA_FLAGS` with --xla_gpu_deterministic_ops=false is
    faster on some networks, and no longer the same bits.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if DETERMINISTIC not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}=true".strip()
    keep_programs()


def keep_programs() -> None:
    """Keep compiled programs in `folder()`; JAX_COMPILATION_CACHE_DIR names another, "" none."""
    chosen = os.environ.get(FOLDER)
    if chosen == "":
        jax.config.update("jax_compilation_cache_dir", None)
        return
    compilation_cache.get_file_cache = _cache_of
    if chosen or jax.config.jax_compilation_cache_dir:
        return
    with contextlib.suppress(OSError, RuntimeError):  # no home, or one that cannot be written
        folder().mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder()))
        if LEAST_SECONDS not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


FEW_ROWS = 8192
"""Rows that are over before an optimised program has paid for its compilation."""


def quickly(level: int = 0) -> dict[str, int | bool] | None:
    """Compiler options of `jax.jit` for what runs a few times; None where they gain nothing.

    On a CPU a program of level 0 is there in a fifth of the time, and takes twice as long to run;
    one of level 1 in two thirds, and takes as long.
    """
    if jax.default_backend() != "cpu":
        return None
    older = {"xla_cpu_use_fusion_emitters": False} if version < (0, 11) else {}
    return {"xla_backend_optimization_level": level} | older


def for_few(n: int) -> dict[str, int | bool] | None:
    """Compiler options of a scorer that scores `n` events in all; None where these are many.

    The scores may differ from those of others in their last bits.
    """
    return quickly(level=1) if n <= FEW_ROWS else None


def folder() -> Path:
    """Where programs are kept: of this kind of processor, since homes are shared by machines."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="latin-1").splitlines():
            if line.startswith(("flags", "Features")):
                return Path(base) / "jaxad" / "xla" / hashlib.sha256(line.encode()).hexdigest()[:12]
    return Path(base) / "jaxad" / "xla" / (platform.processor() or platform.machine())


_jax_cache = compilation_cache.get_file_cache


def _cache_of(path: str) -> tuple[compilation_cache.CacheInterface, str] | None:
    limited = jax.config.jax_compilation_cache_max_size != -1
    if limited or "://" in path:
        return _jax_cache(path)
    own = False
    with contextlib.suppress(RuntimeError):  # no home
        own = Path(path) == folder()
    return _Programs(path, own), path


class _Programs(compilation_cache.CacheInterface):
    """Files of compiled programs in a folder, each there whole or not at all.

    Args:
        own: nobody else has programs there, so that the oldest may go.
    """

    def __init__(self, path: str, own: bool):
        self._path = Path(path)
        with contextlib.suppress(OSError):
            self._path.mkdir(parents=True, exist_ok=True)
            _trim(self._path, own)

    def get(self, key: str) -> bytes | None:
        file = self._path / f"{key}-cache"
        try:
            content = file.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):  # a folder of others, that may be read alone
            os.utime(file)
        return content

    def put(self, key: str, value: bytes) -> None:
        file = self._path / f"{key}-cache"
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # a full disk costs time, not the run
            try:
                temporary.write_bytes(value)
                os.replace(temporary, file)
            finally:
                temporary.unlink(missing_ok=True)


def _trim(path: Path, own: bool) -> None:
    """Removes what killed processes left, and of `own` programs the oldest beyond `MAX_BYTES`."""
    files = [file for file in path.iterdir() if NAME.fullmatch(file.name) and file.is_file()]
    entries = [(file.stat(), file) for file in files]
    entries.sort(key=lambda entry: -entry[0].st_mtime)
    total, an_hour_ago = 0, time.time() - 3600
    for stat, file in entries:
        total += stat.st_size
        left = file.name.endswith(".tmp") and stat.st_mtime < an_hour_ago
        if left or (own and total > MAX_BYTES):
            file.unlink(missing_ok=True)
