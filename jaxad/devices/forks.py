"""Processes that were forked after JAX had started: whatever they compute waits for ever.

JAX computes on threads, and threads do not live on in a forked child.
"""

import os

from jax._src import xla_bridge

from jaxad.errors import UserError

_started = False  # JAX, in the process that forks
_forked = False  # this process, after JAX had started


def _before_fork() -> None:
    global _started
    _started = xla_bridge.backends_are_initialized()


def _in_child() -> None:
    global _forked
    _forked = _forked or _started


os.register_at_fork(before=_before_fork, after_in_child=_in_child)


def require_unforked() -> None:
    """Refuses to compute where it could only hang.

    Raises:
        UserError: this process was forked after JAX had started.
    """
    if _forked:
        raise UserError(
            "this process was forked after JAX had started, and would wait for ever: start "
            'workers with multiprocessing.get_context("spawn")'
        )
