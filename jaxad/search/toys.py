"""Thousands of trainings: counts of the data and of pseudo-experiments after cuts on the score.

A toy permutes which rows of a pool are data and which are template, trains all its classifiers
anew, and counts (`jaxad.search.pool`). The observed labelling is toy 0 of the same program. What a
toy counts follows from the pool, the recipe, the seed and its number: neither the number of toys
that train at once nor a restart changes it.
"""

import contextlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad.errors import DAMAGED, Preempted, UserError
from jaxad.search import boosted, discriminant, fits, network, plan
from jaxad.search.fits import Fit
from jaxad.search.plan import Engine, Plan
from jaxad.search.pool import DATA, OTHER, Pool
from jaxad.storage.atomic import replacing
from jaxad.storage.digest import digest

SAVED_EVERY = 10.0
"""Seconds between two rewritings of the file of toys: a kill costs no more than these."""


class Observed(NamedTuple):
    """Scores of one toy; those of the observed data are toy 0.

    Attributes:
        rows: (N,) rows of the pool that are data, as their places stand in the pool, and behind
            them the `OTHER` rows.
        score: (N,) mean logit of the classifiers that did not see the event; NaN where not scored.
        u: (N,) (1 + number of the fold's template scores >= score) / (1 + their number), in mass
            bins where the pool has them; NaN where not scored.
        template: (M,) scores of the rows that count, in the order of their places.
    """

    rows: np.ndarray
    score: np.ndarray
    u: np.ndarray
    template: np.ndarray


def get_config(**changes: Any) -> ConfigDict:
    """A recipe of classifiers with its defaults; `changes` override."""
    return ConfigDict(
        {
            "name": "network",  # network | discriminant | trees
            "hidden": (64, 64, 64),
            "members": 1,  # classifiers of a fold
            "half_split": False,  # two folds, and only the second is scored
            "feature_fraction": 1.0,  # of the features, that a member sees
            "max_iter": 200,  # of trees
            "n_cosines": 100,  # of the discriminant
            "epochs": 20,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "average_last": 5,  # epochs, at whose ends the parameters are averaged
        }
        | changes
    )


def counts(
    pool: Pool,
    classifier: ConfigDict | Fit,
    efficiencies: Sequence[float],
    seed: int,
    toys: Sequence[int],
    chunk: int = 8,
    expected: float | None = None,
    injected: float = 0.0,
) -> np.ndarray:
    """Data events that pass each cut (T, folds, n_eff); -1 in folds that are not scored.

    Counts are int32. Where weights of data differ they are float64, sums of weights in units of
    `pool.event_weight`: variance is mean.

    Args:
        classifier: a recipe of `get_config`, or any function that fits (`jaxad.search.fits`).
        efficiencies: eps, the fraction of background that passes: events with u <= eps.
        toys: their numbers; 0 is the observed data.
        chunk: toys that train at once.
        expected: mean of the Poisson number of data events of a toy; None: that of the data.
        injected: mean of the Poisson number of data events that are of the pool's `OTHER` rows.

    Raises:
        UserError: too few template rows for a cut, an unknown classifier, or a training that
            diverged.
    """
    fixed = _plan(pool, classifier, efficiencies, seed, expected, injected)
    with _engine(fixed, classifier, chunk) as engine:
        return np.concatenate(list(engine.counts(_parts(list(toys), chunk))))


def observed(
    pool: Pool,
    classifier: ConfigDict | Fit,
    efficiencies: Sequence[float],
    seed: int,
    toy: int = 0,
    chunk: int = 8,
) -> Observed:
    """Scores of one toy, by the program that counts; arguments as of `counts`."""
    fixed = _plan(pool, classifier, efficiencies, seed, None)
    with _engine(fixed, classifier, chunk) as engine:
        scores = engine.scores(toy)
    data = np.concatenate([np.flatnonzero(pool.role == role) for role in (DATA, OTHER)])
    counting = np.concatenate([group.counting for group in fixed.groups])
    return Observed(
        rows=fixed.rows(toy)[data],
        score=scores[data],
        u=plan.p_values(fixed, scores)[data],
        template=scores[np.sort(counting)],
    )


