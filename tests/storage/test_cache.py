"""What killed processes leave in the cache goes, and nothing else."""

import os
import subprocess
import sys
import time

import pytest

from jaxad.storage import cache

KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def ended():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left(folder, name, hours):
    path = folder / name
    path.write_bytes(b"half")
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))
    return path


def test_unfinished_entries_of_processes_that_ended_are_removed(tmp_path, ended):
    gone = [
        left(tmp_path, f".{KEY}.npy.{ended}.tmp", 2),
        left(tmp_path, f".{KEY}.cut.npy.{ended}.tmp", 2),
        left(tmp_path, f".images-{KEY}.h5.{ended}.tmp", 30),
    ]
    kept = [
        left(tmp_path, f".{KEY}.npy.{os.getpid()}.tmp", 200),  # at it
        left(tmp_path, f".{KEY}.h5.{ended}.tmp", 0.5),  # of another machine, perhaps
        left(tmp_path, f"{KEY}.npy", 2),
        left(tmp_path, f".notes.{ended}.tmp", 2),  # somebody's own
        left(tmp_path, f".{KEY}.npy.tmp", 2),
    ]
    assert cache.root(str(tmp_path)) == tmp_path
    assert not [path for path in gone if path.exists()]
    assert all(path.exists() for path in kept)
