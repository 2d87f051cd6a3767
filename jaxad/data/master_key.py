"""The master key of a black box: opened when a run on its events is evaluated, never in training.

The events stay in the parts that they were in without it; those of the test part are background
where the key says 0, and signal where it says another number.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import label_file
from jaxad.data.dataset import Dataset, Rows, n_rows, take
from jaxad.errors import UserError


def require_closed(config: ConfigDict) -> None:
    """Refuses a master key as labels of a training."""
    if str(config.label_file).endswith(label_file.KEY):
        raise UserError(
            f"data.label_file={config.label_file}: the key of a black box, which no training "
            "opens: leave it out, and give it to jaxad evaluate --key"
        )


def opened(
    dataset: Dataset, key: str, config: ConfigDict, loads: Callable[[ConfigDict], Dataset]
) -> Dataset:
    """The data set with the events of its test part sorted by a key.

    Args:
        dataset: of events without labels.
        key: a text file with a number for each event, see `jaxad.data.label_file`.
        config: that gave it.
        loads: the same events as they are with labels, for the config with `label_file`.

    Raises:
        UserError: events that have labels or signals already, another number of them, or no signal
            or no background in the test part.
    """
    if config.name != "events" or config.get("features"):
        raise UserError(
            "--key: opens the key of events of data.name=events that are whole arrays, found "
            f"data.name={config.name}: leave it out"
        )
    if config.label_key or config.label_file or dataset.signals:
        raise UserError("--key: these events have labels or signals already: leave it out")
    numbers = np.unique(label_file.numbers(key)[1])
    labelled = config.copy_and_resolve_references()
    with labelled.unlocked():
        labelled.label_file = key
        labelled.background = ",".join(map(str, numbers))
    test: Rows = loads(labelled).test
    if n_rows(test) != n_rows(dataset.test) or not np.array_equal(test["x"], dataset.test["x"]):
        raise AssertionError("a key changed which events are tested")
    truth = test["label"].astype(int)
    found = [number for number in np.unique(truth).tolist() if number != 0]
    if not found or (truth != 0).all():
        what = "signal" if not found else "background"
        raise UserError(f"{key}: says that no event of the test part is {what}: is it of this box?")
    names = {number: "signal" if len(found) == 1 else f"signal{number}" for number in found}
    return replace(
        dataset,
        test=take(test, np.flatnonzero(truth == 0)),
        signals={name: take(test, np.flatnonzero(truth == n)) for n, name in names.items()},
        info=dataset.info | {"key": str(Path(key).name)},
    )
