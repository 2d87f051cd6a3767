"""Fits side by side, a core each.

Threads of OpenMP that share one fit wait for one another by spinning: where other work holds a
core, the fit takes many times as long, and the sums that they make depend on their number. A fit on
one thread waits for nobody.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from threadpoolctl import threadpool_info, threadpool_limits
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def _threads() -> int:
    """Threads that OpenMP would have, were it loaded."""
    asked, cores = os.environ.get("OMP_NUM_THREADS", ""), len(os.sched_getaffinity(0))
    return int(asked) if asked.isdecimal() and int(asked) else cores


def side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], desc: str, unit: str
) -> list[Result]:
    """`function` of every item, in their order, each in a thread that OpenMP does not multiply.

    As many at once as OpenMP may have threads, or would if a library had loaded it, which
    OMP_NUM_THREADS and the cores of the process say. The first error, or Ctrl-C, is raised, and
    stops the others at their next line of Python. A progress bar `desc`, counting in `unit`, shows
    after two seconds.
    """
    pools = threadpool_info()
    n = max((p["num_threads"] for p in pools if p["user_api"] == "openmp"), default=_threads())
    running: set[int] = set()

    def one(item: Item) -> Result:
        running.add(threading.get_ident())
        try:
            with threadpool_limits(1, user_api="openmp"):
                return function(item)
        finally:
            running.discard(threading.get_ident())

    with ThreadPoolExecutor(max(1, min(n, len(items)))) as pool:
        tasks = [pool.submit(one, item) for item in items]
        try:
            for task in tqdm(as_completed(tasks), desc, len(tasks), unit=unit, delay=2):
                task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for thread in tuple(running):
                interrupt = ctypes.py_object(KeyboardInterrupt)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), interrupt)
            raise
    return [task.result() for task in tasks]
