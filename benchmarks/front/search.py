"""Widths that are searched: layer by layer, the bit that costs the least is taken away."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.front.ways import ACTIVATIONS
from jaxad.methods import quantized
from jaxad.methods.quantized import Float, score_of
from jaxad.methods.stages.integers import input_type, integer_score
from jaxad.metrics.agreement import drift
from jaxad.models.integers import ebops, integers
from jaxad.models.quantized import calibrated

Bits = tuple[int, ...]
START = 8  # bits of a weight
LEAST_WEIGHT, LEAST_ACTIVATION = 2, 3


class Step(NamedTuple):
    """Bits of every part, what they cost, and how far they take the score."""

    bits: Bits
    ebops: float
    drift: float


def steps(start: Bits, least: Bits, measure: Callable[[Bits], tuple[float, float]]) -> list[Step]:
    """From `start` on, one bit less a step: the one of the least drift per EBOPs saved.

    A bit that saves nothing stays. The last step is that where no bit is left to take.

    Args:
        measure: bits -> EBOPs and drift.
    """
    path = [Step(start, *measure(start))]
    while True:
        now, best = path[-1], None
        for part in range(len(start)):
            if now.bits[part] == least[part]:
                continue
            bits = tuple(n - (i == part) for i, n in enumerate(now.bits))
            step = Step(bits, *measure(bits))
            saved = now.ebops - step.ebops
            if saved > 0 and (best is None or (step.drift - now.drift) / saved < best[0]):
                best = (step.drift - now.drift) / saved, step
        if best is None:
            return path
        path.append(best[1])


def at_share(path: list[Step], share: float) -> Step:
    """The first step that costs no more than this share of the start."""
    return next((s for s in path if s.ebops <= share * path[0].ebops), path[-1])


def searched(config: ConfigDict, source: Float, val: dict[str, np.ndarray]) -> list[Step]:
    """The path of a float network; bits: of the weights of its layers, then of all its ReLUs.

    Args:
        val: rows of `quantized.rows_of`, on which the drift is measured.
    """
    widths, grid = quantized.widths_of(config), input_type(config)
    n = len(source.layers)
    reference = np.asarray(score_of(val["codes"]))
    score = jax.jit(lambda layers: integer_score(config, layers, val["x"]))

    def measure(bits: Bits) -> tuple[float, float]:
        own = widths._replace(weight=bits[:n], activation=(*bits[n:], 0))
        layers = integers(*calibrated(source.layers, val["x"], grid.fraction, own), own)
        cost = ebops(layers, grid.width - grid.signed)
        return cost, drift(np.asarray(score(layers)), reference)

    least = (LEAST_WEIGHT,) * n + (LEAST_ACTIVATION,) * (n - 1)
    start = (START,) * n + (ACTIVATIONS,) * (n - 1)
    return steps(start, least, measure)
