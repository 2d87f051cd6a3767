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

    Parts whose weights are all alike lose them: events count once each, bit for bit. One scale
    holds for training and validation rows, one for those of supervised methods.

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
    negative = weight < 0
    if not negative.any():
        return rows
    n, how = int(negative.sum()), config.get("negative_weights", "")
    where = f"{dataset.info.get('source', 'data')}: {part}: {_field(config)}"
    if how in ("drop", "clip_zero") and not (weight > 0).any():
        raise UserError(
            f"{where}: no weight of {len(weight):,} is above 0: nothing is left to learn from"
        )
    if how == "drop":
        return take(rows, np.flatnonzero(~negative))
    if how == "absolute":
        return rows | {"weight": np.abs(weight)}
    if how == "clip_zero":
        return rows | {"weight": np.maximum(weight, 0)}
    raise UserError(
        f"{where}: {n:,} of {len(weight):,} weights are negative, {n / len(weight):.2%}, the first "
        f"at row {int(np.argmax(negative))}: a loss has no minimum with them: set "
        f"data.negative_weights to one of {', '.join(CHOICES)}"
    )


def _of_mean_one(parts: dict[str, Rows], where: str) -> dict[str, Rows]:
    """The parts with weights of mean 1 in the first of them; without, where all are alike."""
    weights = {name: rows["weight"].astype(np.float64) for name, rows in parts.items()}
    for name, w in weights.items():
        if not w.sum() > 0:
            raise UserError(
                f"{where}: the weights of {name} sum to {w.sum():.4g}: expected a sum above 0; "
                "are they too small for their type? float16 holds none below 6e-8"
            )
    if all((w == w[0]).all() for w in weights.values()):
        return {
            name: {key: values for key, values in rows.items() if key != "weight"}
            for name, rows in parts.items()
        }
    scale = next(iter(weights.values())).mean()
    return {
        name: rows | {"weight": (weights[name] / scale).astype(np.float32)}
        for name, rows in parts.items()
    }
