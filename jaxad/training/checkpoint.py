"""Checkpoints with Orbax: atomic saves, newest first on restore, the older one as a fallback.

Orbax writes a checkpoint under a temporary name and renames it, but deletes old ones file by file,
so after a kill a folder may hold half-deleted checkpoints; nor does it see changed bytes in an
array, for which each checkpoint carries a digest. `restore` tries them newest first and says so
when it has to fall back. It falls back from damage alone: a checkpoint of another structure, which
Orbax would restore with other shapes than were asked for, is refused with who wrote it.
"""

import errno
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
from jaxad.storage.provenance import versions

KEPT = 2
WRITERS = ("jaxad", "flax", "optax")
"""Packages whose upgrade can change the structure of a state."""
MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
"""What the system answers where files of a checkpoint are gone, or are no files."""


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


def _described(state: Any) -> dict[str, str]:
    """Path of each array in the tree -> its type and shape, "float32 (3, 2)"."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{a.dtype} {tuple(a.shape)}"
        for path, a in leaves
    }


def _written(state: Any) -> dict[str, Any]:
    """Who writes which arrays, with a digest of its own: it is read before the arrays are."""
    known = versions()
    written = {"by": {name: known[name] for name in WRITERS}, "arrays": _described(state)}
    return written | {"digest": digest(written, {})}


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
    meta = meta | {"written": _written(state)}
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
        code = _error_code(error)
        if isinstance(error, ValueError) and code is None:
            raise
        reason = os.strerror(code) if code else _first_line(error)
        raise UserError(
            f"{directory}: checkpoint {step} could not be written ({reason}); earlier checkpoints "
            "are kept: free space or mend the permissions, then run the same command again"
        ) from error


def _error_code(error: Exception) -> int | None:
    """What the system answered; tensorstore tells it in the text of a ValueError."""
    told = re.search(r"os_error_code='(\d+)'", str(error))
    return int(told[1]) if told else getattr(error, "errno", None)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def restore(directory: Path, template: Any) -> tuple[Any, dict] | None:
    """Newest readable checkpoint as (state, meta), or None when there is none.

    The state has the tree, shapes and dtypes of `template`, its leaves are NumPy arrays.
    Damaged checkpoints are moved aside, so that their step can be written again.

    Raises:
        UserError: one of another structure, or that the system does not let be read; nothing is
            moved then.
    """
    if not directory.is_dir():
        return None
    with _manager(directory) as manager:
        steps = sorted(manager.all_steps(), reverse=True)
    for step in steps:
        try:
            return _restored(directory, step, template)
        except UserError:
            raise
        except Exception as error:  # a damaged checkpoint can fail in any way
            code = _error_code(error)
            if isinstance(error, MemoryError) or code not in (None, *MISSING):
                reason = os.strerror(code) if code else "out of memory"
                raise UserError(
                    f"{directory / str(step)}: this checkpoint cannot be read ({reason}): mend "
                    "that and run the same command again, or remove it to go on from the one before"
                ) from error
            print(
                f"warning: checkpoint {directory / str(step)} is damaged ({_first_line(error)}); "
                "falling back to the one before",
                file=sys.stderr,
            )
            aside = directory.with_name(f"{directory.name}-damaged-{step}")
            shutil.rmtree(aside, ignore_errors=True)
            shutil.move(directory / str(step), aside)
    return None


def _restored(directory: Path, step: int, template: Any) -> tuple[Any, dict]:
    """One checkpoint; any exception but a UserError says that it is damaged."""
    target = jax.tree.map(lambda a: np.broadcast_to(np.zeros((), a.dtype), a.shape), template)
    arguments = ocp.args.Composite(meta=ocp.args.JsonRestore())
    with _manager(directory) as manager:
        meta = dict(manager.restore(step, args=arguments)["meta"])
    _require_structure(directory / str(step), meta.get("written"), _described(target))
    arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target))
    with _manager(directory) as manager:
        state = manager.restore(step, args=arguments)["state"]
    if meta.pop("digest", None) not in (None, _digest(state, meta)):
        raise ValueError("its bytes are not those that were written")
    meta.pop("written", None)
    return state, meta


def _require_structure(path: Path, written: dict | None, expected: dict[str, str]) -> None:
    """Refuse a checkpoint of other arrays than are asked for.

    Args:
        written: what it says about itself; None: an older version wrote it, and Orbax is asked.
        expected: `_described` of the state that is asked for.

    Raises:
        UserError: as above, naming what differs.
        ValueError: damage.
    """
    if written is None:
        found = _described(ocp.StandardCheckpointHandler().metadata((path / "state").absolute()))
        writer = "an older version of jaxad"
    elif written["digest"] != digest(written, {}):
        raise ValueError("its description is not the one that was written")
    else:
        found = written["arrays"]
        writer = ", ".join(f"{name} {version}" for name, version in written["by"].items())
    differing = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if differing:
        shown = "; ".join(
            f"{name}: {found.get(name, 'nothing')} there, {expected.get(name, 'nothing')} now"
            for name in differing[:3]
        )
        more = f"; and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UserError(
            f"{path}: a checkpoint of {writer} with another structure ({shown}{more}): finish the "
            "run with these versions, or train anew in another --workdir; nothing was changed"
        )


def latest(directory: Path) -> int | None:
    """Step of the newest checkpoint, readable or not; None when there is none."""
    with _manager(directory) as manager:
        return manager.latest_step()
