"""Rows of one id, as two jets of one event, stand in one part, or are refused."""

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, Rows, concatenate, n_rows, take
from jaxad.data.folds import fractions, keys_of
from jaxad.data.labels import own_files
from jaxad.errors import UserError
from jaxad.storage import blockwise, on_disk

VALIDATES = ("val", "extra.supervised_val")
TESTED = ("test", "signals.", "extra.sideband")


def require_apart(dataset: Dataset, config: ConfigDict) -> None:
    """Refuses rows of one id in parts of which one trains and another chooses epochs or is tested.

    A search (`data.window`) may hold no id twice, since its folds know none. Ids of signals that
    have files of their own are others than those of the source.

    Raises:
        UserError: there are such.
    """
    if "event" not in dataset.train or (config.split == "id" and not config.window):
        return
    key = _keys(dataset, config)
    setting = "data.id" if config.features else "data.id_key"
    if config.window:
        every = np.concatenate([*key.values()])
        if n := len(every) - len(np.unique(every)):
            raise UserError(
                f"{config.source}: {n:,} of {len(every):,} events have the id of another, as two "
                "jets of one event, which data.window draws into different parts: keep one of them "
                f"(data.selection), let jaxad search find, or leave {setting} out, as where every "
                "file numbers its own events"
            )
        return
    tested = [part for name, part in key.items() if name.startswith(TESTED)]
    validating = [part for name, part in key.items() if name in VALIDATES]
    training = [part for name, part in key.items() if not name.startswith((*TESTED, *VALIDATES))]
    mend = "set data.split=id"
    if config.split != "random":
        mend = f"data.split has to name one part for all rows of {setting}, or {mend}"
    for what, parts, learned in (
        ("test", tested, [*training, *validating]),
        ("validation", validating, training),
    ):
        n = sum(blockwise.count(np.asarray, blockwise.among(part, learned)) for part in parts)
        if n:
            raise UserError(
                f"{config.source}: {n:,} of {sum(map(len, parts)):,} {what} events have the id "
                f"of one that trains, as two jets of one event: {mend}; if every file numbers its "
                f"own events, leave {setting} out or name the run beside it"
            )


def _keys(dataset: Dataset, config: ConfigDict) -> dict[str, np.ndarray]:
    """Part -> a key (N,) uint64 of each row's id, and of the signal whose own files it is from."""
    classes, own = ("background", *dataset.signals), own_files(config)
    origin = np.array([n if name in own else 0 for n, name in enumerate(classes)])
    found = {}
    for part, rows in dataset.parts():
        of_label = config.window or part.startswith("extra.")
        name = part.removeprefix("signals.")
        number = None if of_label else origin[classes.index(name) if name != part else 0]

        def key(ids: np.ndarray, label: np.ndarray, number: int | None = number) -> np.ndarray:
            own = origin[label.astype(int)] if number is None else np.full(len(ids), number)
            return keys_of(np.column_stack([own, ids.astype(np.int64).reshape(len(ids), -1)]))

        found[part] = on_disk.mapped(key, rows["event"], rows["label"])
    return found


def hold_out_by_id(
    test: Rows, signals: dict[str, Rows], share: float, seed: int
) -> tuple[dict[str, Rows], Rows, dict[str, Rows]]:
    """As `jaxad.data.splits.hold_out`, where all events of one id go the same way."""
    taken: dict[str, list[Rows]] = {"train": [], "val": []}
    left = []
    for number, rows in enumerate((test, *signals.values())):
        key = keys_of(rows["event"].astype(np.int64))
        at = np.digitize(fractions(key, seed + 1), [0.8 * share, share])
        for place, name in enumerate(taken):
            part = take(rows, np.flatnonzero(at == place))
            taken[name].append(part | {"label": np.full(n_rows(part), number, np.float32)})
        left.append(take(rows, np.flatnonzero(at == 2)))
    extra = {f"supervised_{name}": concatenate(parts) for name, parts in taken.items()}
    return extra, left[0], dict(zip(signals, left[1:], strict=True))
