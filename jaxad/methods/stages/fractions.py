"""Scores that are integers of firmware, and how many bits they have behind the point."""

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxad.methods.stages.integers import FORMS, code_type, network_of, with_types
from jaxad.models.cicada import SCORE

FRACTION = "fraction"
"""Attribute of stored scores: F."""


def fractions_of(method: str, config: ConfigDict, params: Any) -> dict[str, int]:
    """Score of a method -> F, where the score is an integer times 2^-F; others are left out.

    Scores of several networks are means of such, and left out too.

    Args:
        config, params: of its run, as of a `Scorer`.
    """
    if method not in ("quantized", "cicada") or len(params["ebops"]) != 1:
        return {}
    if method == "cicada":
        return {"student": SCORE.fraction}
    layers = with_types(jax.tree.map(lambda a: np.asarray(a)[0], params["layers"]))
    code = code_type(config, network_of(config, layers))
    score = config.method.score
    return {score: code.fraction if FORMS[score].number else 2 * code.fraction}