def run_toys(
    pool: Pool,
    classifier: ConfigDict | Fit,
    efficiencies: Sequence[float],
    seed: int,
    n_toys: int,
    path: Path,
    chunk: int = 8,
    stop: Callable[[], bool] = lambda: False,
    name: str = "window",
    expected: float | None = None,
) -> np.ndarray:
    """Counts (n_toys + 1, folds, n_eff) of toys 0, the data, to `n_toys`, kept in `path`.

    The file has one group a window, "counts" (toys so far, folds, n_eff) with attributes; it is
    replaced as a whole, so that a kill leaves whole chunks. The same call goes on, with any chunk,
    and a larger `n_toys` adds to what is there.

    Args:
        name: of the window.
        stop: asked after every chunk, see `jaxad.workdir.stop_signals`; others as of `counts`.

    Raises:
        UserError: as of `counts`, or `path` is damaged or holds toys of another pool or recipe.
        Preempted: `stop()` was true; what was counted is saved.
    """
    fixed = _plan(pool, classifier, efficiencies, seed, expected)
    mark = _mark(fixed, classifier, efficiencies)
    done = _read(path, name, mark)
    done = np.zeros((0, pool.folds, fixed.n_cuts), fixed.dtype) if done is None else done
    new, saved = [done], time.monotonic()
    missing = list(range(len(done), n_toys + 1))
    if not missing:
        return done[: n_toys + 1]
    with (
        _engine(fixed, classifier, chunk) as engine,
        tqdm(total=n_toys + 1, initial=len(done), desc=f"{name}: toys", unit="toy", delay=2) as bar,
    ):
        for found in engine.counts(_parts(missing, chunk)):
            new.append(found)
            bar.update(len(found))
            stopping = stop()
            if stopping or bar.n > n_toys or time.monotonic() - saved > SAVED_EVERY:
                _write(path, name, np.concatenate(new), mark)
                saved = time.monotonic()
            if stopping and bar.n <= n_toys:
                raise Preempted
    return np.concatenate(new)


def _parts(toys: list[int], chunk: int) -> Iterator[list[int]]:
    return (toys[i : i + chunk] for i in range(0, len(toys), chunk))


def _plan(
    pool: Pool,
    classifier: ConfigDict | Fit,
    efficiencies: Sequence[float],
    seed: int,
    expected: float | None,
    injected: float = 0.0,
) -> Plan:
    half = isinstance(classifier, ConfigDict) and classifier.half_split
    return plan.make(pool, efficiencies, seed, half, expected, injected)


def _engine(
    fixed: Plan, classifier: ConfigDict | Fit, chunk: int
) -> contextlib.AbstractContextManager[Engine]:
    if not isinstance(classifier, ConfigDict):
        return contextlib.nullcontext(fits.engine(fixed, classifier))
    match classifier.name:
        case "network":
            return contextlib.nullcontext(network.engine(fixed, classifier, chunk))
        case "discriminant":
            return contextlib.nullcontext(discriminant.engine(fixed, classifier))
        case "trees":
            return boosted.engine(fixed, classifier)
    raise UserError(
        f"classifier.name: expected network, discriminant or trees, found {classifier.name!r}"
    )


def _mark(fixed: Plan, classifier: ConfigDict | Fit, efficiencies: Sequence[float]) -> str:
    """Digest of all that a toy's counts follow from."""
    recipe = (
        classifier.to_dict()
        if isinstance(classifier, ConfigDict)
        else {"name": f"{classifier.__module__}.{classifier.__qualname__}"}
    )
    description = {
        "recipe": recipe,
        "efficiencies": list(efficiencies),
        "seed": fixed.seed,
        "expected": fixed.expected,
        "scored": list(fixed.folds),
    }
    return digest(description, fixed.pool._asdict())


def _read(path: Path, name: str, mark: str) -> np.ndarray | None:
    """Counts so far, None if there are none."""
    if not path.exists():
        return None
    try:
        with h5py.File(path) as file:
            if name not in file:
                return None
            group = file[name]
            there, found = group.attrs["digest"], group["counts"][:]
            made_by = str(group.attrs.get("made_by", ""))
    except DAMAGED as error:
        raise UserError(f"{path}: damaged ({error}): remove it and run again") from None
    if there != mark:
        raise UserError(
            f"{path}: {name}: holds pseudo-experiments of other data or settings, or of another "
            f"machine{_elsewhere(made_by)}, where draws of a template differ in their last bits: "
            "go on there, or remove it, or choose another --workdir"
        )
    return found


def _write(path: Path, name: str, found: np.ndarray, mark: str) -> None:
    """Replace the file by one with this window's counts so far; other windows stay."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        if path.exists():
            with h5py.File(path) as old:
                for other in old:
                    if other != name:
                        old.copy(other, file)
        group = file.create_group(name)
        group["counts"] = found
        group.attrs["digest"] = mark
        group.attrs["made_by"] = _machine()


def _machine() -> str:
    """What the last bits of draws depend on: device, processor and versions."""
    device = jax.devices()[0].device_kind
    return f"{device} of {platform.machine()}, jax {jax.__version__}, numpy {np.__version__}"


def _elsewhere(made_by: str) -> str:
    """In brackets, where a file was made and where this is, if it is known and they differ."""
    here = _machine()
    return f" (it was made on {made_by}; this is {here})" if made_by not in ("", here) else ""
