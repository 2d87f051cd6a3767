"""Weights of events where methods learn: of mean 1, none below 0, or none at all.

Figures of merit take weights as they are (`jaxad.metrics.weighted`). A loss with weights below 0
has no minimum, so that `data.negative_weights` has to say what becomes of such events.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import checks
from jaxad.data.dataset import Dataset, Rows, take
from jaxad.errors import UserError
from jaxad.storage import blockwise, on_disk

CHOICES = ("absolute", "drop", "clip_zero")
TRAINING = ("train", "val", "extra.supervised_train", "extra.supervised_val")
"""The parts that networks learn from and choose epochs by."""


def require_choice(value: str) -> None:
    """Refuses another `data.negative_weights` than "" or one of `CHOICES`."""
    if value not in ("", *CHOICES):
        raise UserError(
            f"data.negative_weights: expected one of {', '.join(CHOICES)}, found {value!r}"
        )


@contextlib.contextmanager
def for_all_classes(field: str) -> Iterator[None]:
    """Says of a file that lacks the field "weight" that every class needs it."""
    try:
        yield
    except UserError as error:
        if field == "weight" and checks.is_of_no_such_name(error):
            raise UserError(
                f"{error}; all classes have weights or none: write 1 where events have none"
            ) from None
        raise


def for_training(dataset: Dataset, config: ConfigDict) -> Dataset:
    """The data set whose training parts have weights of mean 1, none of them below 0.

    Training and validation rows whose weights are all alike lose them: events count once each, bit
    for bit. One scale holds for both, one for those of supervised methods.

    Args:
        config: the section `data`, whose `negative_weights` holds.

    Raises:
        UserError: negative weights without that setting; weights that sum to 0 or below.
    """
    parts = {name: rows for name, rows in dataset.parts() if name in TRAINING}
    if not any("weight" in rows for rows in parts.values()):
        return dataset
    kept = {name: without_negative(rows, name, dataset, config) for name, rows in parts.items()}
    where = f"{dataset.info.get('source', 'data')}: {_field(config)}"
    found: dict[str, Rows] = {}
    for first, second in (TRAINING[:2], TRAINING[2:]):
        if first in kept:
            found |= _of_mean_one({n: kept[n] for n in (first, second)}, where)
    extra = {name: found.get(f"extra.{name}", rows) for name, rows in dataset.extra.items()}
    return dataclasses.replace(dataset, extra=extra, **{name: found[name] for name in TRAINING[:2]})


def _field(config: ConfigDict) -> str:
    return "data.weight" if config.get("features", "") else "data.weight_key"


def without_negative(rows: Rows, part: str, dataset: Dataset, config: ConfigDict) -> Rows:
    """Rows of a part as methods may learn from them: `data.negative_weights` says how.

    Args:
        config: the section `data`.

    Raises:
        UserError: negative weights without that setting, or nothing but such ones to drop.
    """
    weight = rows.get("weight", np.zeros(0))
    negative = on_disk.rows_where(lambda block: block < 0, weight)
    if not len(negative):
        return rows
    n, how = len(negative), config.get("negative_weights", "")
    where = f"{dataset.info.get('source', 'data')}: {part}: {_field(config)}"
    if how in ("drop", "clip_zero") and not blockwise.count(lambda block: block > 0, weight):
        raise UserError(
            f"{where}: no weight of {len(weight):,} is above 0: nothing is left to learn from"
        )
    if how == "drop":
        return take(rows, on_disk.rows_where(lambda block: ~(block < 0), weight))
    if how == "absolute":
        return rows | {"weight": on_disk.mapped(np.abs, weight)}
    if how == "clip_zero":
        return rows | {"weight": on_disk.mapped(lambda block: np.maximum(block, 0), weight)}
    raise UserError(
        f"{where}: {n:,} of {len(weight):,} weights are negative, {n / len(weight):.2%}, the first "
        f"at row {negative[0]}: a loss has no minimum with them: set "
        f"data.negative_weights to one of {', '.join(CHOICES)}"
    )


def _of_mean_one(parts: dict[str, Rows], where: str) -> dict[str, Rows]:
    """The parts with weights of mean 1 in the first of them; without, where all are alike."""
    sums = {name: blockwise.total(rows["weight"]) for name, rows in parts.items()}
    for name, total in sums.items():
        if not total > 0:
            raise UserError(
                f"{where}: the weights of {name} sum to {total:.4g}: expected a sum above 0; "
                "are they too small for their type? float16 holds none below 6e-8"
            )
    if blockwise.are_constant([rows["weight"] for rows in parts.values()]):
        return {
            name: {key: values for key, values in rows.items() if key != "weight"}
            for name, rows in parts.items()
        }
    first = next(iter(parts))
    scale = sums[first] / len(parts[first]["weight"])

    def scaled(block: np.ndarray) -> np.ndarray:
        return (block.astype(np.float64) / scale).astype(np.float32)

    return {
        name: rows | {"weight": on_disk.mapped(scaled, rows["weight"])}
        for name, rows in parts.items()
    }
