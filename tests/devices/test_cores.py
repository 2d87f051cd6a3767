"""Fits side by side: the same results for any number of cores, limits that stay inside, stops."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from small_task import assert_equal
from threadpoolctl import threadpool_info, threadpool_limits

from jaxad.devices.cores import side_by_side
from jaxad.methods.stages import trees


def limits(api: str) -> set[int]:
    """Threads that libraries of a kind may have when this thread calls them."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == api}


def test_trees_are_the_same_for_any_number_of_cores():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=300) > 0).astype(np.float32)
    members = [rng.permutation(300)[:n] for n in (300, 90, 200)]
    fitted = {}
    for cores in (1, 3):
        with threadpool_limits(cores, user_api="openmp"):
            fitted[cores] = trees.fit(x, y, np.ones(300), members, seed=5, max_iter=5)
            assert limits("openmp") == {cores}
    assert_equal(fitted[1], fitted[3])
    alone = [trees.fit(x, y, np.ones(300), members[:n], 5, max_iter=5) for n in (1, 2)]
    np.testing.assert_array_equal(fitted[3]["base"][:2], alone[1]["base"])
    np.testing.assert_array_equal(fitted[3]["base"][:1], alone[0]["base"])


def test_each_has_one_thread_and_results_keep_their_order():
    second = threading.Event()

    def seen(item: int) -> tuple[int, set[int]]:
        if item == 1:
            second.set()
        assert second.wait(20), "the first was not run beside the second"
        return item, limits("openmp")

    with threadpool_limits(2, user_api="openmp"):
        assert side_by_side(seen, range(4), "", "item") == [(i, {1}) for i in range(4)]
    assert side_by_side(seen, [], "", "item") == []


def test_an_error_stops_the_others():
    """So does Ctrl-C, which is raised where they are waited for."""
    finished, started = [], threading.Event()

    def work(item: int) -> None:
        if item == 1:
            assert started.wait(20)
            raise ValueError("of the second")
        started.set()
        until = time.monotonic() + 20
        while time.monotonic() < until:
            time.sleep(0.01)
        finished.append(item)

    with (
        threadpool_limits(2, user_api="openmp"),
        pytest.raises(ValueError, match="of the second"),
    ):
        side_by_side(work, range(6), "", "item")
    assert not finished


def test_programs_without_openmp_run_on_the_cores_of_the_process():
    command = "from jaxad.devices.cores import side_by_side as f; import threading as t\n"
    command += "b = t.Barrier(3); print(f(lambda i: b.wait(20) * 0 + i, range(3), '', ''))"
    environment = os.environ | {"OMP_NUM_THREADS": "3"}
    command = [sys.executable, "-c", command]
    assert subprocess.check_output(command, env=environment, text=True) == "[0, 1, 2]\n"
