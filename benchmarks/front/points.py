"""Finished points of the front on disk: the scores of all test events, and what they cost."""

import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxad.errors import UserError
from jaxad.storage.atomic import replacing, write_text

BACKGROUND = "background"


class Point(NamedTuple):
    """One way, of one seed.

    Attributes:
        scores: class, the first `BACKGROUND`, -> scores (n,), larger is more anomalous.
        costs: "ebops", "lut", "ff", "stages", "comparisons": those that there are.
    """

    scores: dict[str, np.ndarray]
    costs: dict[str, int]


def save(folder: Path, point: Point) -> None:
    """Write it as `folder`/point.npz, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"scores/{name}": values for name, values in point.scores.items()}
    arrays |= {f"costs/{name}": np.int64(value) for name, value in point.costs.items()}
    with replacing(folder / "point.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def kept(folder: Path) -> Point | None:
    """What `save` wrote; None where nothing is.

    Raises:
        UserError: a damaged file.
    """
    path = folder / "point.npz"
    if not path.exists():
        return None
    point = Point({}, {})
    try:
        with np.load(path, allow_pickle=False) as stored:
            for key in stored:
                kind, _, name = key.partition("/")
                if kind == "scores":
                    point.scores[name] = stored[key]
                else:
                    point.costs[name] = int(stored[key])
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path}: damaged ({error}): remove it, and it is made anew") from error
    return point


def settle(out: Path, settings: dict[str, str]) -> None:
    """Write what all points of a folder have in common, or compare it with what is there.

    Raises:
        UserError: points of other settings.
    """
    path = out / "settings.json"
    if not path.exists():
        write_text(path, json.dumps(settings, indent=2) + "\n")
        return
    try:
        there = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}): choose another --out") from error
    differing = sorted(k for k in settings if there.get(k) != settings[k])
    if differing:
        raise UserError(
            f"{out}: holds points of other {' and '.join(differing)}: choose another --out"
        )
