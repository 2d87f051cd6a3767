"""The trained run that a student or mimicker learns from."""

from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.scorer import Scorer, load


def load_teacher(path: str, dataset: Dataset) -> Scorer:
    """The scorer of the work directory `path`, which must take the events of the data set.

    Raises:
        UserError: none is named or there, or it scores events of another format or shape.
    """
    if not path:
        raise UserError("method.teacher: expected the work directory of a trained run, found none")
    try:
        teacher = load(path)
    except UserError as error:
        raise UserError(f"method.teacher: {error}") from error
    shape, form = dataset.train["x"].shape[1:], dataset.info["format"]
    fits = len(teacher.shape) == len(shape) and all(
        a in (None, b) for a, b in zip(teacher.shape, shape, strict=True)
    )
    if teacher.format != form or not fits:
        raise UserError(
            f"method.teacher: {path} scores events {teacher.shape} of {teacher.format!r}, these "
            f"are {shape} of {form!r}: name a run on the same kind of events"
        )
    return teacher
