"""Scorers as hls4ml projects in fixed point, for FPGAs.

Those of the methods `quantized` and `cicada` are integers already, and are written with their own
types; of dense trigger autoencoders in float the numbers are rounded, to 18 bits or as asked.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.export.hls import integer_project, writer
from jaxad.export.hls.integer_project import FORMS, replayed
from jaxad.export.hls.network import WIDTH
from jaxad.export.hls.writer import drift, drift_line, emulated, loaded, standardised
from jaxad.scorer import Scorer

__all__ = [
    "check",
    "drift",
    "drift_line",
    "emulated",
    "in_integers",
    "loaded",
    "project",
    "replayed",
    "standardised",
    "summary",
]


def check(scorer: Scorer, width: int | None = None) -> None:
    """Raise a UserError that names why a scorer cannot be written, in `width` bits if given."""
    if scorer.method not in FORMS:
        writer.check(scorer, width)
        return
    if width is not None:
        raise UserError(
            f"--width: {scorer.method} has types of its own: leave it out, or set the bits when "
            "training"
        )
    FORMS[scorer.method].check(scorer)


def in_integers(about: Mapping[str, Any]) -> bool:
    """Whether an exported folder's project takes counts and gives integers."""
    return about["method"] in FORMS


def project(
    scorer: Scorer,
    about: Mapping[str, Any],
    dataset: Dataset,
    golden: np.ndarray,
    folder: Path,
    width: int | None = None,
) -> dict[str, Any]:
    """Write the project of a scorer with the contract `about`; what export.json says of it.

    Args:
        dataset: of its run.
        golden: raw events, whose scores are stored.
        folder: to write.
        width: bits of the numbers of a float scorer; None: 18.
    """
    if in_integers(about):
        return integer_project.project(scorer, about, golden, folder)
    return writer.project(scorer, about, dataset, golden, folder, width or WIDTH)


def summary(found: Mapping[str, Any]) -> str:
    """What `project` gives, for people."""
    cost = "hls: da4ml: {lut} LUT, {ff} FF, {stages} stages".format(**found["estimates"])
    if "drift" in found:
        return f"{drift_line(found['drift'])}\n{cost}"
    times = ", ".join(
        f"{ns} ns at {mhz} MHz" for mhz, ns in found["estimates"]["latency_ns"].items()
    )
    return (
        f"hls: {found['ebops']:,} EBOPs; scores of {found['score']['bits']} bits, "
        f"{found['score']['fraction']} behind the point; threshold {found['threshold']}\n"
        f"{cost}: {times}"
    )
