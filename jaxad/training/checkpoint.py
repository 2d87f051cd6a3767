"""Checkpoints with Orbax: atomic saves, newest first on restore, the older one as a fallback.

Orbax writes a checkpoint under a temporary name and renames it, but deletes old ones file by file,
so after a kill a folder may hold half-deleted checkpoints; nor does it see changed bytes in an
array, for which each checkpoint carries a digest. `restore` tries them newest first and says so
when it has to fall back.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxad.errors import UserError
from jaxad.storage.digest import digest

KEPT = 2


def _manager(directory: Path) -> ocp.CheckpointManager:
    """Of this process alone: where there are several, they need not do the same here."""
    process = jax.process_index()
    directory.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=KEPT,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,
        create=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=process,
            active_processes={process},
            barrier_sync_key_prefix=f"process{process}",
        ),
    )
    return ocp.CheckpointManager(directory.absolute(), options=options)


def _digest(state: Any, meta: dict) -> str:
    return digest(meta, {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(state))})


def _unless_loop_is_closed(hook: Callable[[Any], object], unraisable: Any) -> None:
    """Leaves out what the other writes of a checkpoint say after one of them has failed."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        hook(unraisable)


def save(directory: Path, step: int, state: Any, meta: dict) -> None:
    """Write `state` (pytree of NumPy arrays) and `meta` (JSON) as checkpoint `step`.

    A step that is already there is left alone: equal steps hold equal states.

    Raises:
        UserError: the directory cannot be written (read-only, disk full).
    """
    arguments = ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        meta=ocp.args.JsonSave(meta | {"digest": _digest(state, meta)}),
    )
    hook = sys.unraisablehook
    sys.unraisablehook = partial(_unless_loop_is_closed, hook)
    try:
        with _manager(directory) as manager:
            if step not in manager.all_steps():
                manager.save(step, args=arguments)
        sys.unraisablehook = hook
    except (OSError, ValueError) as error:
        # tensorstore reports what a disk refuses as ValueError; others of that type are bugs.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if isinstance(error, ValueError) and code is None:
            raise
        reason = os.strerror(int(code[1])) if code else str(error).splitlines()[0][:200]
        raise UserError(
            f"{directory}: checkpoint {step} could not be written ({reason}); earlier checkpoints "
            "are kept: free space or mend the permissions, then run the same command again"
        ) from error


def restore(directory: Path, template: Any) -> tuple[Any, dict] | None:
    """Newest readable checkpoint as (state, meta), or None when there is none.

    The state has the tree, shapes and dtypes of `template`, its leaves are NumPy arrays.
    Unreadable checkpoints are moved aside, so that their step can be written again.
    """
    if not directory.is_dir():
        return None
    target = jax.tree.map(lambda a: np.broadcast_to(np.zeros((), a.dtype), a.shape), template)
    arguments = ocp.args.Composite(
        state=ocp.args.StandardRestore(target), meta=ocp.args.JsonRestore()
    )
    with _manager(directory) as manager:
        steps = sorted(manager.all_steps(), reverse=True)
    for step in steps:
        try:
            with _manager(directory) as manager:
                restored = manager.restore(step, args=arguments)
            state, meta = restored["state"], dict(restored["meta"])
            if meta.pop("digest", None) not in (None, _digest(state, meta)):
                raise ValueError("its bytes are not those that were written")
            return state, meta
        except Exception as error:  # a damaged checkpoint can fail in any way
            reason = str(error).splitlines()[0][:200]
            print(
                f"warning: checkpoint {directory / str(step)} is damaged ({reason}); "
                "falling back to the one before",
                file=sys.stderr,
            )
            aside = directory.with_name(f"{directory.name}-damaged-{step}")
            shutil.rmtree(aside, ignore_errors=True)
            shutil.move(directory / str(step), aside)
    return None


def latest(directory: Path) -> int | None:
    """Step of the newest checkpoint, readable or not; None when there is none."""
    with _manager(directory) as manager:
        return manager.latest_step()
