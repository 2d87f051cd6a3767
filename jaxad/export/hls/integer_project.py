"""Integer scorers as projects of hls4ml and da4ml: written, estimated, and replayed bit for bit."""

import contextlib
import ctypes
import io
import os
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.errors import UserError
from jaxad.export.hls import build, estimates, image, integer, top
from jaxad.scorer import Scorer

LOGIC = "da4ml.json"
FORMS = {"quantized": integer, "cicada": image}
"""Method -> what its firmware is."""
Scores = Callable[[np.ndarray], np.ndarray]  # counts (n, inputs) -> (n,) int


def project(
    scorer: Scorer, about: Mapping[str, Any], golden: np.ndarray, folder: Path
) -> dict[str, Any]:
    """Write the project of a scorer with the contract `about`; what export.json says of it.

    Keys: see `facts` of `FORMS`, and estimates of da4ml, whose logic is written too, and the
    integer scores of the `golden` raw events.
    """
    form = FORMS[scorer.method]
    counts = form.counts_of(scorer, golden)
    return written(form.firmware(scorer), about, counts, form.emulator(scorer)(counts), folder)


def written(
    found: integer.Firmware | image.ImageFirmware,
    about: Mapping[str, Any],
    counts: np.ndarray,
    scores: np.ndarray,
    folder: Path,
) -> dict[str, Any]:
    """Write the project of a firmware, with counts (n, inputs) and their scores (n,) to replay.

    Returns what `project` does; of `about` it takes "namespace" and "threshold".
    """
    os.environ["KERAS_BACKEND"] = "jax"
    images, name = isinstance(found, image.ImageFirmware), about["namespace"]
    form = image if images else integer
    facts = form.facts(found, about["threshold"])
    types = found.types()
    types |= {f"{layer}_linear": {"result": of["result"]} for layer, of in types.items()}
    with contextlib.redirect_stdout(io.StringIO()):  # hls4ml and its tables
        build.write(form.keras_model(found), types, folder, name)
        logic = (estimates.image_logic if images else estimates.firmware_logic)(found)
    flags = scores >= facts["threshold"]
    texts = (top.image_sources if images else top.sources)(found, facts["threshold"], name)
    top.enclose(folder, texts, name, np.c_[counts, scores, flags])
    logic.save(folder / LOGIC)
    cost = estimates.estimates(logic)
    cost |= {
        "latency_ns": estimates.latency(cost["stages"]),
        "meaning": "da4ml: logic without routing, counts to score, rounded as the scorer, at most "
        f"{estimates.ADDERS_A_STAGE} adders a stage; latency at a clock of so many MHz",
    }
    return {**facts, "estimates": cost, "golden": scores.tolist()}


def built(
    folder: Path, name: str, n_inputs: int = len(integer.HIGHEST)
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Function counts (n, inputs) -> scores and flags (n,) int of the project, built by g++.

    Raises:
        UserError: no g++ here, or it refuses the sources.
    """
    with build.library(folder) as library:
        call = getattr(library, f"{name}_scores")
        call.restype = None

        def evaluate(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            counts = np.ascontiguousarray(counts, np.int32)
            scores, flags = np.zeros(len(counts), np.int64), np.zeros(len(counts), np.int32)
            counts_at, *others = (ctypes.c_void_p(a.ctypes.data) for a in (counts, scores, flags))
            call(counts_at, len(counts), *others)
            return scores, flags

        evaluate(np.zeros((1, n_inputs), np.int32))  # the first call reads the weights
    return evaluate


def logic(folder: Path, fraction: int) -> Scores:
    """Function counts (n, inputs) -> integer scores (n,) of da4ml's logic in a project.

    Args:
        fraction: bits of a score behind the point.
    """
    from da4ml.types import CombLogic

    try:
        stored = CombLogic.load(folder / LOGIC)
    except (OSError, ValueError, LookupError, TypeError, AssertionError):
        raise UserError(f"{folder / LOGIC}: missing or damaged: export again") from None
    return lambda counts: np.ldexp(stored.predict(np.float64(counts))[:, 0], fraction).astype(int)


def replayed(
    folder: Path,
    about: Mapping[str, Any],
    archive: Scorer,
    samples: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[bool | None, str]]:
    """Whether integers of g++'s build, of da4ml's logic and of the archive agree, and on what.

    Args:
        samples: raw events (n, *shape) and the float32 scores (n,) of the scorer, the golden rows
            first.

    Raises:
        UserError: no g++ here, or it refuses the sources; damaged files.
    """
    facts, name, form = about["hls"], about["namespace"], FORMS[about["method"]]
    fraction, threshold = facts["score"]["fraction"], facts["threshold"]
    emulated = form.emulator(archive)
    computed = {"g++": built(folder / "hls", name, len(facts["input"]["highest"]))}
    if find_spec("da4ml"):
        predict = logic(folder / "hls", fraction)
        computed["da4ml"] = lambda counts: (scores := predict(counts), scores >= threshold)
    else:
        yield None, "da4ml is not installed, its logic not compared"
    for number, (sample, (raw, scores)) in enumerate(samples.items()):
        counts = form.counts_of(archive, raw)
        wanted = np.int64(facts["golden"]) if number == 0 else emulated(counts)
        flags = scores >= np.float32(about["threshold"])
        for program, evaluate in computed.items():
            found, accepted = evaluate(counts)
            differ, changed = int(np.sum(found != wanted)), int(np.sum(accepted != flags))
            yield (
                not differ and not changed,
                f"{sample}: {program}: {differ} of {len(wanted)} integer scores and {changed} "
                "flags differ",
            )
        same = np.ldexp(np.float32(emulated(counts)), -fraction) == scores
        same &= emulated(counts) == wanted
        yield (
            bool(same.all()),
            f"{sample}: archive: {int(np.sum(~same))} of {len(same)} integer scores differ",
        )
