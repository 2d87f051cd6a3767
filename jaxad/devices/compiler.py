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
import time
from pathlib import Path

import jax
from jax._src import compilation_cache  # the only way to say how an entry is written

from jaxad.storage.provenance import DETERMINISTIC

FOLDER = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
MAX_BYTES = 2**30
"""The largest size of the folder at the start of a process; the oldest entries go first."""


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


def folder() -> Path:
    """Where programs are kept: of this kind of processor, since homes are shared by machines."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return Path(base) / "jaxad" / "xla" / hashlib.sha256(line.encode()).hexdigest()[:12]
    return Path(base) / "jaxad" / "xla" / (platform.processor() or platform.machine())


_jax_cache = compilation_cache.get_file_cache


def _cache_of(path: str) -> tuple[compilation_cache.CacheInterface, str] | None:
    limited = jax.config.jax_compilation_cache_max_size != -1
    return _jax_cache(path) if limited or "://" in path else (_Programs(path), path)


class _Programs(compilation_cache.CacheInterface):
    """Files of compiled programs in a folder, each there whole or not at all."""

    def __init__(self, path: str):
        self._path = Path(path)
        with contextlib.suppress(OSError):
            self._path.mkdir(parents=True, exist_ok=True)
            _trim(self._path)

    def get(self, key: str) -> bytes | None:
        file = self._path / f"{key}-cache"
        with contextlib.suppress(OSError):
            content = file.read_bytes()
            os.utime(file)
            return content
        return None

    def put(self, key: str, value: bytes) -> None:
        file = self._path / f"{key}-cache"
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # a full disk costs time, not the run
            try:
                temporary.write_bytes(value)
                os.replace(temporary, file)
            finally:
                temporary.unlink(missing_ok=True)


def _trim(path: Path) -> None:
    """Removes what was used longest ago beyond `MAX_BYTES`, and what killed processes left."""
    entries = [(file.stat(), file) for file in path.iterdir() if file.is_file()]
    entries.sort(key=lambda entry: -entry[0].st_mtime)
    total, an_hour_ago = 0, time.time() - 3600
    for stat, file in entries:
        total += stat.st_size
        left = file.name.endswith(".tmp") and stat.st_mtime < an_hour_ago
        if left or total > MAX_BYTES:
            file.unlink(missing_ok=True)
