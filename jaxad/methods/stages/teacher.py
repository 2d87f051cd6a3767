"""The trained run that a student, mimicker or quantised network learns from."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.methods import Bench, get


def own_config(config: ConfigDict) -> ConfigDict:
    """The config of the teacher that a run without `method.teacher` trains first."""
    merged = config.copy_and_resolve_references()
    with merged.unlocked():
        del merged.teacher  # a teacher that has one itself brings it
        merged.update(config.teacher)
    return merged


def teach(config: ConfigDict, dataset: Dataset, bench: Bench) -> Any:
    """The scorer to learn from: the run that is named, or else one that is trained here.

    Raises:
        UserError: neither; or a run on other events.
    """
    if config.method.teacher or "teacher" not in config:
        return load_teacher(config.method.teacher, dataset, bench)
    own = own_config(config)
    fitted = get(own.method.name).fit(own, dataset, bench)
    return bench.scorer(own.method.name, own, fitted, dataset.layout)


def load_teacher(path: str, dataset: Dataset, bench: Bench) -> Any:
    """The scorer of the work directory `path`, which must take the events of the data set.

    Raises:
        UserError: none is named or there, or it scores events of another format or shape.
    """
    if not path:
        raise UserError("method.teacher: expected the work directory of a trained run, found none")
    try:
        teacher = bench.load(path)
    except UserError as error:
        raise UserError(f"method.teacher: {error}") from error
    layout, own = dataset.layout, teacher.layout
    fits = len(teacher.shape) == len(layout.shape) and all(
        a in (None, b) for a, b in zip(teacher.shape, layout.shape, strict=True)
    )
    if (own.format, own.unit) != (layout.format, layout.unit) or not fits:
        raise UserError(
            f"method.teacher: {path} scores events {teacher.shape} of {own.format!r} in units of "
            f"{own.unit:g} GeV, these are {layout.shape} of {layout.format!r} in {layout.unit:g} "
            "GeV: name a run on the same kind of events"
        )
    return teacher


def require_varied(x: np.ndarray, codes: np.ndarray) -> None:
    """Refuses a teacher whose codes (n, d) of inputs x (n, inputs) are all the same.

    Raises:
        UserError: inputs that are all constant, or codes that are.
    """
    if np.ptp(codes, axis=0).any():
        return
    if not np.ptp(x, axis=0).any():
        raise UserError(
            "method.input_type: all training events have the same inputs on this grid: choose a "
            "finer one, or other inputs"
        )
    raise UserError(
        "method.teacher: its code is the same for all training events, as that of an encoder that "
        "collapsed: choose another run, or train it with a smaller beta"
    )
