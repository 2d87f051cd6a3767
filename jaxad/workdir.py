"""The work directory of a run: its config, lock and history, and the signals that end it."""

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.storage import lock
from jaxad.storage.atomic import write_text

SECTIONS = {"data", "method"}
"""What every config has."""


def opened(workdir: Path, flag: str = "--workdir") -> contextlib.AbstractContextManager[None]:
    """Create the directory and hold its lock, so that one process at a time writes there.

    Args:
        flag: that names the directory.

    Raises:
        UserError: not writable, or in use by another process.
    """
    in_use = f"{workdir}: another process is working there: wait for it, or choose another {flag}"
    return lock.held(workdir, in_use)


def flat(tree: dict, prefix: str = "") -> dict[str, object]:
    """The leaves of a tree of settings by their names, SECTION.NAME."""
    leaves: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = value
    return leaves


def settle_config(workdir: Path, config: ConfigDict, free: Collection[str] = ()) -> None:
    """Write `config.json`, or compare with that of the run that has begun here.

    Args:
        free: settings, "SECTION.NAME", that may have changed: the new ones are written.

    Raises:
        UserError: the directory belongs to a run with another config, where the message shows how
            they differ, or its `config.json` to something else.
    """
    path, new = workdir / "config.json", json.loads(config.to_json())
    written = json.dumps(new, indent=2) + "\n"
    begun = (workdir / "checkpoints").exists() or (workdir / "scorer").exists()
    if path.exists() and not set(read_config(workdir)) >= SECTIONS:
        raise UserError(f"{path}: is no config of a run: move it, or choose another --workdir")
    if not (begun and path.exists()):
        write_text(path, written)
        return
    old = read_config(workdir).to_dict()
    old, new = flat(json.loads(json.dumps(old))), flat(new)
    differing = [k for k in sorted(old | new) if old.get(k, "unset") != new.get(k, "unset")]
    changed = [k for k in differing if k not in free]
    if differing and not changed:
        write_text(path, written)
    if changed:
        shown = "; ".join(
            f"{k}: {old.get(k, 'unset')!r} there, {new.get(k, 'unset')!r} now" for k in changed[:5]
        )
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise UserError(
            f"{workdir}: holds a run with another config ({shown}{more}): choose another "
            "--workdir, or give the old settings"
        )


def read_config(workdir: Path) -> ConfigDict:
    """The config of the run in this directory."""
    path = workdir / "config.json"
    try:
        return ConfigDict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{workdir}: no run here (no config.json): train first") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): mend that first") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not a config ({error}): restore it, or train anew") from error


def read_history(workdir: Path) -> list[dict]:
    """Records of `history.jsonl`, one an epoch and stage; [] when nothing was trained."""
    path = workdir / "history.jsonl"
    if not path.exists():
        return []
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}): remove it") from error
    if not all(isinstance(record, dict) and "stage" in record for record in records):
        raise UserError(f"{path}: expected one record a line, each with its stage: remove it")
    return records


def history_writer(workdir: Path, stage: str) -> Callable[[list[dict]], None]:
    """Function that brings the lines of `stage` in `history.jsonl` up to date."""

    def write(history: list[dict]) -> None:
        lines = [record for record in read_history(workdir) if record["stage"] != stage]
        text = "".join(json.dumps(record) + "\n" for record in lines + history)
        write_text(workdir / "history.jsonl", text)

    return write


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Catch SIGTERM and Ctrl-C; yields a function that tells whether one came.

    A second Ctrl-C interrupts at once, as usual. In a thread of a program, where Python allows no
    handlers, signals keep the meaning that the program gave them.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def handler(number: int, frame: object) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        name = signal.Signals(number).name
        print(f"\n{name}: saving a checkpoint, then stopping", file=sys.stderr, flush=True)

    previous = {s: signal.signal(s, handler) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
