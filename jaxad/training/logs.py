"""What an epoch tells the world beside the progress bar: a function of the user's is called."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxad.errors import UserError

Log = Callable[[int, Mapping[str, float]], None]
"""Called with the number of epochs before this one, of all stages, and {"STAGE/NAME": value}."""


def scalars(record: Mapping) -> dict[str, float]:
    """The numbers of a line of the history; of an ensemble those of each member, NAME/MEMBER.

    Examples:
        >>> scalars({"stage": "train", "epoch": 0, "train_loss": 2.0, "val_loss": [1.0, 3.0]})
        {'train_loss': 2.0, 'val_loss/0': 1.0, 'val_loss/1': 3.0}
    """
    found = {}
    for name, value in record.items():
        if isinstance(value, list):
            found |= {f"{name}/{member}": v for member, v in enumerate(value)}
        elif name not in ("stage", "epoch"):
            found[name] = value
    return found


def found(name: str, folder: Path) -> Log:
    """The function MODULE:FUNCTION, of a module in `folder` or in the environment.

    Raises:
        UserError: no such module or function, or the module cannot be imported.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise UserError(f"--log={name}: expected MODULE:FUNCTION, such as mylog:log of mylog.py")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        log = getattr(importlib.import_module(module), function, None)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"--log={name}: {module} cannot be imported ({reason})") from error
    if not callable(log):
        raise UserError(f"--log={name}: {module} has no function {function}")
    return log


def teller(log: Log, told: int, before: int) -> Callable[[list[dict]], None]:
    """Function that tells `log` the epochs of a stage, each once.

    What it raises is said in one line and changes nothing: training is worth more than its log.

    Args:
        told: epochs of the stage that were told before an interruption.
        before: epochs of the stages before it.
    """

    def tell(history: list[dict]) -> None:
        nonlocal told
        for record in history[told:]:
            values = {f"{record['stage']}/{k}": v for k, v in scalars(record).items()}
            try:
                log(before + record["epoch"], values)
            except Exception as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                print(
                    f"\nwarning: --log: {record['stage']}, epoch {record['epoch']}: {reason}; "
                    "training goes on, history.jsonl has every epoch",
                    file=sys.stderr,
                )
        told = max(told, len(history))

    return tell
